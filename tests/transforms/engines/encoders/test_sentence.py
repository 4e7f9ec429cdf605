"""The sentence encoder: unit vectors that do not depend on the rest of the batch, and clear errors."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the encoder needs its extra: pip install 'cmcl[translate]'")

from tests.transforms.engines.translators.help import at_once, scene_captions
from transforms.engines.encoders.base import EncoderError
from transforms.engines.encoders.sentence import model_folder, sentence_encoder, spec_fingerprint


def test_vectors_are_those_of_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    texts = scene_captions(40)
    theirs = SentenceTransformer(str(model_folder("embedded")), device="cpu", local_files_only=True).encode(
        texts, normalize_embeddings=True
    )
    ours = sentence_encoder("embedded").encode(texts)
    assert ours.dtype == np.float32 and ours.shape == (40, 384) == (40, sentence_encoder("embedded").width)
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_vector_is_the_same_to_the_last_bit_in_any_batch():
    encoder, texts = sentence_encoder("embedded"), [*scene_captions(80), "dog", "a " * 300]
    whole = encoder.encode(texts)
    order = random.Random(1).sample(range(len(texts)), len(texts))
    parts = np.zeros_like(whole)
    for start in range(0, len(order), 23):
        parts[order[start : start + 23]] = encoder.encode([texts[at] for at in order[start : start + 23]])
    assert np.array_equal(parts, whole)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


def test_the_tokenizer_has_one_caller_at_a_time(monkeypatch):
    encoder, texts = sentence_encoder("embedded"), scene_captions(30)
    alone, tokenizer, inside, most = encoder.encode(texts), encoder._model.tokenizer, [], []

    def slow(*args, **settings):
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.05)
        found = tokenizer(*args, **settings)
        inside.pop()
        return found

    monkeypatch.setattr(encoder, "_model", _With(encoder._model, slow))
    together = at_once([lambda: encoder.encode(texts)] * 3)
    assert max(most) == 1
    assert all(np.array_equal(one, alone) for one in together)


class _With:
    """A model with another tokenizer."""

    def __init__(self, model, tokenizer):
        self.call, self.tokenizer, self.max_seq_length = model, tokenizer, model.max_seq_length

    def __call__(self, features):
        return self.call(features)


def test_nearer_in_meaning_is_nearer():
    one, same, other = sentence_encoder("embedded").encode(
        ["A man rides a horse.", "A person is riding a horse.", "A cat sleeps on a sofa."]
    )
    assert one @ same > 0.8 > 0.3 > one @ other


def test_a_local_folder_is_identified_by_its_content(tmp_path):
    folder = Path(shutil.copytree(model_folder("embedded"), tmp_path / "mine"))
    assert spec_fingerprint(f"sentence-transformers:{folder}") == spec_fingerprint("embedded")
    assert sentence_encoder("embedded").fingerprint == spec_fingerprint("embedded")
    (folder / "modules.json").unlink()
    with pytest.raises(EncoderError, match="no modules.json"):
        model_folder(f"sentence-transformers:{folder}")


@pytest.mark.parametrize("spec", ["", "minilm", "sentence-transformers:", "sentence-transformers:/nowhere"])
def test_invalid_encoders_are_refused(spec):
    with pytest.raises(EncoderError, match="encoder"):
        model_folder(spec)
