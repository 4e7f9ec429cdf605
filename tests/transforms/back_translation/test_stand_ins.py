"""Words that stand in for others while a caption is translated, and the measurement of what translators keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ctranslate2", reason="back-translation requires its extra: pip install 'cmcl[translate]'")
pytest.importorskip("sentence_transformers", reason="back-translation requires its extra: pip install 'cmcl[translate]'")

from transforms.back_translation.known_words import is_plural, measure, parts_of_speech
from transforms.back_translation.positives import find_positives
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.stand_ins import ADJECTIVES, NOUNS, QUANTITIES, StandIn, draft, put_back
from transforms.back_translation.texts import looked_up, prepared
from transforms.back_translation.truth import Reading
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser

# A translator that keeps only the words that may stand in for others.
KNOWN = {(word, part): 1.0 for words, part in ((NOUNS, "noun"), (ADJECTIVES, "adjective"), (QUANTITIES, "number")) for word in words}
CAPTIONS = [
    "A giraffe eats leaves from a tall tree.",
    "Two zebras and an elephant are in a dusty enclosure.",
    "A fire hydrant next to a parking meter.",
    "A furry ocelot is on a wooden stool.",
    "Seven skateboarders in London.",
    "An Umpire and a catcher behind home plate.",
    "Giraffes standing in straw.",
]


def drafted(caption, known=KNOWN, least=0.5, skip=0):
    return draft(Reading.of(next(iter(caption_parser("embedded").documents([caption])))), known, least, skip)


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("skip", [0, 1])
def test_a_text_that_comes_back_unchanged_is_the_caption(caption, skip):
    made = drafted(caption, skip=skip)
    assert made.stand_ins and made.text != caption
    assert put_back(made.text, made.stand_ins) == caption


def test_stand_ins_agree_in_class_number_and_article():
    made = drafted("An elephant next to two ocelots.")
    assert made.text.startswith("A ") and [one.original for one in made.stand_ins] == ["elephant", "ocelots"]
    assert made.stand_ins[0].word in ("horse", "dog", "cow", "cat") and made.stand_ins[1].word in ("cats", "dogs", "horses")
    assert "some" not in made.text
    assert drafted("A man on a bench.").stand_ins == ()
    assert drafted("A giraffe.", {}).stand_ins == ()  # nothing is known to survive


@pytest.mark.parametrize(("caption", "part"), [("A zebra runs 5km.", "km"), ("A zebra on a 10cm tall stool.", "cm")])
def test_what_is_known_of_other_captions_words_does_not_matter(caption, part):
    assert part not in looked_up(caption)  # the parser separates it, so another caption's word looks like it
    others = {(part, name): share for name, share in (("noun", 1.0), ("adjective", 1.0))}
    assert drafted(caption, KNOWN | others) == drafted(caption)
    assert part in [stand_in.original for stand_in in drafted(caption).stand_ins]


def test_parts_of_compounds_are_looked_up():
    assert looked_up("A light-up toy of the boy's") == {"a", "light-up", "light", "up", "toy", "of", "the", "boy's", "boy", "s"}


def test_a_stand_in_occurs_nowhere_else_in_the_caption():
    for caption in ("A dog, a cat, a horse and a giraffe.", "Two dogs and a lion."):
        made = drafted(caption)
        words = made.text.lower().replace(",", "").rstrip(".").split()
        assert all(words.count(one.word) == 1 for one in made.stand_ins)
        assert not {"dog", "dogs"} & {one.word for one in made.stand_ins}


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ("A dog is eating.", "An ocelot is eating."),
        ("There is a dog here.", "There is an ocelot here."),
        ("Dog here.", "Ocelot here."),
        ("The dog's ball.", "The ocelot's ball."),
        ("Two dogs are eating.", None),
        ("A dog eats a dog.", None),
        ("A dog and some dogs.", None),
        ("A hotdog.", None),
        ("A puppy is eating.", None),
    ],
)
def test_a_stand_in_must_come_back_once_in_its_number(returned, text):
    assert put_back(returned, (StandIn("dog", "ocelot"),)) == text


def test_words_that_stand_in_for_each_other_are_not_confused():
    stand_ins = (StandIn("dog", "cat"), StandIn("cat", "dog"))
    assert put_back("A dog chases a cat.", stand_ins) == "A cat chases a dog."


@given(st.text(max_size=40))
def test_put_back_accepts_any_text(text):
    assert put_back(text, ()) == text
    found = put_back(text, (StandIn("dog", "ocelot"),))
    assert found is None or "ocelot" in found.lower()


def test_parts_of_speech():
    assert parts_of_speech("zebra") == ["noun"] and parts_of_speech("seven") == ["number"] and parts_of_speech("12") == ["number"]
    assert parts_of_speech("red") == ["noun", "adjective"] and parts_of_speech("kyrgyzstani-ish") == ["noun"]
    assert is_plural("zebras") and is_plural("women") and not is_plural("zebra") and not is_plural("grass")


def test_the_embedded_translators_keep_dogs_but_not_giraffes():
    how = BackTranslationSettings()
    for way in how.ways():
        known = measure(["dog", "giraffe", "red", "two"], way, how)
        assert known["dog", "noun"] == known["red", "adjective"] == known["two", "number"] == 1
        assert known["giraffe", "noun"] == 0


def test_positives_with_stand_ins_and_a_second_attempt_do_not_depend_on_other_captions():
    how = BackTranslationSettings(pivots=("de",), rewordings=False, pivot_beam=2, pivot_texts=1, beam=2, n_best=2)
    captions = [prepared(caption) for caption in CAPTIONS]
    known = {"de": KNOWN}
    parser, encoder = caption_parser("embedded"), sentence_encoder("embedded")
    together = find_positives(captions, how, 7, parser, encoder, known)
    assert any(choice.stand_ins for choice in together.values()) and any(choice.again for choice in together.values())
    for caption in captions:
        assert find_positives([caption], how, 7, parser, encoder, known) == {caption: together[caption]}
