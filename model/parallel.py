"""Training in several processes: rows are gathered with their gradient, and gradients summed once per step.

Every loss is a sum over the rows of its own process, divided by the count over all processes; gradients are then summed, so the result
does not depend on the number of processes, and no factor has to be corrected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from schemas.errors import ConfigError


def world() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process in [0, world)."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait() -> None:
    """Blocks until every process has called it."""
    if world() > 1:
        dist.barrier()


def summed(values: Tensor) -> Tensor:
    """Sums over all processes, without gradient."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes in the order of their ranks, with gradient, and the index of this process's first row.

    Processes may have different numbers of rows, [n, ...].
    """
    if world() == 1:
        return rows, 0
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    counts = [int(size) for size in sizes]
    return _Gather.apply(rows, counts), sum(counts[: rank()])


class _Gather(torch.autograd.Function):
    """All processes' rows; in the backward pass, each process gets the sum of all processes' gradients with respect to its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everyone, padded)
        return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: rank()])
        return total[start : start + ctx.counts[rank()]], None


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Sums gradients over all processes, in one reduction; parameters that no loss of this step uses get zeros."""
    held = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in held:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if world() > 1:
        gradients = [parameter.grad for parameter in held if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, piece in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))


def start(device: str) -> torch.device:
    """Joins the process group if `torchrun` started several processes, and returns this one's device; `device`: auto, cpu or cuda.

    Raises ConfigError when a GPU is required but not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda, but torch finds no GPU: set cpu or auto")
    gpu = device != "cpu" and torch.cuda.is_available()
    found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(found)
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    return found


def stop() -> None:
    """Leaves the process group that `start` joined."""
    if dist.is_initialized():
        dist.destroy_process_group()
