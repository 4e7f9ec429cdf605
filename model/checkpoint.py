"""Checkpoints: a folder `step-00001000` of safetensors files and one `state.json`, written last, that contains their hashes.

A folder without a valid `state.json` does not count as a checkpoint, so a run killed while saving resumes from the one before. Nothing is
pickled, and reading executes nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from schemas import files
from schemas.errors import CmclError

STATE = "state.json"
_log = logging.getLogger(__name__)


class CheckpointError(CmclError):
    """A checkpoint is damaged or missing, or does not fit the network that it is loaded into."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors by file (`model`, `optimizer`) and name, and its JSON state."""

    url: str
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(folder: str, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], keep: int) -> str:
    """Writes `step-...` below `folder`, then removes all but the newest `keep` checkpoints, and those of later steps, which the run did not
    resume from since they are damaged; returns the checkpoint's URL.

    Raises OSError when it cannot be written; older checkpoints are then kept.
    """
    url = files.join(folder, f"step-{step:08d}")
    files.remove(url, [name for name in files.listing(url) if name == STATE])
    hashes = {}
    for name, held in tensors.items():
        with files.atomic_write(files.join(url, f"{name}.safetensors")) as sink:
            sink.write(safetensors.torch.save({key: tensor.detach().contiguous().cpu() for key, tensor in held.items()}))
        hashes[name] = sink.sha256
    files.write_json(files.join(url, STATE), {**state, "step": step, "sha256": hashes})
    own = f"step-{step:08d}"
    kept = [name for name in _steps(folder) if name <= own][-keep:]
    for old in [name for name in _steps(folder) if name not in kept]:
        stale = files.join(folder, old)
        # The state first: what a kill leaves of the folder then does not count as a checkpoint.
        files.remove(stale, sorted(files.listing(stale), key=lambda name: name != STATE))
        files.remove_empty(stale)
    return url


def latest(folder: str) -> Checkpoint | None:
    """The newest intact checkpoint below a folder, None when there is none; damaged ones are skipped with a warning."""
    for name in reversed(_steps(folder)):
        try:
            return load(files.join(folder, name))
        except CheckpointError as error:
            _log.warning("%s; using the previous one", error)
    return None


def load(url: str, only: str | None = None) -> Checkpoint:
    """Reads a checkpoint and checks its hashes; `only`: one of its files. Of a folder of checkpoints, reads the newest.

    Raises CheckpointError when it is missing, incomplete or damaged.
    """
    state = files.read_json(files.join(url, STATE))
    if not isinstance(state, dict) or not isinstance(state.get("sha256"), dict):
        steps = _steps(url)
        if steps:
            return load(files.join(url, steps[-1]), only)
        raise CheckpointError(f"{url} is not a complete checkpoint: it has no valid {STATE}")
    tensors = {}
    for name, expected in state["sha256"].items():
        if only in (None, name):
            path = files.join(url, f"{name}.safetensors")
            try:
                with files.open_read(path) as file:
                    data = file.read()
            except FileNotFoundError:
                raise CheckpointError(f"{path} is missing: remove {url} and resume from an older checkpoint") from None
            if hashlib.sha256(data).hexdigest() != expected:
                raise CheckpointError(f"{path} is damaged (its hash differs): remove {url} and resume from an older checkpoint")
            try:
                tensors[name] = safetensors.torch.load(data)
            except SafetensorError as error:
                raise CheckpointError(f"{path} cannot be read: {error}") from None
    return Checkpoint(url, tensors, state)


def _steps(folder: str) -> list[str]:
    """Names of the checkpoints below a folder that have a state, oldest first."""
    return [
        name for name in files.folders(folder) if name.startswith("step-") and files.read_json(files.join(folder, name, STATE)) is not None
    ]


def is_checkpoint(url: str) -> bool:
    """Whether a URL is a checkpoint of this project, or a folder of them."""
    return files.read_json(files.join(url, STATE)) is not None or bool(_steps(url))


def fill(network: nn.Module, held: Checkpoint, apart: Sequence[str] = ()) -> None:
    """Loads a checkpoint's weights; the network keeps its own modules `apart`, whatever the checkpoint has there.

    Raises CheckpointError, naming the first tensor that differs, when they do not fit.
    """
    theirs, ours = held.tensors["model"], network.state_dict()
    own = {name: tensor for name, tensor in ours.items() if name.split(".")[0] in apart}
    theirs = {name: tensor for name, tensor in theirs.items() if name.split(".")[0] not in apart} | own
    for name in sorted(theirs.keys() | ours.keys()):
        shapes = [list(side[name].shape) if name in side else None for side in (theirs, ours)]
        if shapes[0] != shapes[1]:
            there, here = ("absent" if shape is None else shape for shape in shapes)
            raise CheckpointError(
                f"{held.url} does not fit: {name} is {there} in it and {here} in this network; `model` and the widths of the corpus's "
                "regions must be those that it was trained with"
            )
    network.load_state_dict(theirs)
