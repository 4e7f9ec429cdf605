"""Exports the network of a sentence-transformers model to ONNX: `python -m transforms.engines.encoders.onnx_export FOLDER OUT`.

Fails unless the vectors agree with the original's.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from transforms.engines.encoders.base import WIDTHS, EncoderError
from transforms.engines.encoders.onnx_model import OnnxEncoder
from transforms.engines.encoders.sentence import TransformerEncoder, model_folder, spec_fingerprint
from transforms.engines.registry import require

AGREES = 0.9999  # least cosine of an exported network's vectors with those of the original
INSTALL = "pip install 'cmcl[retrieval,onnx]'"
_PROBES = (
    "A dog runs on the beach.",
    "Two men are riding horses past a red bus.",
    "snow",
    "The committee met again in the spring of 1911. " * 9,
)


def export(folder: Path, out: Path, probes: Sequence[str] = _PROBES) -> float:
    """Writes a sentence-transformers folder with its network in ONNX format; returns the least cosine of the probes' vectors.

    Raises EncoderError when `out` exists, a package is missing, or the vectors disagree (`out` is then removed).
    """
    require("onnxruntime", "the export", INSTALL, EncoderError)
    require("onnx", "the export", INSTALL, EncoderError)
    original = TransformerEncoder(f"sentence-transformers:{folder}")
    if out.exists():
        raise EncoderError(f"{out} already exists: name a new folder")
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "*.onnx", "*.onnx_data", "openvino", "onnx"))
    try:
        _write_network(folder, original, out / "model.onnx")
        spec = f"onnx:{out}"
        ours = OnnxEncoder(spec, model_folder(spec), spec_fingerprint(spec)).encode(probes)
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
