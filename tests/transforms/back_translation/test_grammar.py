"""Grammatical errors that paraphrases must not introduce."""

from __future__ import annotations

import pytest

pytest.importorskip("sentence_transformers", reason="back-translation requires its extra: pip install 'cmcl[translate]'")

from schemas.rejects import Reason
from tests.transforms.back_translation.test_choose import coco
from transforms.back_translation.candidates import Candidate
from transforms.back_translation.choose import choose
from transforms.back_translation.grammar import faults
from transforms.back_translation.settings import BackTranslationSettings
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser
from transforms.scene_graph.tokens import Tokens


def faults_of(*texts: str) -> list[set[str]]:
    return [faults(Tokens(document)) for document in caption_parser("embedded").documents(texts)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("The boys is playing volleyball in the gym.", "boys is"),
        ("There are a man standing near a river.", "man are"),
        ("There is two dogs on a bench.", "dogs is"),
        ("A statue of two people are flying a kite.", "statue are"),
        ("A woman and children is surfing in the ocean.", "woman is"),
        ("Two dogs has a ball.", "dogs has"),
        ("A group of children holding teddy bears and look happy.", "holding and look"),
        ("A boy sits on a chair and holding a ball.", "sits and holding"),
        ("A cow that is leaning on under a metal wall.", "on under"),
        ("Carrowd street signs.", "carrowd"),
        ("there is two people sitting at a table", "people is"),
        ("A person on a skis.", "a skis"),
        ("A bathroom with an orange walls on it.", "a walls"),
        ("A man is using his board to surfing a wave.", "to surfing"),
        ("A gray and a dog.", "a gray and"),
        ("A green bike is being ride by a boy.", "being ride"),
        ("A gray dog is being walk by a woman.", "being walk"),
        ("A truck on the road near a trees.", "a trees"),
        ("A cow stands in a brown sand.", "a sand"),
        ("A person standing on the beach and flies a kite.", "and flies"),
        ("A dog on a wooden tabel.", "tabel"),
        ("A green ball has held by a child.", "has held by"),
        ("A man jumping in an air.", "a air"),
        ("There is a lady poses in a dress beside a hair dryer.", "there is ... poses"),
        ("On some grass, there is a couple of zebras graze on leaves.", "there is ... graze"),
        ("Two giraffe is standing next to a tree.", "giraffe is"),
        ("There is two giraffe in a field.", "giraffe is"),
        ("A painting of a man and a woman are hanging on a wall.", "painting are"),
        ("A photo of the clock who is on the wall.", "clock who"),
        ("A toilet seated inside a bathroom.", "toilet seated"),
        ("Two sheeps in a gate.", "sheeps"),
        ("A couple of zebra stands on a rock.", "couple stands"),
        ("A picture of two people playing a video games.", "a games"),
        ("A man and a girl is standing beside two cakes.", "a ... is after and"),
    ],
)
def test_faults_are_found(text: str, fault: str) -> None:
    assert faults_of(text) == [{fault}]


@pytest.mark.parametrize(
    "text",
    [
        "The boys are playing.",
        "A boy is playing.",
        "A group of people are in a park.",
        "A group of people is in a park.",
        "There is a dog and a cat on a bed.",
        "There are two sheep in a field.",
        "A man and a woman are dancing.",
        "There is lots of food.",
        "A young lady and a young man are playing.",
        "A dog that is running on a beach.",
        "Two men, one of which is tall, stand here.",
        "A cat sits on a chair and looks out.",
        "A man is sitting on a bench and reads.",
        "An apple sits in between two bananas.",
        "The sheep are grazing.",
        "A pair of dogs are running.",
        "A man was riding a horse.",
        "A woman cut the cake and smiled.",
        "A black and white cat and a dog.",
        "A man peels an orange.",
        "A boy next to running water.",
        "A man getting close to a dog.",
        "A few small dogs.",
        "A snow covered hill.",
        "A children's book.",
        "A cat leans on a water bottle.",
        "A man in a couple of pictures.",
        "A blanket is spread on the grass by a woman.",
        "The window is shut by a man.",
        "A log is being split by a man with an axe.",
        "A shadow is cast on the wall.",
        "Fur was shed on the couch.",
        "A rope is let down by a man.",
        "The balloon was burst by a child.",
        "A cat is shown with something.",
        "A firetruck and a skateboarder in a wetsuit.",
        "The dog's ball isn't red.",
    ],
)
def test_good_english_has_none(text: str) -> None:
    assert faults_of(text) == [set()]


def test_real_captions_seldom_have_one(shared_data):
    """Most are misspellings and names."""
    captions = coco(shared_data, 3000)
    found = faults_of(*captions)
    assert sum(bool(one) for one in found) < 130
    assert sum(any(" " in fault for fault in one) for one in found) < 60


def test_an_error_drops_a_candidate_unless_its_caption_has_it():
    for caption, kept in (("Two boys are sitting on a bench.", False), ("Two boys is sitting on a bench.", True)):
        candidates = [Candidate("Two boys is sitting on the bench.", 0, 0), Candidate("Two boys sit on the bench.", 0, 1)]
        found = choose({caption: candidates}, caption_parser("embedded"), sentence_encoder("embedded", 1), BackTranslationSettings())[
            caption
        ]
        assert ("Two boys is sitting on the bench." in [one.text for one in found.positives]) == kept
        assert kept or (Reason.GARBLED, "boys is: Two boys is sitting on the bench.") in found.refused
