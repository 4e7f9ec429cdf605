"""`cmcl fetch`: downloads the models that a configuration names, for workers without a network.

The only command that downloads models. Every file is checked against the hash that the hub states, and a download that was cut off is
resumed. Translators (OPUS-MT and other Marian models) are converted to CTranslate2; files that execute code when read are left out.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.fetch_weights import PART, Fetched, FetchError, fetch_weights
from transforms.engines.detectors.base import is_file_name, parse_spec
from transforms.engines.models import NOTE, PREFIX, fetched, model_folder, noted, repository
from transforms.engines.registry import file_digest

# Files of each kind of model, as patterns; the first list that a repository has a match for provides the weights.
_FILES = {
    "translator": ("config.json", "generation_config.json", "tokenizer_config.json", "vocab.json", "source.spm", "target.spm"),
    "encoder": ("*.json", "*.txt", "*.model"),
    "parser": ("*",),
}
_WEIGHTS = {"translator": ("model.safetensors", "pytorch_model.bin"), "encoder": ("model.safetensors",), "parser": ()}
_NEVER = ("*.whl", "*.onnx", "*.h5", "*.msgpack", "*.pkl", "*.pickle", "*.py", ".*", "onnx/*", "openvino/*", "*.ot")
QUANTIZATION = "int8"


def wanted(config: Config) -> list[tuple[str, str]]:
    """(kind, specification) of every model that a configuration names and that can be fetched, without repetitions."""
    found: dict[tuple[str, str], None] = {}
    how = getattr(config, "back_translation", None)
    for way in how.ways() if how is not None else ():
        for spec in (way.forward, way.back):
            found["translator", spec.partition("#")[0]] = None
    found |= dict.fromkeys(_engines(config.model_dump(mode="json")))
    return [(kind, spec) for kind, spec in found if (_is_torchvision(spec) if kind == "detector" else spec.startswith(PREFIX))]


def _is_torchvision(detector: str) -> bool:
    """Whether a detector has weights of torchvision's own, not in a file."""
    engine, _, weights = parse_spec(detector)
    return engine == "torchvision" and not (weights and is_file_name(weights))


def _engines(settings: Any) -> Iterator[tuple[str, str]]:
    """The parsers, encoders and detectors in settings, at any depth."""
    for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
        if key in ("parser", "encoder", "detector") and isinstance(value, str):
            yield key, value
        elif isinstance(value, dict | list):
            yield from _engines(value)


def fetch(config: Config) -> list[Fetched]:
    """Fetches what is absent. Raises FetchError, naming the model, if the hub does not have it or a file's hash differs."""
    return [fetch_weights(spec) if kind == "detector" else _fetch(kind, spec) for kind, spec in wanted(config)]


def _fetch(kind: str, spec: str) -> Fetched:
    name = spec.removeprefix(PREFIX)
    folder = model_folder(name)
    if folder.exists():
        fetched(name)
        return Fetched(spec, folder, noted(folder)["licence"], False)
    partial = folder.with_name(folder.name + ".partial")  # kept when a download is cut off: the next one resumes it
    partial.mkdir(parents=True, exist_ok=True)
    about = _download(kind, name, partial)
    made = partial
    if kind == "translator":
        from transforms.engines.translators.convert import convert_marian

        made = folder.with_name(folder.name + ".converted")
        convert_marian(partial, made, QUANTIZATION)
    files = {str(path.relative_to(made)): file_digest(path) for path in sorted(made.rglob("*")) if path.is_file()}
    note = {"repository": spec, "kind": kind, **about, "files": files}
    (made / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    made.rename(folder)
    shutil.rmtree(partial, ignore_errors=True)
    return Fetched(spec, folder, str(about["licence"]), True)


def _download(kind: str, name: str, partial: Path) -> dict[str, Any]:
    """Downloads a model's files; returns its commit, its licence, and the files with the hashes that the hub states."""
    from huggingface_hub import HfApi

    own, revision = repository(name)
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        about = HfApi(endpoint=endpoint).model_info(own, revision=revision, files_metadata=True)
        chosen = [file for file in about.siblings or () if file.rfilename in _chosen(kind, [one.rfilename for one in about.siblings or ()])]
        for file in chosen:
            path = partial / file.rfilename
            if not path.exists():
                _get(own, str(about.sha), file, endpoint, path)
            _check(path, file, f"{PREFIX}{name}: {file.rfilename}")
    except FetchError:
        raise
    except Exception as error:  # whatever the hub's client and its HTTP library raise
        text = " ".join(str(error).split())[:400]
        raise FetchError(f"{PREFIX}{name} cannot be fetched: {type(error).__name__}: {text}; the next `cmcl fetch` resumes") from error
    licence = about.card_data.get("license") if about.card_data else None
    return {"commit": about.sha, "licence": licence or "unknown", "source_files": sorted(file.rfilename for file in chosen)}


def _get(own: str, commit: str, file: Any, endpoint: str | None, path: Path) -> None:
    """Downloads one file, from where an earlier download was cut off. (The hub's client only resumes within one process.)"""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    with part.open("ab") as out:
        url = hf_hub_url(own, file.rfilename, revision=commit, endpoint=endpoint)
        http_get(url, out, resume_size=out.tell(), headers=build_hf_headers(), expected_size=file.size)
    part.rename(path)


def _chosen(kind: str, names: Sequence[str]) -> set[str]:
    """The files of a repository that a kind of model requires. Raises FetchError if it has no weights of a known form."""
    inside = [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts and "\\" not in name]
    allowed = [name for name in inside if not any(fnmatch.fnmatch(name, pattern) for pattern in (*_NEVER, f"*{PART}"))]
    found = {name for name in allowed if any(fnmatch.fnmatch(name, pattern) for pattern in _FILES[kind])}
    weights = next((name for name in _WEIGHTS[kind] if name in allowed), None)
    if _WEIGHTS[kind] and weights is None:
        raise FetchError(f"the repository has none of {', '.join(_WEIGHTS[kind])}")
    return found | ({weights} if weights else set())


def _check(path: Path, file: Any, what: str) -> None:
    """Raises FetchError, and removes the file, unless it has the hash that the hub states: of its content, or git's."""
    lfs = file.lfs.sha256 if file.lfs else None
    if lfs:
        same = file_digest(path) == lfs
    else:
        data = path.read_bytes()
        same = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.blob_id
    if not same:
        path.unlink()
        raise FetchError(f"{what} does not have the hash that the hub states; it has been removed")
