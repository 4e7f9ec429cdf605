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
        ("A picture of two dogs near a tree.", "There are two dogs near a tree.", "existential"),
        ("We see a dog near a tree.", "A dog near a tree.", "phrase"),
        ("In the photo there is a dog near a tree.", "There is a dog near a tree.", "existential"),
        ("A cat is next to a dog.", "There is a cat next to a dog.", "existential"),
        ("A cat and a dog in a park.", "A dog and a cat in a park.", "conjuncts"),
        ("There is a cat, a ball and a dog.", "There is a dog, a ball and a cat.", "conjuncts"),
        ("A cat and a girl in a red shirt.", "A girl in a red shirt and a cat.", "conjuncts"),
        ("The dog is brown and a cat is black.", "A cat is black and the dog is brown.", "clauses"),
        ("A man is riding a horse and is holding a rope.", "A man is holding a rope and is riding a horse.", "actions"),
        ("A man wearing a red hat riding a horse.", "There is a man in a red hat riding a horse.", "existential"),
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
        ("A girl in a red shirt and a hat.", "A hat and"),
        ("A red toy and a boy in a purple shirt.", "toy in"),
        ("A red toy and a boy on a bench.", "toy on"),
        ("A girl wearing a white shirt and a hat.", "A hat"),
        ("A photo of a girl wearing a shirt.", "wears"),
        ("A girl next to a ball is riding a bike.", "ball riding"),
        ("A black dog with a person in a park.", "has"),
        ("A purple cup with a gray table.", "has"),
        ("A ball is spotted.", "spotted"),
        ("A woman wearing a skirt standing near a man.", "is wearing a skirt standing"),
        ("Two zebras stand on grass.", "There are two zebras stand"),
        ("A woman poses in a dress next to a hair dryer.", "There is"),
        ("A metal statue of two women sitting on a bench.", "sit on"),
        ("Four geese floating in the middle of a river.", "is"),
        ("A pair of giraffes standing in a field.", "is two"),
        ("On the road a bus and a car are going.", "car going"),
        ("A man and a girl standing next to two cakes.", "girl is"),
        ("An air plane wing with a parking lot.", "airplane"),
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
    assert several > 0.5 * len(captions)
