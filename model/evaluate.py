"""Evaluates a checkpoint on a corpus: retrieval in both directions and hard negatives by kind, by separate and by joint encoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from model import metrics
from model.scoring import Gallery, Head, Scorer, joint_head, open_scorer
from schemas.errors import ConfigError
from schemas.regions import Regions
from schemas.token_rows import PairTokens
from schemas.tokens import NEGATIVE_KINDS


class CorpusPairs:
    """The pairs of a corpus that can be evaluated: the image has regions, and the caption is not too long for the network.

    rows: int64 [T], of `tokens`, in the corpus's order. images: the placement of each image, ascending [I]. skipped: captions left out, by
    reason. Raises ConfigError when none is left.
    """

    def __init__(self, scorer: Scorer):
        self.shards = scorer.shards
        columns = self.shards.pairs.columns
        shown, short = columns["regions"] > 0, scorer.fits(columns["length"])
        self.rows = np.flatnonzero(shown & short)
        self.skipped = {"the image has no regions": int((~shown).sum()), "the caption is too long": int((shown & ~short).sum())}
        if not len(self.rows):
            raise ConfigError(f"corpus: {self.shards.corpus.url} has no caption that fits and whose image has regions")
        self.images, self._firsts, owners = np.unique(columns["image"][self.rows], return_index=True, return_inverse=True)
        self.gallery = Gallery(scorer, owners, self._regions, lambda caption: self.pair(caption).caption)

    def pair(self, caption: int) -> PairTokens:
        """The row of `tokens` of a caption."""
        return self.shards.pairs_at(self.rows[[caption]])[0]

    def _regions(self, image: int) -> Regions:
        return self.shards.regions(self.shards.images_at(self.rows[[self._firsts[image]]], alone=False)[0])


Sides = dict[str, tuple[np.ndarray, np.ndarray]]  # by way of scoring, scores by caption, [T, I], and by image, [I, T]


def both_ways(gallery: Gallery, head: Head | None = None, rerank: int | None = 32) -> Sides:
    """Scores of `separate` encodings and, with a `head`, `reranked`: its joint scores order each query's first `rerank` candidates (None:
    all)."""
    scores = gallery.separate_scores()
    by_text, by_image, width = scores.T, scores, scores.shape[1]
    sides: Sides = {"separate": (by_text, by_image)}
    if head and rerank != 0:
        images, texts = (metrics.top(side, scores.size if rerank is None else rerank) for side in (by_text, by_image))
        flat = [images * width + np.arange(width)[:, None], texts + np.arange(len(texts))[:, None] * width]
        pairs, at = np.unique(np.concatenate([one.ravel() for one in flat]), return_inverse=True)  # once, if chosen in both directions
        joint = gallery.joint_scores(np.stack(np.divmod(pairs, width), 1), head)[at]
        sides["reranked"] = (
            metrics.reranked(by_text, images, joint[: images.size].reshape(images.shape)),
            metrics.reranked(by_image, texts, joint[images.size :].reshape(texts.shape)),
        )
    return sides


def ranks_of(sides: Sides, true: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """By way of scoring, ranks of each caption's image, int64 [T], and of each image's best caption, int64 [I]; true: bool [I, T]."""
    return {
        way: {"text_to_image": metrics.ranks(by_text, true.T), "image_to_text": metrics.ranks(by_image, true)}
        for way, (by_text, by_image) in sides.items()
    }


def recall_of(ranks: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, dict[str, float]]]:
    """R@1, R@5 and R@10 by way of scoring and direction."""
    return {way: {side: metrics.recall(found) for side, found in both.items()} for way, both in ranks.items()}


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
    counts = np.zeros((len(NEGATIVE_KINDS), len(gallery)), int)
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
            shares[parts[number], NEGATIVE_KINDS[kind], ways[at]] = metrics.by_group(right[number, at, kind], counts[kind])
    report = {
        part: {
            NEGATIVE_KINDS[kind]: {
                "negatives": int(totals[kind]),
                **{way: float(shares[part, NEGATIVE_KINDS[kind], way].mean()) for way in ways},
            }
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
    scorer, held = open_scorer(checkpoint_url, corpus)
    pairs, chosen = CorpusPairs(scorer), joint_head(held, head, rerank)
    gallery, own = pairs.gallery, pairs.gallery.own
    true = own if truth is None else own | _true_of(pairs, truth)
    sides = both_ways(gallery, chosen, rerank)
    ranks = ranks_of(sides, own)
    against, shares = negative_accuracy(pairs, chosen, hidden) if negatives else ({}, {})
    report: dict[str, Any] = {
        "checkpoint": held.url,
        "step": held.state["step"],
        "corpus": corpus,
        "images": len(gallery),
        "captions": len(gallery.owners),
        "head": chosen,
        "skipped": pairs.skipped,
        "recall": recall_of(ranks),
        "chance": _ceilings(own, np.ones_like(own)),
        **against,
    }
    if truth is not None:
        report["ceiling"], report["chance_of_all_true"] = _ceilings(own, true), _ceilings(true, np.ones_like(true))
        of_all = ranks_of(sides, true)
        report["recall_of_all_true"] = recall_of(of_all)
        ranks |= {f"all_true.{way}": both for way, both in of_all.items()}
    arrays = {f"{way}.{side}": found for way, both in ranks.items() for side, found in both.items()}
    return report, {**arrays, **shares, "owners": gallery.owners}


def _ceilings(own: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """The ceilings in both directions; if everything is true, these are the recall of chance."""
    return {"text_to_image": metrics.ceilings(own.T, true.T), "image_to_text": metrics.ceilings(own, true)}


def _true_of(pairs: CorpusPairs, truth: dict[str, set[str]]) -> np.ndarray:
    """Which captions are true of which images according to the truth file, bool [I, T]. Raises ConfigError when it is about other pairs."""
    placed = pairs.shards.pairs.columns["image"]
    rows = np.flatnonzero(np.isin(placed, pairs.images))  # captions that are left out name images, too
    ids = {int(row): pairs.shards.pairs_at(np.array([row]))[0].pair_id for row in rows}
    images = dict(zip(ids.values(), np.searchsorted(pairs.images, placed[rows]).tolist(), strict=True))
    true, known = np.zeros((len(pairs.gallery), len(pairs.rows)), bool), not truth
    for caption, row in enumerate(pairs.rows.tolist()):
        if (others := truth.get(ids[row])) is not None:
            found = [images[other] for other in others if other in images]
            true[found, caption], known = True, known or bool(found) or not others
    if not known:
        raise ConfigError(f"truth: none of its {len(truth)} pairs, with their images, is in {pairs.shards.corpus.url}")
    return true
