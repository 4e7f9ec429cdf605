"""A sentence encoder in ONNX format gives the vectors of the original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="needs its extra: pip install 'cmcl[retrieval,onnx]'")
pytest.importorskip("onnxruntime", reason="needs its extra: pip install 'cmcl[retrieval,onnx]'")
pytest.importorskip("onnx", reason="needs its extra: pip install 'cmcl[retrieval,onnx]'")

from transforms.engines.encoders.base import EncoderError
from transforms.engines.encoders.onnx_export import AGREES, export
from transforms.engines.encoders.onnx_model import pooled
from transforms.engines.encoders.sentence import TransformerEncoder, sentence_encoder, spec_fingerprint

WORDS = "[PAD] [UNK] [CLS] [SEP] a the dog runs on beach two cats sleep under red bus near old tree".split()
TEXTS = ["a dog runs on the beach", "two cats sleep", "", "the red bus near a tree " * 12, "a a a a", "zebra"]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A small BERT of random weights as a sentence-transformers folder."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    base, out = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("original") / "model"
    torch.manual_seed(0)
    shape = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )
    transformers.BertModel(shape).save_pretrained(base)
    transformers.BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}).save_pretrained(base)
    parts = [Transformer(str(base), max_seq_length=64), Pooling(16), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(out))
    return out


@pytest.fixture(scope="module")
def exported(original, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    assert export(original, out) >= AGREES
    return out


def test_its_vectors_are_those_of_the_original_alone_and_in_company(original, exported):
    theirs = TransformerEncoder(f"sentence-transformers:{original}").encode(TEXTS)
    encoder = sentence_encoder(f"onnx:{exported}")
    ours = encoder.encode(TEXTS)
    assert ours.dtype == np.float32 and ours.shape == (len(TEXTS), encoder.width)
    assert ((ours * theirs).sum(axis=1) >= AGREES).all()
    assert all(np.array_equal(encoder.encode([text])[0], own) for text, own in zip(TEXTS, ours, strict=True))


def test_a_changed_network_has_another_fingerprint(exported, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "m")
    before = spec_fingerprint(f"onnx:{copy}")
    assert before == spec_fingerprint(f"onnx:{exported}")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert spec_fingerprint(f"onnx:{copy}") != before


def test_an_export_that_disagrees_leaves_nothing(original, tmp_path, monkeypatch):
    from transforms.engines.encoders import onnx_model

    monkeypatch.setattr(onnx_model, "pooled", lambda tokens, mask, how: pooled(tokens, mask, "max"))
    with pytest.raises(EncoderError, match="cosines down to"):
        export(original, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), "has no model.onnx or onnx/model.onnx"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"no network"), "cannot be loaded"),
        (lambda folder: (folder / "modules.json").write_text(json.dumps([{"type": "x.Transformer"}, {"type": "x.Dense"}])), "modules Tr"),
        (
            lambda folder: (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "lasttoken"}'),
            "pooling 'lasttoken' is not one of",
        ),
        (lambda folder: (folder / "config.json").unlink(), "is not a sentence-transformers model"),
    ],
)
def test_what_is_no_such_model_is_refused(exported, tmp_path, change, text):
    folder = shutil.copytree(exported, tmp_path / "m")
    change(folder)
    with pytest.raises(EncoderError, match=text):
        sentence_encoder(f"onnx:{folder}")


@pytest.mark.parametrize("how", ["cls", "mean", "max"])
def test_pooling_leaves_out_what_is_padded(how):
    tokens, mask = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32), np.array([[1, 1, 1, 0, 0], [1] * 5])
    expected = {"cls": tokens[0, 0], "mean": tokens[0, :3].mean(0), "max": tokens[0, :3].max(0)}[how]
    assert pooled(tokens, mask, how)[0] == pytest.approx(expected, abs=1e-6)
