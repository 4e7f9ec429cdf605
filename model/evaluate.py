"""Evaluates a checkpoint on a corpus: retrieval in both directions and hard negatives by kind, by separate and by joint encoding."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model import metrics
from model.batch import KINDS
from model.scoring import Gallery, Head, Scorer, load_network, trained_head, trains_joint
from schemas.errors import ConfigError
from schemas.regions import Regions
from schemas.token_rows import PairTokens

_log = logging.getLogger(__name__)


class CorpusPairs:
    """The pairs of a corpus that can be evaluated: the image has regions, and the caption is not too long for the network.

    rows: int64 [T], of `tokens`, in the corpus's order. skipped: captions left out, by reason. Raises ConfigError when none is left.
    """

    def __init__(self, scorer: Scorer):
        self.shards = scorer.shards
        columns = self.shards.pairs.columns
        shown, short = columns["regions"] > 0, scorer.fits(columns["length"])
        self.rows = np.flatnonzero(shown & short)
        self.skipped = {"the image has no regions": int((~shown).sum()), "the caption is too long": int((shown & ~short).sum())}
        if not len(self.rows):
            raise ConfigError(f"corpus: {self.shards.corpus.url} has no caption that fits and whose image has regions")
        _, self._firsts, owners = np.unique(columns["image"][self.rows], return_index=True, return_inverse=True)
        self.gallery = Gallery(scorer, owners, self._regions, lambda caption: self.pair(caption).caption)

    def pair(self, caption: int) -> PairTokens:
        """The row of `tokens` of a caption."""
        return self.shards.pairs_at(self.rows[[caption]])[0]

    def _regions(self, image: int) -> Regions:
        return self.shards.regions(self.shards.images_at(self.rows[[self._firsts[image]]], alone=False)[0])


@dataclass(frozen=True)
class Retrieval:
    """Ranks of each caption's image, int64 [T], and of each image's best caption, int64 [I]."""

    text_to_image: np.ndarray
    image_to_text: np.ndarray

    def recall(self) -> dict[str, dict[str, float]]:
        """R@1, R@5 and R@10 in both directions."""
        return {"text_to_image": metrics.recall(self.text_to_image), "image_to_text": metrics.recall(self.image_to_text)}


def both_ways(gallery: Gallery, scores: np.ndarray, head: Head | None = None, count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Scores by caption, [T, I], and by image, [I, T], from the latter.

    With a `head`, the first `count` candidates of each query are reranked by its joint scores.
    """
    sides = []
    for texts_ask, asked in ((True, scores.T), (False, scores)):
        if head:
            first = metrics.top(asked, count)
            queries = np.repeat(np.arange(len(asked)), first.shape[1])
            pairs = np.stack([first.ravel(), queries] if texts_ask else [queries, first.ravel()], 1)
            asked = metrics.reranked(asked, first, gallery.joint_scores(pairs, head).reshape(first.shape))
        sides.append(asked)
    return sides[0], sides[1]


def retrieve(sides: tuple[np.ndarray, np.ndarray], true: np.ndarray) -> Retrieval:
    """Ranks by the scores of `both_ways`; true: bool [I, T]."""
    return Retrieval(metrics.ranks(sides[0], true.T), metrics.ranks(sides[1], true))


def negative_accuracy(
    pairs: CorpusPairs, head: Head | None, hidden: bool = False
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, np.ndarray]]:
    """By kind of hard negative, their number and the share that scores below the caption (ties count as errors).

    `negatives`: with the image; `negatives_image_hidden`, if `hidden`: with every region masked. Each by `separate` and, with a `head`,
    by `joint` encoding. Negatives that are too long for the network are left out.

    Returns the report, and each share by "part kind way" as one number per image, float64 [I] (`metrics.by_group`).
    """
    scorer, gallery = pairs.gallery.scorer, pairs.gallery
    ways, views = ["separate", "joint"] if head else ["separate"], [False, True] if hidden else [False]
    counts = np.zeros((len(KINDS), len(gallery)), int)
    right = np.zeros((len(views), len(ways), *counts.shape), int)
    for caption, owner in enumerate(gallery.owners.tolist()):
        pair = pairs.pair(caption)
        kept = np.flatnonzero(scorer.fits(pair.negatives.lengths))
        if not len(kept):
            continue
        regions, kinds = [gallery.regions(owner)], pair.negative_kinds[kept].astype(int)
        texts = [pair.caption, *(pair.negatives.at(int(one)) for one in kept)]
        projected, together = scorer.project_texts(texts), np.stack([np.zeros(len(texts), int), np.arange(len(texts))], 1)
        np.add.at(counts[:, owner], kinds, 1)
        for number, mask in enumerate(views):
            scores = [scorer.separate(scorer.project_images(regions, mask), projected)[0]]
            scores += [scorer.joint(regions, texts, together, head, mask)] if head else []
            for way, found in enumerate(scores):
                np.add.at(right[number, way, :, owner], kinds, found[0] > found[1:])
    parts, totals = ("negatives", "negatives_image_hidden")[: len(views)], counts.sum(1)
    used, shares = np.flatnonzero(totals).tolist(), {}
    for number, at, kind in np.ndindex(right.shape[:3]):
        if kind in used:
            shares[parts[number], KINDS[kind], ways[at]] = metrics.by_group(right[number, at, kind], counts[kind])
    report = {
        part: {
            KINDS[kind]: {"negatives": int(totals[kind]), **{way: float(shares[part, KINDS[kind], way].mean()) for way in ways}}
            for kind in used
        }
        for part in parts
    }
    return report, {" ".join(name): values for name, values in shares.items()}


def evaluate(
    checkpoint_url: str,
    corpus: str,
    rerank: int | None = 32,
    head: Head | None = None,
    truth: dict[str, set[str]] | None = None,
    hidden: bool = False,
    negatives: bool = True,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Evaluates a checkpoint on a corpus.

    Args:
        rerank: candidates per query that the joint head reranks; 0: none, and no joint sequence is scored at all; None: all.
        truth: by pair id, the pair ids of all images that its caption is true of; its own image always counts.
        negatives: also evaluate hard negatives.
        hidden: also evaluate them with the image hidden, which shows how much the text alone gives away.

    Returns the report, as JSON, and the arrays behind it by name: ranks, int64, with `owners` [T] (under `all_true.`, every true candidate
    counts), and the shares of `negative_accuracy`.

    Raises CheckpointError or ConfigError, naming the key, when one of the two cannot be read or they do not fit each other.
    """
    network, held = load_network(checkpoint_url, "cuda" if torch.cuda.is_available() else "cpu")
    pairs, chosen = CorpusPairs(Scorer(network, held, corpus)), head or trained_head(held)
    if rerank != 0 and head is None and not trains_joint(held):
        _log.warning("%s: nothing trained the head on joint sequences, so what is reranked says little: --rerank 0 leaves it out", held.url)
    gallery = pairs.gallery
    scores, own = gallery.separate_scores(), gallery.own
    count = scores.size if rerank is None else rerank
    sides = {"separate": both_ways(gallery, scores), **({"reranked": both_ways(gallery, scores, chosen, count)} if count else {})}
    found = {name: retrieve(both, own) for name, both in sides.items()}
    all_true: dict[str, Retrieval] = {}
    against, shares = negative_accuracy(pairs, chosen if count else None, hidden) if negatives else ({}, {})
    report: dict[str, Any] = {
        "checkpoint": held.url,
        "step": held.state["step"],
        "corpus": corpus,
        "images": len(gallery),
        "captions": len(gallery.owners),
        "head": chosen,
        "skipped": pairs.skipped,
        "recall": {name: one.recall() for name, one in found.items()},
        "chance": _ceilings(own, np.ones_like(own)),
        **against,
    }
    if truth is not None:
        true = own | _true_of(pairs, truth)
        report["ceiling"], report["chance_of_all_true"] = _ceilings(own, true), _ceilings(true, np.ones_like(true))
        all_true = {name: retrieve(both, true) for name, both in sides.items()}
        report["recall_of_all_true"] = {name: one.recall() for name, one in all_true.items()}
    named = {**found, **{f"all_true.{name}": one for name, one in all_true.items()}}
    arrays = {f"{name}.{side}": getattr(one, side) for name, one in named.items() for side in ("text_to_image", "image_to_text")}
    return report, {**arrays, **shares, "owners": gallery.owners}


def _ceilings(own: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """The ceilings in both directions; if everything is true, these are the recall of chance."""
    return {"text_to_image": metrics.ceilings(own.T, true.T), "image_to_text": metrics.ceilings(own, true)}


def _true_of(pairs: CorpusPairs, truth: dict[str, set[str]]) -> np.ndarray:
    """Which captions are true of which images according to the truth file, bool [I, T]."""
    owners = pairs.gallery.owners
    ids = [pairs.pair(caption).pair_id for caption in range(len(owners))]
    images = dict(zip(ids, owners.tolist(), strict=True))
    true = np.zeros((len(pairs.gallery), len(ids)), bool)
    for caption, name in enumerate(ids):
        true[[images[other] for other in truth.get(name, ()) if other in images], caption] = True
    return true
