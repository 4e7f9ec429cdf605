"""The fairseq engine, and that CTranslate2 says the same with the same weights. Needs fairseq: see `fairseq_engine.INSTALL`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.transforms.translator_help import fairseq_folder, scene_captions
from transforms.translators.base import Decoding, TranslatorError
from transforms.translators.fairseq_engine import INSTALL, checkpoint_of, needs_fairseq

try:
    import fairseq  # noqa: F401
    HERE = True
except ImportError:
    HERE = False
wanted = pytest.mark.skipif(not HERE, reason=f"fairseq is not installed: {INSTALL}")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return fairseq_folder(tmp_path_factory.mktemp("fairseq") / "tiny", scene_captions(500))


@pytest.mark.skipif(HERE, reason="fairseq is installed")
def test_without_fairseq_the_command_is_named():
    with pytest.raises(TranslatorError, match="pip install --no-deps fairseq-fixed"):
        needs_fairseq("this")


def test_which_checkpoint_is_meant_must_be_clear(tmp_path):
    with pytest.raises(TranslatorError, match="has no .pt checkpoints"):
        checkpoint_of(tmp_path)
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(TranslatorError, match="has several .pt checkpoints"):
        checkpoint_of(tmp_path)
    (tmp_path / "model1.pt").touch()
    assert checkpoint_of(tmp_path).name == "model1.pt"


@wanted
@pytest.mark.slow
def test_fairseq_and_ctranslate2_agree_token_for_token(checkpoint, tmp_path, shared_data):
    """Greedy search over 200 captions of COCO, in 32-bit floats on both sides."""
    from transforms.translators import convert
    from transforms.translators.ctranslate import CTranslate2Translator
    from transforms.translators.fairseq_engine import FairseqTranslator

    notes = json.loads((shared_data / "coco_val2017/captions_val2017.json").read_text())["annotations"][:200]
    captions = [note["caption"].strip() for note in notes]
    convert.convert_fairseq(checkpoint, tmp_path / "ct2", "float32")
    theirs, ours = FairseqTranslator(checkpoint, "fairseq"), CTranslate2Translator(tmp_path / "ct2", "ct2")
    assert theirs.tokens(captions) == ours.tokens(captions)  # both add the end of the sentence themselves
    greedy = Decoding(beam=1, max_length=120)
    expected = [found[0][0] for found in theirs.hypotheses(captions, greedy)]
    assert sum(len(set(tokens)) for tokens in expected) > 1000  # no one word for ever
    result = ours._translator.translate_batch(ours.tokens(captions), beam_size=1, max_input_length=0, max_decoding_length=120,
                                              disable_unk=True)
    assert [one.hypotheses[0] for one in result] == expected
    texts = [[one[0].text for one in engine.translate(captions, greedy)] for engine in (theirs, ours)]
    assert texts[0] == texts[1]


@wanted
@pytest.mark.slow
def test_beams_and_samples_of_fairseq(checkpoint):
    from transforms.translators.load import check_spec, translator

    spec = f"fairseq:{checkpoint}#en:de"
    check_spec(spec)
    engine, captions = translator(spec), scene_captions(40)
    found = engine.translate(captions, Decoding(beam=4, n_best=3, max_length=20))
    assert all(len(one) == 3 and one[0].score >= one[1].score >= one[2].score for one in found)
    alone = engine.translate(captions[:1], Decoding(beam=4, n_best=3, max_length=20))[0]
    assert [one.text for one in alone] == [one.text for one in found[0]]
    drawn = [engine.translate(captions, Decoding(n_best=2, top_k=5, max_length=20), seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@wanted
@pytest.mark.slow
def test_a_checkpoint_that_would_run_code_is_refused(checkpoint, tmp_path):
    import shutil

    import torch

    from transforms.translators.fairseq_engine import FairseqTranslator

    folder = Path(shutil.copytree(checkpoint, tmp_path / "hostile"))
    torch.save({"args": None, "cfg": _Trap(tmp_path / "ran"), "model": {}}, folder / "checkpoint_best.pt")
    with pytest.raises(TranslatorError, match="holds more than tensors and settings"):
        FairseqTranslator(folder, "hostile", "en", "de")
    assert not (tmp_path / "ran").exists()


class _Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@wanted
@pytest.mark.slow
def test_missing_dictionaries_are_named(checkpoint, tmp_path):
    import shutil

    from transforms.translators.load import check_spec

    folder = Path(shutil.copytree(checkpoint, tmp_path / "half"))
    with pytest.raises(TranslatorError, match=r"has no dict\.fr\.txt; dictionaries are there for de, en"):
        check_spec(f"fairseq:{folder}#en:fr")
    (folder / "sentencepiece.bpe.model").unlink()
    with pytest.raises(TranslatorError, match="nor any of sentencepiece.bpe.model"):
        check_spec(f"fairseq:{folder}")
