"""Fits the judge's weights.

    python -m transforms.truth.fit OUT.json [--scenes 500] [--photos CAPTIONS ...] [--boxes INSTANCES.json]
                                            [--ratings RATINGS.csv CAPTIONS.csv] [--seed 1] [--calibrate 8]

Scenes: synthetic, their truth is known. Photos (a CSV with the columns image and caption, several rows an image, or COCO's JSON): nobody
has said which captions of other photos are true of one. So captions of the photo itself, held out in turn, show how true ones look, and
captions of others are a mixture: the probability is the share of true ones among the candidates times the ratio of the two densities
(Elkan and Noto 2008). Such estimates are too low, since a photo's captions are more detailed than many a text that is true of it. Ratings
(a CSV with the columns image, text, rating from 1 to 4; 3 or more counts as true) correct that: each weighs as much as `RATED` other
pairs, and the odds of photos' texts are adjusted to them (Platt 1999). Candidates are neighbours by TF-IDF, and the probabilities are
calibrated for texts as similar as these. Half of the images fit the trees, the other half calibrates them; beside photos or ratings, so do
--calibrate further sets of as many scenes, since true texts are rare among the least likely ones. The judge of swaps is fitted to the
swaps of the same scenes, and of the first --photos' first 2,000 photos, whose generator sees some captions while others tell what is true
(`transforms.truth.swap_corpora`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from transforms.truth.corpora import K, Sample, photos, rated, scenes
from transforms.truth.evidence import MISSING
from transforms.truth.judge import COSINE, LABELS, SETS
from transforms.truth.swap_corpora import photo_swaps, scene_swaps
from transforms.truth.swaps import FAMILIES
from transforms.truth.trees import FEW_WORDS, MILLION, as_trees

UNIT = 1024  # of leaves: one nat
_TREES, _RATE = 80, 0.15
_HIDDEN = 0.2  # share of pairs whose cosine is hidden, since swaps and retrieved texts have none
_SWAP_TREES, _FEW = 40, 25  # of a family of swaps with fewer true ones, all have the same probability
_PRIOR = 100  # swaps with the share of all families, added to those of such a family
_STEPS, _TRUE, _TRUE_FEW = 48, 4, 120  # of a calibration, at most, and true ones in each, at least; the last where scenes calibrate
RATED = 5  # weight of a rated pair


def fit(
    samples: Sequence[Sample],
    names: tuple[str, ...],
    seed: int,
    trees: int = _TREES,
    rated: Sequence[Sample] = (),
    further: Sequence[Sample] = (),
) -> tuple[dict[str, Any], np.ndarray]:
    """The weights of one set of evidence, and the probabilities that they give the second half of all samples, the rated ones last.

    further: samples that only calibrate, and only the corpora of few words, to which they must belong.
    """
    rng = np.random.default_rng(seed)
    every = [*samples, *rated]
    columns = [_matrix(sample, names) for sample in every]
    matrix, truth = np.concatenate(columns), np.concatenate([one.truth for one in every])
    weight = np.concatenate([*(one.weight for one in samples), *(RATED * one.weight for one in rated)])
    fitted = np.concatenate([one.image % 2 == 0 for one in every])
    known = np.repeat([False, True], [sum(len(one.truth) for one in part) for part in (samples, rated)])[~fitted]
    hidden = matrix.copy()
    if names[-len(COSINE) :] == COSINE:
        hidden[rng.random(len(matrix)) < _HIDDEN, -len(COSINE) :] = MISSING
    rows = np.flatnonzero(fitted)
    # A probability stands for two rows, one true and one false, weighted by it.
    model = HistGradientBoostingClassifier(
        max_iter=trees, learning_rate=_RATE, max_depth=3, max_leaf_nodes=8, min_samples_leaf=30, early_stopping=False, random_state=seed
    )
    doubled = np.concatenate([rows, rows])
    share = np.concatenate([truth[rows], 1 - truth[rows]]) * weight[doubled]
    label = np.repeat([1, 0], len(rows))
    model.fit(hidden[doubled][share > 0], label[share > 0], sample_weight=share[share > 0])
    weights: dict[str, Any] = _exported(model)
    held = np.flatnonzero(~fitted)
    plain = as_trees(names, {**weights, "knots": [], "chances": [0]})
    sums = plain.sums(dict(zip(names, matrix[held].T, strict=True)))
    few = matrix[held, names.index("words")] <= FEW_WORDS if "words" in names else np.zeros(len(held), bool)
    if 0 < few.sum() < len(few):
        many = [(sums[few], truth[held][few], weight[held][few]), *((plain.sums(one.evidence), one.truth, one.weight) for one in further)]
        total, true, mass = (np.concatenate(part) for part in zip(*many, strict=True))
        weights["few"] = _calibration(total, true, mass, _TRUE_FEW if further else _TRUE)
    else:
        few[:] = False
    rest = ~few if known.all() else ~few & ~known
    weights |= _calibration(sums[rest], truth[held][rest], weight[held][rest])
    if known.any() and not known.all():
        weights["chances"] = _adjusted(weights, sums[known], truth[held][known])
    return weights, as_trees(names, weights).score(dict(zip(names, matrix[held].T, strict=True))) / MILLION


def fit_swaps(samples: Sequence[Mapping[str, Sample]], seed: int) -> dict[str, Any]:
    """The weights of the judge of swaps, from samples by family. Prints how well they do on the images that calibrated them."""
    found = {}
    every = [sample.truth for one in samples for family, sample in one.items() if family != "known"]
    usual = float(np.concatenate(every).mean())
    for family, names in FAMILIES.items():
        own = [one[family] for one in samples if family in one]
        true, count = sum(float(one.truth.sum()) for one in own), sum(len(one.truth) for one in own)
        if true < _FEW:
            prior = (0.5, 2) if family == "known" else (usual, _PRIOR)
            found[family] = _alike((true + prior[0] * prior[1]) / (count + prior[1]))
            continue
        found[family], chance = fit(own, names, seed, _SWAP_TREES)
        truth, weight = (np.concatenate([getattr(one, part)[one.image % 2 == 1] for one in own]) for part in ("truth", "weight"))
        _print(f"swaps, {family}", chance, truth, weight)
    return found


def _alike(share: float) -> dict[str, Any]:
    """The weights that give everything the same probability."""
    return {"feature": [[0] * 7], "threshold": [[0] * 7], "leaf": [[0] * 8], "knots": [], "chances": [round(share * MILLION)]}


def _matrix(sample: Sample, names: Sequence[str]) -> np.ndarray:
    """Evidence int32 [n, names]; labels that a sample does not have are missing."""
    nothing = np.full(len(sample.truth), MISSING, np.int32)
    return np.stack([sample.evidence.get(name, nothing) if name in LABELS else sample.evidence[name] for name in names], axis=1)


def _exported(model: HistGradientBoostingClassifier) -> dict[str, list[Any]]:
    """The trees as complete ones of depth 3: a leaf above the last level becomes a node whose subtrees are the same.

    scikit-learn has no public access to these trees; the fit's own check of the exported sums would notice a change.
    """
    features, thresholds, leaves = [], [], []
    for (one,) in model._predictors:
        feature, threshold, leaf = [0] * 7, [0] * 7, [0] * 8
        todo = [(0, 0)]
        while todo:
            node, at = todo.pop()
            own = one.nodes[node]
            if at >= 7:
                leaf[at - 7] = round(float(own["value"]) * UNIT)
            elif own["is_leaf"]:
                todo += [(node, 2 * at + 1), (node, 2 * at + 2)]
            else:
                feature[at], threshold[at] = int(own["feature_idx"]), int(np.floor(own["num_threshold"]))
                todo += [(int(own["left"]), 2 * at + 1), (int(own["right"]), 2 * at + 2)]
        features.append(feature)
        thresholds.append(threshold)
        leaves.append(leaf)
    return {"feature": features, "threshold": thresholds, "leaf": leaves}


def _calibration(sums: np.ndarray, truth: np.ndarray, weight: np.ndarray, least: int = _TRUE) -> dict[str, list[int]]:
    """Shares of true ones between `knots`, made to rise by isotonic regression. Each step has enough true ones, at least `least`, for its
    share to be known, the higher the more, so the lowest step is the longest."""
    order = np.argsort(sums, kind="stable")
    weight = weight / weight.mean()  # however little its sample weighs, a true text counts as one
    total = np.cumsum((truth * weight)[order])
    wanted = [0.0]
    for one in total[-1] * np.linspace(0, 1, _STEPS, endpoint=False) ** 3:
        if min(one - wanted[-1], total[-1] - one) >= least:
            wanted.append(float(one))
    cuts = np.searchsorted(total, wanted[1:])
    knots = np.unique(sums[order][np.minimum(cuts, len(sums) - 1)])
    owner = np.searchsorted(knots, sums, side="right")
    mass = np.bincount(owner, weights=weight, minlength=len(knots) + 1)
    share = np.bincount(owner, weights=weight * truth, minlength=len(knots) + 1) / np.maximum(mass, 1e-9)
    chance = IsotonicRegression(y_min=1e-6, y_max=1 - 1e-6).fit_transform(np.arange(len(share)), share, sample_weight=mass + 1e-9)
    return {"knots": knots.tolist(), "chances": np.rint(chance * MILLION).astype(np.int64).tolist()}


def _adjusted(calibration: Mapping[str, Any], sums: np.ndarray, truth: np.ndarray) -> list[int]:
    """The chances of a calibration with the log odds that fit rated pairs best, linear in the former ones and rising."""
    chances = np.clip(np.array(calibration["chances"]) / MILLION, 1e-6, 1 - 1e-6)
    odds = np.log(chances / (1 - chances))
    given = odds[np.searchsorted(calibration["knots"], sums, side="right")]
    model = LogisticRegression(C=1e6).fit(given[:, None], truth > 0.5)
    if model.coef_[0, 0] <= 0:
        raise SystemExit("--ratings: texts that are likelier by the other data are not rated higher, so one of the two is wrong")
    return list(np.rint(model.predict_proba(odds[:, None])[:, 1] * MILLION).astype(np.int64).tolist())


def deciles(chance: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> list[tuple[float, float, float]]:
    """Share of all pairs, expected and observed share of true texts in the tenths of the pairs, by rising probability.

    Pairs with the same probability cannot be divided by it, so tenths among them are one; a remainder of less than a tenth is the last.
    """
    values, at = np.unique(chance, return_inverse=True)
    mass, true = np.bincount(at, weights=weight), np.bincount(at, weights=weight * truth)
    tenth, found, low = mass.sum() / 10, [], 0
    for high in range(1, len(values) + 1):
        own = slice(low, high)
        if mass[own].sum() >= tenth or high == len(values):
            share = mass[own].sum()
            found.append((float(share / mass.sum()), float(values[own] @ mass[own] / share), float(true[own].sum() / share)))
            low = high
    return found


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve where each pair is true with probability `truth`."""
    label = np.repeat([1, 0], len(truth))
    return float(roc_auc_score(label, np.concatenate([scores, scores]), sample_weight=np.concatenate([truth, 1 - truth])))


def _print(name: str, chance: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> None:
    print(f"{name}: {len(truth)} pairs, AUC {auc(chance, truth):.4f}, expected and observed by decile:")
    print("  " + "  ".join(f"{one:.4f}/{other:.4f} ({share:.0%})" for share, one, other in deciles(chance, truth, weight)))


def main() -> None:
    """Fits all sets of evidence and prints how well they do on the images that calibrated them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path)
    options.add_argument("--scenes", type=int, default=500)
    options.add_argument("--photos", type=Path, action="append", default=[], metavar="CAPTIONS")
    options.add_argument("--boxes", type=Path, help="COCO's boxes, of some of the images of the first --photos and of --ratings")
    options.add_argument("--ratings", type=Path, nargs=2, action="append", default=[], metavar=("RATINGS", "CAPTIONS"))
    options.add_argument("--scene-seed", type=int, default=101, help="the further sets have the seeds that follow")
    options.add_argument("--calibrate", type=int, default=8, metavar="SETS", help="further sets of scenes that only calibrate")
    options.add_argument("--seed", type=int, default=1)
    arguments = options.parse_args()
    samples = [scenes(arguments.scenes, arguments.scene_seed, K)] if arguments.scenes else []
    samples += [photos(path, arguments.seed, None if at else arguments.boxes) for at, path in enumerate(arguments.photos)]
    given = [rated(ratings, captions, arguments.boxes) for ratings, captions in arguments.ratings]
    seeds = range(arguments.scene_seed + 1, arguments.scene_seed + 1 + arguments.calibrate)
    beside = arguments.scenes and (samples[1:] or given)  # scenes alone have no calibration of their own
    further = [scenes(arguments.scenes, seed, K) for seed in seeds] if beside else []
    found = {}
    for name, names in SETS.items():
        found[name], chance = fit(samples, names, arguments.seed, rated=given, further=further)
        every = [*samples, *given]
        truth, weight = (np.concatenate([getattr(one, part)[one.image % 2 == 1] for one in every]) for part in ("truth", "weight"))
        _print(name, chance, truth, weight)
    swaps = [scene_swaps(arguments.scenes, arguments.scene_seed)] if arguments.scenes else []
    swaps += [photo_swaps(path, arguments.seed, arguments.boxes) for path in arguments.photos[:1]]
    arguments.out.write_text(
        json.dumps({"sets": found, "swaps": fit_swaps(swaps, arguments.seed)}, separators=(",", ":")) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
