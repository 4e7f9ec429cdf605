"""The lexicon: hypernyms, synonyms and antonyms."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from transforms.english.data.make_lexicon import table
from transforms.english.wordnet import TABLE, Lexicon, lexicon


@pytest.mark.parametrize("above, below", [("animal", "dog"), ("person", "man"), ("vehicle", "bus"), ("fruit", "apple"), ("food", "pizza")])
def test_hypernyms(above: str, below: str) -> None:
    assert lexicon().hypernym(above, below) or lexicon().synonyms(above, below)
    assert not lexicon().hypernym(below, above)


@pytest.mark.parametrize(
    "one, other",
    [("couch", "sofa"), ("tv", "television"), ("bike", "bicycle"), ("airplane", "plane"), ("dog", "dog"), ("fire hydrant", "red hydrant")],
)
def test_synonyms(one: str, other: str) -> None:
    assert lexicon().synonyms(one, other) and lexicon().synonyms(other, one)


@pytest.mark.parametrize(
    "one, other", [("dog", "cat"), ("man", "woman"), ("boy", "girl"), ("kitchen", "bathroom"), ("bus", "train"), ("fork", "knife")]
)
def test_words_that_may_replace_each_other(one: str, other: str) -> None:
    words = lexicon()
    assert not words.synonyms(one, other) and not words.hypernym(one, other) and not words.hypernym(other, one)
    assert words.lexname(one) == words.lexname(other)
    assert words.similarity(one, other) > 0.4


def test_antonyms_follow_clusters() -> None:
    words = lexicon()
    assert words.antonyms("small", "large") and words.antonyms("wet", "dry") and words.antonyms("tiny", "huge")
    assert not words.antonyms("red", "blue") and not words.antonyms("small", "wet")
    assert words.synonyms("gray", "grey", "a") and not words.synonyms("small", "large", "a")


def test_senses_and_classes() -> None:
    words = lexicon()
    assert words.lexname("dog") == "noun.animal" and words.lexname("nosuchword") == "" and not words.knows("nosuchword")
    assert words.senses("yellow fire hydrant") == words.senses("hydrant")
    assert words.similarity("dog", "horse") > words.similarity("dog", "table")
    assert "wolf" in words.co_hyponyms("dog")
    assert "animal" in words.all_hypernyms(["dog"]) and "auto" in words.all_synonyms("car")
    assert words.is_a("dog", "animal") and not words.is_a("animal", "dog")


def test_the_table_is_compact_and_licensed() -> None:
    assert TABLE.stat().st_size < 1_000_000
    assert "Princeton" in (TABLE.parent / "LICENSE.wordnet").read_text()
    with gzip.open(TABLE, "rt") as file:
        assert {line[0] for line in file} == {"n", "v", "a"}


def test_the_script_reads_the_database_format(tmp_path: Path) -> None:
    (tmp_path / "cntlist.rev").write_text("dog%1:05:00:: 1 42\n")
    for name in ("noun", "verb", "adj"):
        (tmp_path / f"data.{name}").write_text("  1 licence\n")
        (tmp_path / f"index.{name}").write_text("  1 licence\n")
    (tmp_path / "data.noun").write_text(
        "  1 licence\n00000001 03 n 01 entity 0 000 | all\n00000002 05 n 02 dog 0 domestic_dog 0 001 @ 00000001 n 0000 | a pet\n"
    )
    (tmp_path / "index.noun").write_text("  1 licence\ndog n 1 1 @ 1 1 00000002\ndomestic_dog n 1 1 @ 1 0 00000002\n")
    lines = table(tmp_path, set())
    assert lines == ["n\t00000001\tnoun.Tops\t\t\t\t", "n\t00000002\tnoun.animal\t00000001\t\t\tdog:1:42"]
    path = tmp_path / "table.gz"
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    words = Lexicon(path)
    assert words.lexname("dog") == "noun.animal" and words.fingerprint != lexicon().fingerprint
