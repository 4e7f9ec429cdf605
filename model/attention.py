"""One attention function, two layouts of its input.

Dense: [B, S, heads, d], padded, with a mask only where something is padded, since a mask costs SDPA its fast kernels.
Packed: the tokens of all sequences behind one another, [N, heads, d], with the offset of each sequence, so that no work goes into padding.
On CUDA in half precision that is flash attention over variable lengths; elsewhere the sequences are attended to one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Layout:
    """How tokens lie in memory.

    mask: bool, broadcastable to [B, heads, S, S], True where a query (third axis) may see a key; None: everything, or packed.
    offsets: int32 [B + 1], where each packed sequence starts and the last one ends; None: dense. longest: tokens of the longest.
    """

    mask: Tensor | None = None
    offsets: Tensor | None = None
    longest: int = 0


def attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V; all of one shape, [B, S, heads, d] or packed [N, heads, d]. Weights are not dropped out.

    Dense, there may be fewer queries than keys, with a mask that says so.
    """
    if layout.offsets is None:
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if query.dtype in HALF and query.device.type == "cpu":  # SDPA's backward pass takes four times as long there
            scores = (query @ key.transpose(-1, -2)).float() / query.shape[-1] ** 0.5
            scores = scores if layout.mask is None else scores.masked_fill(~layout.mask, float("-inf"))
            return (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2)
        return F.scaled_dot_product_attention(query, key, value, layout.mask).transpose(1, 2)
    if query.is_cuda and query.dtype in HALF:
        from torch.nn.attention.varlen import varlen_attn

        return varlen_attn(query, key, value, layout.offsets, layout.offsets, layout.longest, layout.longest)
    cuts = layout.offsets[1:-1].tolist()
    pieces = zip(query.tensor_split(cuts), key.tensor_split(cuts), value.tensor_split(cuts), strict=True)
    return torch.cat([attend(q[None], k[None], v[None], Layout())[0] for q, k, v in pieces])


def weights_of(qkv: Tensor, heads: int) -> Tensor:
    """The weights softmax(Q K^T / sqrt(d)) that `attend` applies within one sequence, [heads, S, S]; qkv: [S, 3 H], nothing padded."""
    query, key, _ = qkv.unflatten(-1, (3, heads, -1)).transpose(0, 2).unbind(1)
    return (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)


def dense_layout(valid: Tensor | None) -> Layout:
    """Padded input; valid: bool [B, S], False on padding, None where nothing is padded."""
    return Layout(None if valid is None else valid[:, None, None, :])


def packed_layout(valid: Tensor) -> tuple[Layout, Tensor]:
    """Packed input out of a padded one; valid: bool [B, S]. Returns the layout and which of the B * S cells are kept, int64 [N]."""
    lengths = valid.sum(1)
    offsets = F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    return Layout(offsets=offsets, longest=int(lengths.max())), valid.flatten().nonzero()[:, 0]


def prefix_layout(sources: Tensor, lengths: Tensor, size: int, before: Tensor | None = None) -> Layout:
    """Padded input for sequence to sequence: source tokens see the source, target tokens see the source and the target up to themselves.

    sources, lengths: int64 [B]; size: S. before: bool [B, R], cells of the source that precede the text, False on padding.
    """
    at = torch.arange(size, device=lengths.device)
    turn, valid = (at - sources[:, None] + 1).clamp(min=0), at < lengths[:, None]  # 0: the source, then each target token
    if before is not None:
        turn, valid = torch.cat([torch.zeros_like(before, dtype=turn.dtype), turn], 1), torch.cat([before, valid], 1)
    return Layout(((turn[:, None] <= turn[:, :, None]) & valid[:, None])[:, None])
