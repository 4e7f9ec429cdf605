"""Averages a training run's last checkpoints into one of fairseq's `transformer`, which loads without this package."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_NAME = re.compile(r"checkpoint_\d+_(\d+)\.pt")
# The training settings that define the network; others (folders, schedule) are dropped.
_KEPT = ("share_all_embeddings", "encoder_normalize_before", "decoder_normalize_before", "encoder_layers", "decoder_layers",
         "encoder_embed_dim", "decoder_embed_dim", "encoder_ffn_embed_dim", "decoder_ffn_embed_dim", "encoder_attention_heads",
         "decoder_attention_heads", "dropout", "source_lang", "target_lang", "left_pad_source", "left_pad_target", "max_source_positions",
         "max_target_positions", "activation_fn")  # fmt: skip


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The last checkpoints by number of updates, oldest first. Raises ValueError if there are none."""
    found = sorted((int(match[1]), path) for path in folder.glob("checkpoint_*.pt") if (match := _NAME.fullmatch(path.name)))
    if not found:
        raise ValueError(f"{folder} has no checkpoint_EPOCH_UPDATES.pt: train first")
    return [path for _, path in found[-count:]]


def mean_of(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of equally named tensors, in their own dtype. Raises ValueError if the names differ."""
    import torch

    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("the checkpoints are of different networks")
    return {name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype) for name, first in states[0].items()}


def average(paths: Sequence[Path], out: Path) -> int:
    """Writes the mean of checkpoints. Returns the last one's number of updates. Raises ValueError if they are of different networks."""
    import torch

    from transforms.engines.translators.fairseq_engine import safely

    with safely(out.parent):
        read = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    network = read[-1]["cfg"]["model"]
    settings = {name: getattr(network, name) for name in _KEPT if hasattr(network, name)}
    kept = Namespace(**settings, arch="transformer", task="translation", data=".")
    scratch = out.with_name(out.name + ".tmp")
    torch.save(
        {
            "args": kept,
            "cfg": None,
            "model": mean_of([state["model"] for state in read]),
            "extra_state": {},
            "optimizer_history": read[-1]["optimizer_history"],
            "last_optimizer_state": None,
            "task_state": {},
        },
        scratch,
    )
    scratch.replace(out)
    return int(read[-1]["optimizer_history"][-1]["num_updates"])
