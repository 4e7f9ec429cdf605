"""The contrastive loss over ragged scores, and which pairs of a batch must not be negatives of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from model.batch import Batch, Known
from model.parallel import gather


@dataclass(frozen=True)
class Scores:
    """n scores d(V, W), each belonging to a pair: values float [n], owners int64 [n], positive bool [n], weights float [n] in (0, 1]."""

    values: Tensor
    owners: Tensor
    positive: Tensor
    weights: Tensor

    @staticmethod
    def joined(parts: list[Scores]) -> Scores:
        """The concatenation of `parts`."""
        return Scores(*(torch.cat([getattr(part, name) for part in parts]) for name in ("values", "owners", "positive", "weights")))


def contrastive_loss(
    scores: Scores,
    pairs: int,
    temperature: Tensor,
    bias: Tensor,
    form: Literal["softmax", "sigmoid"] = "softmax",
    positives: Literal["inside", "outside"] = "inside",
) -> Tensor:
    """The loss of each pair, [P]; 0 for a pair without a negative.

    With s = d / tau and weights w; sums are over a pair's positives, its negatives or all its scores.
    inside (UNIMO's equation): -log(sum_pos w exp s / sum_all w exp s). outside: -(sum_pos w log(exp s / sum_all w exp s)) / sum_pos w.
    sigmoid (SigLIP): -sum_pos w log sigma(s + bias) - sum_neg w log sigma(-s - bias).
    """
    logits, owners, positive = scores.values / temperature, scores.owners, scores.positive
    weights = scores.weights.to(logits.dtype)
    contrasted = torch.zeros(pairs, dtype=torch.bool, device=owners.device).index_fill(0, owners[~positive], True)
    if form == "sigmoid":
        terms = weights * F.softplus(torch.where(positive, -1, 1) * (logits + bias))
        return torch.where(contrasted, _segment_sum(terms, owners, pairs), 0)
    weighted = logits + weights.log()
    whole = _segment_logsumexp(weighted, owners, pairs)
    if positives == "inside":
        right = _segment_logsumexp(weighted[positive], owners[positive], pairs)
    else:
        shares = weights[positive] / _segment_sum(weights[positive], owners[positive], pairs)[owners[positive]]
        right = _segment_sum(shares * logits[positive], owners[positive], pairs)
    return torch.where(contrasted, whole - right, 0)


def _segment_sum(values: Tensor, owners: Tensor, pairs: int) -> Tensor:
    return values.new_zeros(pairs).index_add(0, owners, values)


def _segment_logsumexp(values: Tensor, owners: Tensor, pairs: int) -> Tensor:
    most = values.detach().new_full((pairs,), -torch.inf).scatter_reduce(0, owners, values.detach(), "amax")
    return most + _segment_sum((values - most[owners]).exp(), owners, pairs).log()


def false_negatives(batch: Batch, everywhere: bool = True) -> Tensor:
    """Which pairs of image and caption are not negatives, bool [2, P, all P]: first this process's images (rows) with the captions of all
    processes (columns), then its captions with all images. With `everywhere` false, the columns are this process's own.

    True where both have the same image or the same words, or where the text or the image is known to be true of the other.
    """
    assert batch.images is not None and batch.texts is not None
    pairs = len(batch)
    images, texts = batch.images.keys[:pairs], batch.texts.keys[:pairs]
    (all_images, start), (all_texts, _) = (gather(keys) if everywhere else (keys, 0) for keys in (images, texts))
    same = (images[:, None] == all_images) | (texts[:, None] == all_texts)
    forth, back = same.clone(), same
    for known, own, everyone, first in ((batch.known_texts, texts, all_texts, True), (batch.known_images, images, all_images, False)):
        known = known or Known(images[:0], images[:0])
        keys, owners = (gather(part)[0] if everywhere else part for part in (known.keys, known.owners + start))
        here = holds(known, everyone, pairs)  # own pair, everyone's key
        there = holds(Known(keys, owners), own, len(everyone)).T  # own key, everyone's pair
        forth, back = (forth | here, back | there) if first else (forth | there, back | here)
    return torch.stack([forth, back])


def holds(known: Known, keys: Tensor, pairs: int) -> Tensor:
    """Whether each of these keys, int64 [m], is among the known keys of each pair, bool [pairs, m]."""
    distinct, columns = keys.unique(return_inverse=True)
    found = torch.searchsorted(distinct, known.keys).clamp(max=len(distinct) - 1)
    hit = distinct[found] == known.keys
    held = torch.zeros(pairs, len(distinct), dtype=torch.bool, device=keys.device)
    held[known.owners[hit], found[hit]] = True
    return held[:, columns]
