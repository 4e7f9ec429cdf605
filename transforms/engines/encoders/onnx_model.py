"""Sentence encoders in ONNX format, run by ONNX Runtime.

The folder is a sentence-transformers model (tokenizer, pooling) with its network as `model.onnx` or `onnx/model.onnx`, as the Hugging Face
hub has them. `python -m transforms.engines.encoders.onnx_model FOLDER OUT` exports one, and fails unless the vectors agree.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transforms.engines.encoders.sentence import WIDTHS, EncoderError, PaddedEncoder, TransformerEncoder, model_folder, spec_fingerprint
from transforms.engines.registry import require

POOLED = ("cls", "mean", "max")
AGREES = 0.9999  # least cosine of an exported network's vectors with those of the original
INSTALL = "pip install 'cmcl[retrieval,onnx]'"
_PROBES = (
    "A dog runs on the beach.",
    "Two men are riding horses past a red bus.",
    "snow",
    "The committee met again in the spring of 1911. " * 9,
)


class OnnxEncoder(PaddedEncoder):
    """A network in ONNX format on the CPU, then cls, mean or max pooling."""

    def __init__(self, spec: str, threads: int = 1):
        folder = model_folder(spec)
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
        super().__init__(spec_fingerprint(spec, threads), int(limit))

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
    """The network of a folder. Raises EncoderError where it has none."""
    for path in (folder / "model.onnx", folder / "onnx" / "model.onnx"):
        if path.is_file():
            return path
    raise EncoderError(
        f"{folder} has no model.onnx or onnx/model.onnx: export one with `python -m transforms.engines.encoders.onnx_model {folder} OUT`"
    )


def pooling_of(folder: Path) -> str:
    """cls, mean or max. Raises EncoderError where the model does anything else after its network."""
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


def export(folder: Path, out: Path, probes: Sequence[str] = _PROBES) -> float:
    """Writes a sentence-transformers folder with its network in ONNX format; returns the least cosine of the probes' vectors.

    Raises EncoderError when `out` exists, a package is missing, or the vectors disagree (`out` is then removed).
    """
    require("onnxruntime", "the export", INSTALL, EncoderError)
    require("onnx", "the export", INSTALL, EncoderError)
    original = TransformerEncoder(f"sentence-transformers:{folder}")
    if out.exists():
        raise EncoderError(f"{out} exists: give a new folder")
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "*.onnx", "*.onnx_data", "openvino", "onnx"))
    try:
        _write_network(folder, original, out / "model.onnx")
        ours = OnnxEncoder(f"onnx:{out}").encode(probes)
        least = float((ours * original.encode(probes)).sum(axis=1).min())
        if not least >= AGREES:
            raise EncoderError(f"{folder}: the exported network's vectors have cosines down to {least:.6f} with the original's")
    except BaseException:
        shutil.rmtree(out)
        raise
    return least


def _write_network(folder: Path, original: TransformerEncoder, path: Path) -> None:
    import torch
    from transformers import AutoModel

    class Tokens(torch.nn.Module):
        """The vectors of tokens, by named inputs in a fixed order."""

        def __init__(self, names: Sequence[str], network: torch.nn.Module):
            super().__init__()
            self.names, self.network = names, network

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(**dict(zip(self.names, values, strict=True))).last_hidden_state
            return found

    features = original.tokens(["a dog", "a dog runs on the beach"], padding="max_length", max_length=WIDTHS[0], return_tensors="pt")
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in features]
    axes = {name: {0: "texts", 1: "tokens"} for name in (*names, "last_hidden_state")}
    # Not the original's network, whose linear layers are oneDNN's, which the exporter does not know.
    network = AutoModel.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True)
    with torch.no_grad():
        torch.onnx.export(
            Tokens(names, network).eval(), tuple(features[name] for name in names), str(path), input_names=names,
            output_names=["last_hidden_state"], dynamic_axes=axes, dynamo=False,
        )  # fmt: skip


def main() -> None:
    """Exports a model from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    print(f"{args.out}: cosines with the original are at least {export(args.folder, args.out):.6f}")


if __name__ == "__main__":
    main()
