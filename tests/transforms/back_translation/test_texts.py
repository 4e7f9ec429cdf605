"""Non-captions, case and punctuation, and differences between texts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sentence_transformers", reason="back-translation requires its extra: pip install 'cmcl[translate]'")

from tests.transforms.back_translation.captions import coco
from tests.transforms.engines.translators.help import scene_captions
from transforms.back_translation.candidates import windows
from transforms.back_translation.texts import change, garbled, prepared, restored, why_not_caption, words_of

WORDS = st.lists(st.sampled_from("a the dog cat red two on left of not runs Zoë it's T-shirt".split()), max_size=9)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("word " * 51, "51 words, 50 are allowed"),
        ("See https://example.org/x for more", "address"),
        ("mail me at someone@example.org", "address"),
        ("A <b>dog</b> runs", "markup"),
        ("A dog &amp; a cat", "markup"),
        ("#sunset over the #beach", "markup"),
        ("A dog 🐶 runs", "U+1F436"),
        ("Собака бежит по пляжу", "not Latin"),
        ("一只狗在海滩上", "not Latin"),
        ("123 456", "no words"),
        ("", "no words"),
        ("Ein Mann mit einem Hund auf der Straße", "not English"),
        ("Un homme avec un chien dans la rue", "not English"),
        ("IMG_2034.jpg", "address"),
    ],
)
def test_non_captions_are_recognised(text, why):
    assert why in why_not_caption(text, 50)


@pytest.mark.parametrize(
    "text",
    [
        "No parking sign",
        "No dogs allowed",
        "White van parked outside",
        "Do not enter sign",
        "Lion den",
        "Las Vegas hotel",
        "No people",
        "Player #5 swings a bat",
        "Temperature of 20° outside",
        "Coca-Cola® can",
        "Los Angeles skyline at night",
        "A dog in café Le Monde",
    ],
)
def test_short_titles_are_captions(text):
    assert why_not_caption(text, 50) == ""


def test_words_of_an_unknown_language_are_not_a_caption():
    assert "none of its 3 words is known" in why_not_caption("Perro corre playa", 50)


def test_captions_in_other_languages_are_distinguished_from_short_english_ones(shared_data):
    foreign = {}
    for language in ("de", "fr", "en"):
        texts = (shared_data / "multi30k" / f"val.{language}").read_text(encoding="utf-8").splitlines()
        foreign[language] = sum("not English" in why_not_caption(text, 60) for text in texts) / len(texts)
    assert foreign["de"] > 0.97 and foreign["fr"] > 0.97 and foreign["en"] == 0
    short = [" ".join(caption.split()[: 2 + at % 4]) for at, caption in enumerate(coco(shared_data, 3000))]
    assert not [text for text in short if "confidence" in why_not_caption(text, 60)]


def test_real_captions_are_captions(shared_data):
    captions = coco(shared_data, 25_014)
    problems = [(why, caption) for caption in captions if (why := why_not_caption(caption, 60))]
    assert len(problems) < 25, problems


@pytest.mark.parametrize(
    ("caption", "sent", "back", "dressed"),
    [
        ("A dog runs.", "A dog runs.", "a dog  is running .", "A dog is running."),
        ("a dog runs", "A dog runs.", "A dog is running.", "a dog is running"),
        ("A dog runs!", "A dog runs!", "A dog is running !", "A dog is running!"),
        ("A DOG RUNS", "A dog runs.", "A dog is running.", "A DOG IS RUNNING"),
        ("i see a dog", "I see a dog.", "I see a dog .", "I see a dog"),
        ("A boy 's ball , red .", "A boy 's ball , red.", "A boy 's ball , red .", "A boy's ball, red."),
        ("two dogs run...", "Two dogs run.", "Two dogs are running.", "two dogs are running..."),
    ],
)
def test_captions_keep_their_style(caption, sent, back, dressed):
    assert prepared(caption) == sent
    assert restored(back, caption) == dressed


@given(WORDS.filter(bool), st.sampled_from(["", ".", " .", "!", "..."]), st.booleans())
def test_style_round_trips_without_loss(words, end, capital):
    caption = " ".join(words) + end
    caption = caption[0].upper() + caption[1:] if capital else caption
    sent = prepared(caption)
    assert sent[0] == sent[0].upper() and sent[-1] in ".!"
    assert prepared(sent) == sent
    back = restored(sent, caption)
    assert words_of(back) == words_of(caption)
    assert back[0].lower() == caption[0].lower() and back[-1] == caption[-1]
    assert restored(back, caption) == back


@given(WORDS, WORDS)
def test_change_is_a_share_symmetric_and_zero_for_the_same_words_alone(one, other):
    share = change(one, other)
    assert 0 <= share <= 1 and share == change(other, one)
    assert (share == 0) == (letters(one) == letters(other))


def letters(words):
    text = unicodedata.normalize("NFKD", "".join(words))
    return "".join(character for character in text if character.isalnum())


def test_case_and_punctuation_are_no_change():
    assert change(words_of("A dog, a cat."), words_of("a DOG a cat")) == 0
    assert change(words_of("A hot-dog stand"), words_of("a hot dog stand")) == 0
    assert change(words_of("A T-shirt in a café"), words_of("a T shirt in a cafe")) == 0
    assert change(words_of("a sail boat"), words_of("a sailboat")) == 0
    assert change(words_of("a dog runs"), words_of("a dog is running")) == pytest.approx(0.5)
    assert change([], ["a"]) == 1


def test_windows_do_not_depend_on_the_order():
    texts = scene_captions(50)
    assert list(windows(texts)) == list(windows(texts[::-1] + texts))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "a dog dog runs",
        "a dog on a dog on a dog on a dog",
        "a ⁇ runs",
        "a orange cat",
        "a umbrella",
        "an dog",
        "in a the park",
        "a dog and a small cat is.",
        "A gray dog is very.",
        "two dogs's ball",
        "a house with lot of windows",
        "a man on his back of a horse",
        "A man on her right side of a dog.",
        "A car's left of a tree.",
        "Walking a dog and the right of a child.",
        "This are two dogs.",
        "These is two dogs.",
        "This two dogs run.",
        "There has a dog.",
        "This picture is a man and a dog.",
        "These a dog.",
        "We a dog.",
        "In this photo where there is a dog.",
        "This picture is picture of a dog.",
        "There is the picture there is a dog.",
    ],
)
def test_garbled_texts(text):
    assert garbled(text)


@pytest.mark.parametrize(
    "text",
    [
        "an MRI scan",
        "An LCD screen",
        "vitamin A and C",
        "a dog that had had a ball",
        "a one way sign",
        "a car in a parking lot of a mall",
        "a lot of dogs",
        "a man lies on his back",
        "a dog to the right of a car",
        "a man on her right",
        "a dog's left paw",
        "this picture is a close up photo",
        "a dog that has been there has a ball",
    ],
)
def test_good_english_is_not_garbled(text):
    assert garbled(text) == ""


def test_a_captions_own_defect_does_not_hide_another():
    assert garbled("a dog dog", "the dog dog") == ""
    assert garbled("a dog dog on an car", "the dog dog on a car") == "an car"


def test_real_captions_are_seldom_garbled(shared_data):
    captions = coco(shared_data, 3000)
    assert sum(bool(garbled(caption)) for caption in captions) < 90
