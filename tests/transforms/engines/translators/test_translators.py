"""Translators by specification: invalid ones, and the CTranslate2 engine on tiny models made from a seed."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

pytest.importorskip("ctranslate2", reason="translators need CTranslate2: pip install 'cmcl[translate]'")
pytest.importorskip("transformers")

from tests.transforms.engines.translators.help import at_once, marian_folder, scene_captions
from transforms.engines.translators import convert, ctranslate
from transforms.engines.translators.base import Decoding, Spec, TranslatorError, parse_spec
from transforms.engines.translators.ctranslate import CTranslate2Translator
from transforms.engines.translators.load import check_spec, embedded_pairs, name_of, spec_fingerprint, translator
from transforms.engines.translators.subwords import MosesBpe

CAPTIONS = scene_captions(120)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return marian_folder(tmp_path_factory.mktemp("marian") / "hf", CAPTIONS)


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("marian") / "tiny"
    assert convert.main(["marian", str(checkpoint), str(out)]) == 0
    return out


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "embedded",
        "embedded:en",
        "embedded:en-de#en:de",
        "ctranslate2",
        "ctranslate2:",
        "opus:/m",
        "fairseq:",
        "embedded:/tmp/en-de",
        "embedded:../en-de",
        "embedded:en-de/../fr-en",
        "embedded:EN-DE",
    ],
)
def test_invalid_specifications_are_refused(spec):
    with pytest.raises(TranslatorError, match="embedded:"):
        parse_spec(spec)


def test_specifications_are_taken_apart():
    assert parse_spec("ctranslate2:/m/nllb#eng_Latn:deu_Latn") == Spec("ctranslate2", "/m/nllb", "eng_Latn", "deu_Latn")
    assert parse_spec("fairseq:s3-copy/x") == Spec("fairseq", "s3-copy/x", "", "")
    assert name_of("ctranslate2:/m/nllb#eng_Latn:deu_Latn") == "ctranslate2:nllb#eng_Latn:deu_Latn"
    with pytest.raises(TranslatorError, match="#SRC:TGT"):
        parse_spec("ctranslate2:/m/nllb#deu_Latn")
    with pytest.raises(TranslatorError, match="#SRC:TGT"):
        parse_spec("ctranslate2:/m/nllb#:deu_Latn")


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("model.bin", "no model.bin.*translators.convert"),
        ("shared_vocabulary.json", "neither shared_vocabulary.json"),
        ("target.spm", "has no target.spm"),
        ("both", "has no source.spm and target.spm, nor any of sentencepiece.bpe.model"),
    ],
)
def test_a_missing_file_is_named_with_its_source(model, tmp_path, missing, text):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    for name in ("source.spm", "target.spm") if missing == "both" else (missing,):
        (folder / name).unlink()
    with pytest.raises(TranslatorError, match=text):
        check_spec(f"ctranslate2:{folder}")


def test_absent_folders_languages_and_engines_are_named(tmp_path):
    with pytest.raises(TranslatorError, match="folder not found: /nowhere"):
        check_spec("ctranslate2:/nowhere")
    with pytest.raises(TranslatorError, match="no embedded translator en-xx; available"):
        check_spec("embedded:en-xx")


def test_broken_models_are_named(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    (folder / "model.bin").write_bytes(b"nothing")
    with pytest.raises(TranslatorError, match="CTranslate2 cannot load it"):
        translator(f"ctranslate2:{folder}")
    (folder / "source.spm").write_bytes(b"nothing")
    with pytest.raises(TranslatorError, match="not a SentencePiece model"):
        translator(f"ctranslate2:{folder}", "int8")
    (folder / "shared_vocabulary.json").write_text("[")
    with pytest.raises(TranslatorError, match="shared_vocabulary.json is not valid JSON"):
        check_spec(f"ctranslate2:{folder}")


def test_n_best_lists_are_ordered_and_as_long_as_asked(model):
    found = translator(f"ctranslate2:{model}").translate(CAPTIONS, Decoding(beam=4, n_best=3, max_length=12))
    assert len(found) == len(CAPTIONS)
    for hypotheses in found:
        assert len(hypotheses) == 3
        assert [one.score for one in hypotheses] == sorted((one.score for one in hypotheses), reverse=True)
        assert len({one.text for one in hypotheses}) > 1
    assert translator(f"ctranslate2:{model}").translate([], Decoding()) == []


def test_translations_do_not_depend_on_the_batch(model):
    """To the last token for this small network; larger ones in int8 differ in a few texts of a thousand (docs/design.md)."""
    engine, decoding = translator(f"ctranslate2:{model}"), Decoding(beam=4, n_best=2, max_length=12)
    together = [[one.text for one in found] for found in engine.translate(CAPTIONS, decoding)]
    alone = [[one.text for one in engine.translate([caption], decoding)[0]] for caption in CAPTIONS[:40]]
    backwards = [[one.text for one in found] for found in engine.translate(CAPTIONS[::-1], Decoding(4, 2, max_length=12, batch_tokens=64))]
    assert together[:40] == alone
    assert together == backwards[::-1]


def test_samples_are_those_of_the_seed(model):
    engine, decoding = translator(f"ctranslate2:{model}"), Decoding(n_best=3, top_k=8, max_length=12)
    one, again, other = (engine.translate(CAPTIONS[:20], decoding, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_samples_of_two_translators_at_once_are_those_of_their_seeds(model, monkeypatch):
    import ctranslate2

    engines, decoding = [CTranslate2Translator(model, name) for name in ("one", "two")], Decoding(n_best=3, top_k=8, max_length=12)
    alone = [engine.translate(CAPTIONS[:20], decoding, seed) for seed, engine in enumerate(engines)]
    setting = ctranslate2.set_random_seed
    monkeypatch.setattr(
        ctranslate2, "set_random_seed", lambda seed: (setting(seed), time.sleep(0.2))
    )  # each sets its own, then both sample
    together = at_once(
        [lambda engine=engine, seed=seed: engine.translate(CAPTIONS[:20], decoding, seed) for seed, engine in enumerate(engines)]
    )
    assert together == alone


def test_a_search_waits_for_no_sampler(model):
    engine = translator(f"ctranslate2:{model}")
    with ctranslate._SAMPLING:
        assert at_once([lambda: engine.translate(CAPTIONS[:2], Decoding(max_length=12))])[0]


def test_a_translator_is_loaded_once_and_known_by_its_files(model, tmp_path):
    spec = f"ctranslate2:{model}"
    assert translator(spec) is translator(spec)
    assert translator(spec).fingerprint == spec_fingerprint(spec, "default")
    copy = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    assert spec_fingerprint(f"ctranslate2:{copy}", "default") == spec_fingerprint(spec, "default")
    assert spec_fingerprint(spec, "float32") != spec_fingerprint(spec, "default")
    (copy / "target.spm").write_bytes((copy / "target.spm").read_bytes() + b"\0")
    moved = Path(shutil.copytree(copy, tmp_path / "changed"))
    assert spec_fingerprint(f"ctranslate2:{moved}", "default") != spec_fingerprint(spec, "default")


def test_multilingual_models_want_their_languages(tmp_path):
    folder = marian_folder(tmp_path / "hf", CAPTIONS, languages=["fra", "deu"])
    convert.convert_marian(folder, tmp_path / "many", "int8")
    spec = f"ctranslate2:{tmp_path / 'many'}"
    for plan in (check_spec, translator):
        with pytest.raises(TranslatorError, match="multilingual model"):
            plan(spec)
        with pytest.raises(TranslatorError, match=">>spa<<"):
            plan(f"{spec}#en:spa")
    french, german = translator(f"{spec}#en:fra"), translator(f"{spec}#en:deu")
    assert french.tokens(["A dog."])[0][0] == ">>fra<<" and french.tokens(["A dog."])[0][-1] == "</s>"
    texts = [[one[0].text for one in engine.translate(CAPTIONS[:30], Decoding(max_length=12))] for engine in (french, german)]
    assert texts[0] != texts[1]
    assert french.fingerprint != german.fingerprint


def with_words(model: Path, folder: Path, *words: str) -> Path:
    """A copy of the model with some tokens of the vocabulary renamed."""
    shutil.copytree(model, folder)
    vocabulary = json.loads((folder / "shared_vocabulary.json").read_text())
    vocabulary[-1 - len(words) : -1] = words
    (folder / "shared_vocabulary.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.mark.parametrize(
    "words", [("____",), ("____", "__", "_____"), ("__en__",), ("__A__", "__9__"), (">>>>", ">><<", ">> <<"), ("eng_Latn",)]
)
def test_words_that_only_look_like_languages_make_no_multilingual_model(model, tmp_path, words):
    spec = f"ctranslate2:{with_words(model, tmp_path / 'm', *words)}"
    check_spec(spec)
    assert translator(spec).tokens(["A dog."])[0][0] not in words


def test_tokens_of_m2m_are_known(model, tmp_path):
    spec = f"ctranslate2:{with_words(model, tmp_path / 'm', '__en__', '__zh_Hans__', '__ceb__')}"
    with pytest.raises(TranslatorError, match="multilingual model .__ceb__, __en__, __zh_Hans__"):
        check_spec(spec)
    with pytest.raises(TranslatorError, match="no language '__de__'"):
        check_spec(f"{spec}#en:de")
    engine = translator(f"{spec}#en:ceb")
    assert engine.tokens(["A dog."])[0][0] == "__en__"
    assert len(engine.translate(["A dog."], Decoding(max_length=12))) == 1


def test_languages_that_a_model_of_one_pair_has_not_are_refused(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    check_spec(f"ctranslate2:{folder}#en:fr")  # its languages are unknown
    (folder / "translator.json").write_text('{"source": "en", "target": "de"}')
    check_spec(f"ctranslate2:{folder}")
    check_spec(f"ctranslate2:{folder}#en:de")
    for other in ("en:fr", "de:en"):
        with pytest.raises(TranslatorError, match=f"translates one pair, en:de .*cannot translate #{other}"):
            check_spec(f"ctranslate2:{folder}#{other}")


def test_bpe_without_languages_is_refused_at_planning(model, tmp_path):
    pytest.importorskip("sacremoses", reason="Moses tokens need sacremoses: pip install sacremoses")
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    for name in ("source.spm", "target.spm"):
        (folder / name).unlink()
    (folder / "bpecodes").write_text("l o 9\n")
    with pytest.raises(TranslatorError, match="Moses tokenisation requires the languages"):
        check_spec(f"ctranslate2:{folder}")
    check_spec(f"ctranslate2:{folder}#en:de")


def test_target_language_tokens_open_the_output_and_are_cut_off(model, tmp_path):
    """NLLB's format: a language token before the source and before the target."""
    folder = with_words(model, tmp_path / "nllb", "eng_Latn", "deu_Latn")
    engine = translator(f"ctranslate2:{folder}#eng_Latn:deu_Latn")
    assert engine.tokens(["A dog."])[0][0] == "eng_Latn"
    found = engine.translate(CAPTIONS[:20], Decoding(max_length=12))
    assert not any("deu_Latn" in one.text for hypotheses in found for one in hypotheses)


def test_bpe_merges_the_best_ranked_pair_first(tmp_path):
    pytest.importorskip("sacremoses", reason="Moses tokens need sacremoses: pip install sacremoses")
    (tmp_path / "bpecodes").write_text("l o 9\nlo w 8\ne r</w> 7\nd o 6\ng s</w> 5\n", encoding="utf-8")
    cut = MosesBpe(tmp_path / "bpecodes", "en", "de")
    assert cut.encode(["lower dogs", "low", "a"]) == [["low@@", "er", "do@@", "gs"], ["lo@@", "w"], ["a"]]
    texts = ["The lower dogs, low-down.", "A dog & a cat."]
    assert cut.decode(cut.encode(texts)) == texts


def test_bpe_is_that_of_subword_nmt(tmp_path, shared_data):
    pytest.importorskip("sacremoses", reason="Moses tokens need sacremoses: pip install sacremoses")
    subword_nmt = pytest.importorskip("subword_nmt.apply_bpe", reason="the reference is subword-nmt: pip install subword-nmt")
    from subword_nmt.learn_bpe import learn_bpe

    lines = (shared_data / "multi30k/val.en").read_text(encoding="utf-8").splitlines()[:400]
    with (tmp_path / "bpecodes").open("w", encoding="utf-8") as codes:
        learn_bpe(lines, codes, 300)
    cut = MosesBpe(tmp_path / "bpecodes", "en", "de")
    words = [" ".join(cut._tokenizer.tokenize(line, aggressive_dash_splits=True)) for line in lines]
    with (tmp_path / "bpecodes").open(encoding="utf-8") as codes:
        reference = subword_nmt.BPE(codes)
    assert cut.encode(lines) == [reference.process_line(line).split() for line in words]


def test_the_embedded_translators_translate():
    texts = translator("embedded:en-de").translate(["Two dogs run on the beach."], Decoding(beam=2))[0][0].text
    assert "Hunde" in texts and "Strand" in texts
    assert sorted(embedded_pairs()) == ["de-en", "en-de", "en-fr", "fr-en"]
