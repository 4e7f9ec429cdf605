"""Which candidates of a query are matches: not the query itself, no copies, nothing twice, nothing below the floor.

Similarities are inner products of stored vectors in float64, which are exact (`transforms/retrieval/search.py`), so that a verdict does
not depend on what else is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from schemas.rejects import Reason
from transforms.retrieval.collection import Collection
from transforms.retrieval.search import MILLION, doubles


@dataclass(frozen=True)
class Query:
    """An image or a caption with what it must not be matched with.

    near: a candidate with this score (millionths) or more is the query over again; None: none is, however near. keys: of the query and
    its siblings, as in `vectors`. phash: of an image. siblings: float16 [s, width], the image's captions, of which none may be as near
    as `near` to a candidate. copies and nears: the reasons of the two.
    """

    near: int
    keys: np.ndarray
    copy: Reason
    near_copy: Reason
    phash: int | None = None
    siblings: np.ndarray | None = None


@dataclass(frozen=True)
class Rules:
    """k, the floor (millionths), the similarity (of at most 1) that makes two matches the same, and the bits that make two images one."""

    k: int
    floor: int
    near_match: float
    near_copy_bits: int | None = None


@dataclass
class Verdict:
    """The matches of a query as indices of its candidates, and for each candidate refused its index and why, in order.

    floored: a candidate below the floor ended the list.
    """

    kept: list[int] = field(default_factory=list)
    dropped: list[tuple[int, Reason]] = field(default_factory=list)
    floored: bool = False


def judge(
    query: Query,
    positions: np.ndarray,
    scores: np.ndarray,
    collection: Collection,
    rules: Rules,
    barred: Mapping[Reason, np.ndarray] = MappingProxyType({}),
) -> Verdict:
    """Judges candidates, best first: positions int64 [m] in the collection (-1: none), scores int64 [m] in millionths, descending.

    barred: bool [m] by reason, which of them this query may not use for a reason that is not its own matter; the first counts.
    """
    verdict = Verdict()
    positions, scores = positions[positions >= 0], scores[positions >= 0]
    high = int(np.searchsorted(-scores, -rules.floor, side="right"))
    verdict.floored = high < len(scores)
    at = 0
    while at < high and len(verdict.kept) < rules.k:  # what comes after a full list needs no verdict
        end = min(high, at + rules.k - len(verdict.kept) + 8)
        _judge_some(verdict, query, positions[:end], scores, barred, at, collection, rules)
        at = end
    return verdict


def _judge_some(
    verdict: Verdict,
    query: Query,
    positions: np.ndarray,
    scores: np.ndarray,
    barred: Mapping[Reason, np.ndarray],
    start: int,
    collection: Collection,
    rules: Rules,
) -> None:
    """Adds the verdicts of candidates `start` to the last of `positions`."""
    own = positions[start:]
    reasons = _refused(query, own, scores[start : len(positions)], collection, rules)
    fresh = doubles(collection.take(own))
    same = np.zeros((len(own), 0), bool)
    if verdict.kept:
        same = fresh @ doubles(collection.take(positions[verdict.kept])).T >= rules.near_match
    among = np.tril(fresh @ fresh.T >= rules.near_match, -1)
    kept: list[int] = []
    for row in range(len(own)):
        if len(verdict.kept) == rules.k:
            return
        reason = reasons[row] or next((why for why, which in barred.items() if which[start + row]), None)
        if reason is None and (same[row].any() or among[row, kept].any()):
            reason = Reason.NEAR_MATCH
        if reason is None:
            kept.append(row)
            verdict.kept.append(start + row)
        else:
            verdict.dropped.append((start + row, reason))


def _refused(query: Query, positions: np.ndarray, scores: np.ndarray, collection: Collection, rules: Rules) -> list[Reason | None]:
    """Why candidates are the query over again; None: they are not."""
    near = scores >= query.near
    if query.siblings is not None and len(query.siblings):
        near |= (doubles(collection.take(positions)) @ doubles(query.siblings).T >= query.near / MILLION).any(axis=1)
    if query.phash is not None and rules.near_copy_bits is not None:
        hashes = collection.column("phash", positions)
        known = hashes.is_valid().to_numpy(zero_copy_only=False)
        bits = np.bitwise_count(hashes.fill_null(0).to_numpy() ^ np.uint64(query.phash))
        near |= known & (bits <= rules.near_copy_bits)
    copies = np.isin(collection.column("key", positions).to_numpy(), query.keys)
    return [query.copy if copy else query.near_copy if like else None for copy, like in zip(copies, near, strict=True)]
