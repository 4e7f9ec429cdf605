"""`cmcl fetch`, part 2: torchvision's own weights of a detector, `torchvision:MODEL[@WEIGHTS]`.

Their file names end with the first digits of their SHA-256, which the file must have. `TORCHVISION_ENDPOINT` names a mirror of
https://download.pytorch.org.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from schemas.errors import CmclError
from transforms.engines.detectors.base import parse_spec
from transforms.engines.detectors.load import fetched_weights, named_weights
from transforms.engines.models import NOTE, fetched, model_folder, noted
from transforms.engines.registry import file_digest

PART = ".part"  # ends the name of a file that is not complete
_SECONDS = 60  # without a byte


class FetchError(CmclError, ValueError):
    """A model that cannot be fetched: the text names it and says why."""


class Fetched(NamedTuple):
    """A model in the folder. new: it was not there before."""

    spec: str
    folder: Path
    licence: str
    new: bool


def fetch_weights(spec: str) -> Fetched:
    """Fetches a detector's weights unless they are there. Raises FetchError, naming them, if they are unavailable or another hash is found;
    DetectorError if torchvision has no weights of this name."""
    weights = named_weights(parse_spec(spec), spec)
    name = fetched_weights(parse_spec(spec).model, weights.name)
    folder = model_folder(name)
    if folder.exists():
        fetched(name)
        return Fetched(spec, folder, noted(folder)["licence"], False)
    endpoint, parts = os.environ.get("TORCHVISION_ENDPOINT"), urlsplit(weights.url)
    url = endpoint.rstrip("/") + parts.path if endpoint else weights.url
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    path = partial / Path(parts.path).name
    if not path.exists():
        try:
            _get(url, path)
        except (OSError, ValueError) as error:  # URLError is an OSError
            raise FetchError(f"{spec} cannot be fetched from {url}: {error}; the next `cmcl fetch` resumes") from error
    digest = file_digest(path)
    if not digest.startswith(path.stem.rpartition("-")[2]):
        path.unlink()
        raise FetchError(f"{spec}: {path.name} does not have the hash in its name ({digest[:8]}); it has been removed")
    licence = str(weights.meta.get("license") or "unknown")
    note = {"repository": spec, "kind": "detector", "url": url, "licence": licence, "files": {path.name: digest}}
    (partial / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.rename(folder)
    return Fetched(spec, folder, licence, True)


def _get(url: str, path: Path) -> None:
    """Downloads a file, from where an earlier download was cut off. Raises OSError if it is cut off."""
    part = path.with_name(path.name + PART)
    start = part.stat().st_size if part.exists() else 0
    try:
        with urlopen(Request(url, headers={"Range": f"bytes={start}-"} if start else {}), timeout=_SECONDS) as answer:
            start = start if answer.status == 206 else 0
            size = start + int(answer.headers["Content-Length"])
            with part.open("ab" if start else "wb") as out:
                shutil.copyfileobj(answer, out)
        if part.stat().st_size < size:
            raise OSError(f"cut off after {part.stat().st_size} of {size} bytes")
    except HTTPError as error:
        if error.code != 416:  # 416: all of it is there
            raise
    part.rename(path)
