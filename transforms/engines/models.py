"""Models named by their repository on the Hugging Face hub, `hf:OWNER/NAME[@REVISION]`, in the folder that `cmcl fetch` puts them in.

Nothing here uses the network: a model that is absent is an error that names the command. `CMCL_MODELS` sets the folder (default
~/.cache/cmcl/models); copied to a worker, it is all that the worker requires.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from transforms.engines.registry import EngineError, file_digest

PREFIX = "hf:"
NOTE = "fetched.json"  # beside a model's files: their hashes, the repository, the commit and the licence
FORM = "hf:OWNER/NAME[@REVISION]"
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([A-Za-z0-9][\w.-]*))?", re.ASCII)


def repository(name: str) -> tuple[str, str]:
    """(OWNER/NAME, revision) of a specification without its prefix; the revision is "main" if it names none.

    Raises EngineError if it has another form.
    """
    found = _REPOSITORY.fullmatch(name)
    if not found or ".." in name:
        raise EngineError(f"model {PREFIX}{name} does not have the form {FORM}")
    return f"{found[1]}/{found[2]}", found[3] or "main"


def models_folder() -> Path:
    """The folder of fetched models."""
    return Path(os.environ.get("CMCL_MODELS") or Path.home() / ".cache" / "cmcl" / "models")


def model_folder(name: str) -> Path:
    """Where a model is, or will be: one folder per repository and revision."""
    owner_name, revision = repository(name)
    return models_folder() / f"{owner_name.replace('/', '--')}@{revision}"


def fetched(name: str, error: type[EngineError] = EngineError) -> Path:
    """The folder of a fetched model, whose files are as they were fetched.

    Raises `error` if the name has another form, or the model is absent, incomplete, or a file's hash differs.
    """
    try:
        return _fetched(name)
    except EngineError as problem:
        raise error(str(problem)) from None


def _fetched(name: str) -> Path:
    folder = model_folder(name)
    if not (folder / NOTE).is_file():
        raise EngineError(f"model {PREFIX}{name} is not in {models_folder()}: run `cmcl fetch CONFIG`, or set CMCL_MODELS to its folder")
    for path, digest in noted(folder)["files"].items():
        if not (folder / path).is_file() or file_digest(folder / path) != digest:
            raise EngineError(f"{folder / path} is missing or has changed: remove {folder}, and run `cmcl fetch CONFIG`")
    return folder


def noted(folder: Path) -> dict[str, Any]:
    """The note of a fetched model. Raises EngineError if it is damaged."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        if isinstance(note, dict) and all(isinstance(one, str) for pair in note["files"].items() for one in pair):
            return note
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    raise EngineError(f"{folder / NOTE} is damaged: remove {folder}, and run `cmcl fetch CONFIG`")
