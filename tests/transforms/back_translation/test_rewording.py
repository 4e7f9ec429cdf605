"""Rule-based paraphrases: their constructions and words, and that the filters accept and refuse them like translations."""

from __future__ import annotations

import pytest

pytest.importorskip("spacy", reason="captions are parsed with spaCy")

from tests.transforms.back_translation.captions import coco
from transforms.back_translation.rewording import rewordings
from transforms.back_translation.texts import prepared, words_of
from transforms.engines.parsers.load import caption_parser
from transforms.scene_graph.tokens import Tokens


def reworded(caption):
    return {text: name for name, text in rewordings(Tokens(next(iter(caption_parser("embedded").documents([caption])))))}


@pytest.mark.parametrize(
    ("caption", "text", "name"),
    [
        ("A man riding a wave.", "There is a man riding a wave.", "existential"),
        ("A man is riding a wave.", "There is a man riding a wave.", "existential"),
        ("A man riding a wave.", "A man is riding a wave.", "progressive"),
        ("A man riding a wave.", "A man rides a wave.", "finite"),
        ("A man rides a wave.", "A man riding a wave.", "participle"),
        ("Two men riding a wave.", "Two men ride a wave.", "finite"),
        ("A group of people standing in a room.", "There is a group of people standing in a room.", "existential"),
        ("A bus is parked on a street.", "There is a bus parked on a street.", "existential"),
        ("A bus parked on a street.", "A bus is parked on a street.", "finite"),
        ("A bathroom with a toilet.", "A bathroom has a toilet.", "clause"),
        ("There is a man riding a wave.", "A man is riding a wave.", "progressive"),
        ("Two giraffes stand in a field.", "In a field, two giraffes are standing.", "location first"),
        ("A dog chases a cat.", "A cat is chased by a dog.", "passive"),
        ("A cat and a dog on a bed.", "A dog and a cat on a bed.", "conjuncts"),
        ("A large dog next to a couch.", "A big dog beside a sofa.", "words"),
    ],
)
def test_constructions(caption, text, name):
    assert reworded(caption).get(text) == name


@pytest.mark.parametrize(
    "caption",
    [
        "The man is tall.",
        "Nobody.",
        "Look at that!",
        "No dogs.",
        ".",
    ],
)
def test_other_texts_are_left_alone(caption):
    assert reworded(caption) == {}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A street sign on a pole.", "road sign"),
        ("A man wearing a hat is holding a cat.", "There is"),
        ("The man riding a wave.", "There is"),
        ("A man holding his hat.", "held by"),
        ("A large amount of food.", "big"),
        ("A pair of scissors.", "Two"),
    ],
)
def test_what_is_not_said(caption, words):
    assert not any(words in text for text in reworded(caption))


def test_rewordings_of_real_captions_are_texts_of_their_own(shared_data):
    captions = sorted({prepared(caption) for caption in coco(shared_data, 400)})
    several = 0
    for caption, document in zip(captions, caption_parser("embedded").documents(captions), strict=True):
        found = rewordings(Tokens(document))
        several += len(found) > 1
        texts = [text for _, text in found]
        assert len(set(texts)) == len(texts) and caption not in texts
        assert all(text and text == " ".join(text.split()) and not text[0].islower() and words_of(text) for text in texts)
    assert several > 0.6 * len(captions)
