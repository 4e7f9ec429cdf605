"""Back-translation as a stage, through Beam, with the embedded translators on synthetic scenes and COCO captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ctranslate2", reason="back-translation requires its extra: pip install 'cmcl[translate]'")
pytest.importorskip("sentence_transformers", reason="back-translation requires its extra: pip install 'cmcl[translate]'")

from schemas.corpus import Corpus
from schemas.tables import REWRITES
from tests.given import given_pairs, run_stages, scene_pairs
from tests.transforms.core.test_rows import made
from transforms.back_translation import candidates, known_words
from transforms.back_translation.known_words import PairWords, TranslatorWords
from transforms.back_translation.settings import BackTranslationSettings, Pivot
from transforms.back_translation.stage import BackTranslate
from transforms.back_translation.texts import change, words_of
from transforms.core.beam import RunContext, run_task
from transforms.engines.translators import load

PIVOTS = ("de", "fr")
HOW = BackTranslationSettings()
PLAIN = BackTranslationSettings(rewordings=False, retry=False)  # translations alone


def pairs_of(captions):
    """One pair per image."""
    return given_pairs([(str(at), caption) for at, caption in enumerate(captions)], "given")


def coco(shared_data, count):
    notes = json.loads((shared_data / "coco_val2017/captions_val2017.json").read_text(encoding="utf-8"))["annotations"]
    return tuple(" ".join(note["caption"].split()) for note in notes[:count])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.arrow"))}


def rows_of(corpus: Corpus, table: str = "rewrites") -> list[dict[str, Any]]:
    return [row for partition in range(corpus.partitions) for row in corpus.open("back_translation", table, partition).read().to_pylist()]


def captions_of(corpus: Corpus) -> dict[str, str]:
    tables = [corpus.open("pairs", "pairs", partition).read() for partition in range(corpus.partitions)]
    return {
        pair: caption for table in tables for pair, caption in zip(table["pair_id"].to_pylist(), table["caption"].to_pylist(), strict=True)
    }


@pytest.mark.slow
def test_the_number_of_partitions_and_workers_changes_nothing(tmp_path, shared_data):
    one = run_stages(tmp_path / "one", [pairs_of(coco(shared_data, 24)), BackTranslate(HOW)], workers=1, partitions=1)
    three = run_stages(tmp_path / "three", [pairs_of(coco(shared_data, 24)), BackTranslate(HOW)], workers=2, partitions=3)
    assert rows_of(one) == rows_of(three) != []


def test_rewrites_are_sound(tmp_path):
    corpus = run_stages(tmp_path, [given_pairs(scene_pairs(12)), BackTranslate(HOW)])
    captions, rows = captions_of(corpus), rows_of(corpus)
    assert rows
    order = list(dict.fromkeys(row["pair_id"] for row in rows))
    assert order == [pair for pair in captions if pair in set(order)]
    assert corpus.open("back_translation", "rewrites", 0, REWRITES).schema.equals(REWRITES)
    by_pair: dict[str, list[str]] = {}
    for row in rows:
        caption = captions[row["pair_id"]]
        scores = {score["name"]: score["value"] for score in row["scores"]}
        assert (row["polarity"], row["level"], row["edits"]) == ("positive", "sentence", None)
        assert scores["similarity"] >= HOW.min_similarity and scores["rank"] >= 0
        assert scores["change"] == pytest.approx(change(words_of(caption), words_of(row["text"])), abs=1e-6) and scores["change"] >= 0.1
        assert row["text"].endswith(".") == caption.endswith(".") and row["text"][0].isupper() == caption[0].isupper()
        name, _, models = row["origin"].partition(": ")
        if row["kind"] == "rewording":
            assert name == "rewording" and models and "@" not in models
        else:
            assert row["kind"] == "back_translation" and name in PIVOTS
            assert models.count("@") == 2 and f"embedded:en-{name}@" in models
        by_pair.setdefault(row["pair_id"], []).append(row["text"])
    for texts in by_pair.values():
        assert len(texts) <= 3
        assert all(change(words_of(one), words_of(other)) >= 0.1 for at, one in enumerate(texts) for other in texts[:at])


def test_every_candidate_is_accounted_for(tmp_path, shared_data):
    corpus = run_stages(tmp_path, [pairs_of(coco(shared_data, 30)), BackTranslate(HOW)], partitions=1)
    counts = corpus.manifest("back_translation").counts
    assert counts.rows_in == 30 and counts.rejected == counts.excluded == 0
    once, numbers = 30 * len(PIVOTS) * HOW.pivot_texts * HOW.n_best, counts.numbers
    again = numbers["candidates_of_second_attempt"]
    assert again == 2 * numbers["texts_translated_again"] * once / 30
    assert counts.dropped + counts.rows_out["rewrites"] == numbers["candidates"] > once + again
    assert counts.dropped - counts.reasons["repeated_text"] == counts.rows_out.get("rejects", len(rows_of(corpus, "rejects")))


def test_repeated_captions_are_translated_once_for_all_their_pairs(tmp_path):
    captions = (
        "A man rides a horse on the beach.",
        "a man rides a horse on the beach",
        "A man rides a horse on the beach .",
        "A dog runs.",
    )
    corpus = run_stages(tmp_path, [pairs_of(captions), BackTranslate(HOW)], partitions=1)
    numbers = corpus.manifest("back_translation").counts.numbers
    assert numbers["texts_translated"] == 4
    assert [value for name, value in numbers.items() if name.startswith("texts_on cpu ")] == [4]
    texts: dict[str, list[str]] = {}
    for row in rows_of(corpus):
        texts.setdefault(captions_of(corpus)[row["pair_id"]], []).append(row["text"])
    bare = {caption: [" ".join(words_of(text)) for text in own] for caption, own in texts.items()}
    assert bare.get(captions[0]) == bare.get(captions[1]) == bare.get(captions[2])
    assert all(not text.endswith(".") and text[0].islower() for text in texts.get(captions[1], []))


def test_non_captions_get_a_reason_and_no_positives(tmp_path):
    odd = (
        "See https://example.org/a.jpg",
        "<b>A dog</b>",
        "A dog 🐶 runs",
        "word " * 60,
        "Ein Hund läuft mit einem Ball über die Wiese",
        "一只狗",
        "12345",
    )
    corpus = run_stages(tmp_path, [pairs_of((*odd, "A dog runs on the beach.")), BackTranslate(HOW)], partitions=1)
    counts = corpus.manifest("back_translation").counts
    assert counts.reasons["no_caption"] == counts.excluded == len(odd) and counts.rejected == 0
    captions = captions_of(corpus)
    refused = {captions[row["id"]] for row in rows_of(corpus, "rejects") if row["reason"] == "no_caption"}
    assert refused == {caption for caption in captions.values() if caption != "A dog runs on the beach."}
    assert {captions[row["pair_id"]] for row in rows_of(corpus)} <= {"A dog runs on the beach."}


def test_an_engine_failure_does_not_affect_other_sentences(tmp_path, monkeypatch):
    class Fragile:
        """The real translator, failing on one word."""

        def __init__(self, engine):
            self.engine, self.name, self.fingerprint = engine, engine.name, engine.fingerprint

        def translate(self, texts, decoding, seed=0):
            if any("zebra" in text for text in texts):
                raise RuntimeError("out of memory")
            return self.engine.translate(texts, decoding, seed)

    captions = ("A man rides a horse on the beach.", "A zebra eats grass.", "Two dogs run on the beach.", "A woman holds an umbrella.")
    whole, broken = Corpus(str(tmp_path / "whole"), 1), Corpus(str(tmp_path / "broken"), 1)
    for corpus in (whole, broken):
        context = RunContext(corpus, 0, 0.05, {})
        run_task(context, pairs_of(captions), 0)
        if corpus is broken:
            monkeypatch.setattr(
                candidates,
                "translator",
                lambda spec, *how: (
                    Fragile(load.translator(spec, *how)) if spec == f"embedded:en-{PIVOTS[0]}" else load.translator(spec, *how)
                ),
            )
        run_task(context, BackTranslate(PLAIN), 0)
    zebra = next(pair for pair, caption in captions_of(whole).items() if "zebra" in caption)
    assert [row for row in rows_of(broken) if row["pair_id"] != zebra] == [row for row in rows_of(whole) if row["pair_id"] != zebra]
    failed = [row for row in rows_of(broken, "rejects") if row["reason"] == "engine_failed"]
    assert [row["id"] for row in failed] == [zebra] and "out of memory" in failed[0]["detail"] and "embedded:en-" in failed[0]["detail"]


def test_sampling_is_reproducible(tmp_path, shared_data):
    how = PLAIN.model_copy(update={"top_k": 6, "n_best": 4})
    stages = [pairs_of(coco(shared_data, 12)), BackTranslate(how)]
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run_stages(tmp_path / name, stages, seed=seed)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != bytes_of(tmp_path / "c")


def test_no_positive_repeats_another_caption_of_the_image(tmp_path):
    caption = "A man rides a horse on the beach."
    alone = run_stages(tmp_path / "alone", [given_pairs([("0", caption)]), BackTranslate(HOW)], partitions=1)
    best = rows_of(alone)[0]["text"]
    both = run_stages(tmp_path / "both", [given_pairs([("0", caption), ("0", best.upper())]), BackTranslate(HOW)], partitions=1)
    pair = next(pair for pair, text in captions_of(both).items() if text == caption)
    texts = [row["text"] for row in rows_of(both) if row["pair_id"] == pair]
    assert texts and best not in texts
    assert {"reason": "in_sibling", "detail": best} in [
        {key: row[key] for key in ("reason", "detail")} for row in rows_of(both, "rejects") if row["id"] == pair
    ]


def test_stand_ins_give_positives_to_captions_with_unknown_words(tmp_path):
    captions = ("A giraffe is standing next to a tree.", "A woman is holding a toothbrush.", "Two zebras are running on a field.")
    counts = []
    for name, stages in (("without", []), ("with", [TranslatorWords(PLAIN), PairWords(PLAIN)])):
        corpus = run_stages(tmp_path / name, [pairs_of(captions), *stages, BackTranslate(PLAIN)], partitions=2)
        counts.append(len({row["pair_id"] for row in rows_of(corpus)}))
        numbers = corpus.manifest("back_translation").counts.numbers
        assert numbers["texts_with_stand_ins"] == (len(captions) if stages else 0)
    assert counts[0] < counts[1]


def test_a_new_word_only_concerns_the_captions_that_contain_it(tmp_path):
    how = PLAIN.model_copy(update={"pivots": ("de",), "pivot_texts": 1, "beam": 1, "n_best": 1})
    captions = ("A giraffe is standing next to a tree.", "A woman is holding a toothbrush.")
    stages = [TranslatorWords(how), PairWords(how), BackTranslate(how)]
    run_stages(tmp_path / "grown", [pairs_of(captions), *stages], partitions=1)
    more = [pairs_of((*captions, "Two zebras are running on a field.")), *stages]
    grown = run_stages(tmp_path / "grown", more, partitions=1)
    assert grown.manifest("back_translation").made == 1
    run_stages(tmp_path / "whole", more, partitions=1)
    one, other = bytes_of(tmp_path / "grown"), bytes_of(tmp_path / "whole")
    assert {name: held for name, held in one.items() if "back_translation" in name} == {
        name: held for name, held in other.items() if "back_translation" in name
    }


def test_only_new_words_are_measured(tmp_path, monkeypatch):
    how = PLAIN.model_copy(update={"pivots": ("de",), "vocabulary": 8})
    asked: set[str] = set()
    measure = known_words.measure
    monkeypatch.setattr(known_words, "SUBSTITUTES", ("dog", "red"))
    monkeypatch.setattr(known_words, "measure", lambda words, *rest: asked.update(words) or measure(words, *rest))

    def measured(name: str, *captions: str, base: Corpus | None = None) -> tuple[Corpus, set[str]]:
        asked.clear()
        corpus = made(tmp_path / name, [pairs_of(captions), TranslatorWords(how)], partitions=2, base=base)
        fresh = made(tmp_path / f"{name} {len(captions)} anew", [pairs_of(captions), TranslatorWords(how)], partitions=2)
        assert bytes_of(tmp_path / name) == bytes_of(Path(fresh.url))
        return corpus, asked - {"dog", "red"}

    captions = ("A giraffe stands near trees.", "A woman with a toothbrush.", "A giraffe.")
    asked_first = measured("grown", *captions[:2])[1]
    assert "giraffe" in asked_first
    for corpus, seen in (measured("grown", *captions), measured("based", *captions, base=Corpus(str(tmp_path / "grown"), 2))):
        assert corpus.record("translator_words", -1).basis
        assert seen >= asked_first  # by the fresh run
    asked.clear()
    grown = made(tmp_path / "grown", [pairs_of((*captions, "Zebras zebras.")), TranslatorWords(how)], partitions=2)
    assert asked == {"zebras"}
    file = next(Path(grown.folder("translator_words")).glob("translator_words*.arrow"))
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    made(tmp_path / "grown", [pairs_of(captions), TranslatorWords(how)], partitions=2)
    assert asked > asked_first


def test_missing_models_are_named_before_any_work():
    way = Pivot(name="xx", forward="ctranslate2:/nowhere", back="ctranslate2:/nowhere")
    with pytest.raises(ValueError, match="folder not found: /nowhere"):
        BackTranslate(BackTranslationSettings(pivots=(way,)))
    with pytest.raises(ValueError, match="no embedded translator en-xx"):
        BackTranslate(BackTranslationSettings(pivots=("xx",)))
    with pytest.raises(ValueError, match="encoder 'x'"):
        BackTranslate(HOW.model_copy(update={"encoder": "x"}))


def test_the_stage_is_fingerprinted_by_its_engines_and_settings():
    one = BackTranslate(HOW).identity
    assert one == BackTranslate(BackTranslationSettings(**HOW.model_dump())).identity
    assert one != BackTranslate(HOW.model_copy(update={"min_similarity": 0.9})).identity
    assert one != BackTranslate(HOW.model_copy(update={"compute_type": "float32"})).identity
