"""Sentence encoders in ONNX format, run by ONNX Runtime.

The folder is a sentence-transformers model (tokenizer, pooling) with its network as `model.onnx` or `onnx/model.onnx`, as the Hugging Face
hub has them; `onnx_export.py` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transforms.engines.encoders.base import WIDTHS, EncoderError, PaddedEncoder

POOLED = ("cls", "mean", "max")


class OnnxEncoder(PaddedEncoder):
    """A network in ONNX format on the CPU, then cls, mean or max pooling."""

    def __init__(self, spec: str, folder: Path, fingerprint: str, threads: int = 1):
        import onnxruntime
        from transformers import AutoTokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._pooling = pooling_of(folder)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            self._session: Any = onnxruntime.InferenceSession(str(network_in(folder)), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of several libraries
            text = " ".join(str(error).split())[:400]
            raise EncoderError(f"encoder {spec!r} cannot be loaded from {folder}: {type(error).__name__}: {text}") from error
        known = {"input_ids", "attention_mask", "token_type_ids"}
        self._inputs = [one.name for one in self._session.get_inputs()]
        if not set(self._inputs) <= known or not self._session.get_outputs():
            raise EncoderError(f"encoder {spec!r}: its network reads {', '.join(self._inputs)}, not only {', '.join(sorted(known))}")
        settings = (
            json.loads((folder / "sentence_bert_config.json").read_text()) if (folder / "sentence_bert_config.json").is_file() else {}
        )
        limit = settings.get("max_seq_length") or min(self._tokenizer.model_max_length, WIDTHS[-1])
        super().__init__(fingerprint, int(limit))

    def tokens(self, texts: Sequence[str], **options: Any) -> Any:
        """As of the base class."""
        return self._tokenizer(list(texts), truncation=True, **options)

    def vectors(self, texts: Sequence[str], width: int) -> np.ndarray:
        """As of the base class."""
        features = self.tokens(texts, padding="max_length", max_length=width, return_tensors="np")
        mask = features["attention_mask"]
        given = {name: np.asarray(features.get(name, np.zeros_like(mask)), np.int64) for name in self._inputs}
        found: np.ndarray = self._session.run(None, given)[0]
        if found.ndim == 3:
            found = pooled(found, mask, self._pooling)
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def pooled(tokens: np.ndarray, mask: np.ndarray, how: str) -> np.ndarray:
    """Vectors of texts, float32 [n, width], of vectors of their tokens [n, t, width] with mask [n, t]."""
    if how == "cls":
        return np.asarray(tokens[:, 0])
    held = mask[:, :, None].astype(np.float32)
    if how == "max":
        return np.asarray(np.where(held > 0, tokens, -np.inf).max(axis=1))
    return np.asarray((tokens * held).sum(axis=1) / np.maximum(held.sum(axis=1), 1e-9))


def network_in(folder: Path) -> Path:
    """The network of a folder. Raises EncoderError if it has none."""
    for path in (folder / "model.onnx", folder / "onnx" / "model.onnx"):
        if path.is_file():
            return path
    raise EncoderError(
        f"{folder} has no model.onnx or onnx/model.onnx: export one with `python -m transforms.engines.encoders.onnx_export {folder} OUT`"
    )


def pooling_of(folder: Path) -> str:
    """cls, mean or max. Raises EncoderError if the model does anything else after its network."""
    modules = json.loads((folder / "modules.json").read_text())
    kinds = [str(one.get("type", "")).rpartition(".")[2] for one in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise EncoderError(f"{folder}: modules {', '.join(kinds)}, not Transformer, Pooling, Normalize: use sentence-transformers:PATH")
    settings = json.loads((folder / str(modules[1]["path"]) / "config.json").read_text())
    flags = {name for name in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens") if settings.get(f"pooling_mode_{name}")}
    flags |= {name for name in ("weightedmean_tokens", "lasttoken") if settings.get(f"pooling_mode_{name}")}
    how = str(settings.get("pooling_mode") or "+".join(sorted(flags)).replace("_tokens", "").replace("_token", ""))
    if how not in POOLED:
        raise EncoderError(f"{folder}: pooling {how!r} is not one of {', '.join(POOLED)}: use sentence-transformers:PATH")
    return how
