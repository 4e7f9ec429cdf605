"""Fits the judge's weights.

    python -m transforms.truth.fit OUT.json [--scenes 500] [--photos CAPTIONS ...] [--boxes INSTANCES.json]
                                            [--ratings RATINGS.csv CAPTIONS.csv] [--seed 1]

Scenes: synthetic, their truth is known. Photos (a CSV with the columns image and caption, several rows an image, or COCO's JSON): nobody
has said which captions of other photos are true of one. So captions of the photo itself, held out in turn, show how true ones look, and
captions of others are a mixture: the probability is the share of true ones among the candidates times the ratio of the two densities (Elkan
and Noto 2008). Ratings (a CSV with the columns image, text, rating from 1 to 4): 3 or more counts as true. Candidates are neighbours by
TF-IDF, and the probabilities are calibrated for texts as similar as these. Half of the images fit the trees, the other half calibrates
them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from transforms.truth.corpora import Sample, photos, rated, scenes
from transforms.truth.evidence import MISSING
from transforms.truth.judge import COSINE, LABELS, MILLION, SETS, as_trees

UNIT = 1024  # of leaves: one nat
_TREES, _RATE = 80, 0.15
_HIDDEN = 0.2  # share of pairs whose cosine is hidden, since swaps and retrieved texts have none
_STEPS = 48  # of the calibration


def fit(samples: Sequence[Sample], names: tuple[str, ...], seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """The weights of one set of evidence, and the probabilities that they give the second half of all samples, one after another."""
    rng = np.random.default_rng(seed)
    columns = [_matrix(sample, names) for sample in samples]
    matrix, truth, weight = (
        np.concatenate(columns),
        *(np.concatenate([getattr(one, part) for one in samples]) for part in ("truth", "weight")),
    )
    fitted = np.concatenate([one.image % 2 == 0 for one in samples])
    hidden = matrix.copy()
    hidden[rng.random(len(matrix)) < _HIDDEN, -len(COSINE) :] = MISSING
    rows = np.flatnonzero(fitted)
    # A probability stands for two rows, one true and one false, weighted by it.
    model = HistGradientBoostingClassifier(
        max_iter=_TREES, learning_rate=_RATE, max_depth=3, max_leaf_nodes=8, min_samples_leaf=30, early_stopping=False, random_state=seed
    )
    doubled = np.concatenate([rows, rows])
    share = np.concatenate([truth[rows], 1 - truth[rows]]) * weight[doubled]
    label = np.repeat([1, 0], len(rows))
    model.fit(hidden[doubled][share > 0], label[share > 0], sample_weight=share[share > 0])
    weights = _exported(model)
    held = np.flatnonzero(~fitted)
    sums = as_trees(names, {**weights, "knots": [], "chances": [0]}).sums(dict(zip(names, matrix[held].T, strict=True)))
    weights |= _calibration(sums, truth[held], weight[held])
    return weights, as_trees(names, weights).score(dict(zip(names, matrix[held].T, strict=True))) / MILLION


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


def _calibration(sums: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> dict[str, list[int]]:
    """Isotonic regression in steps: `knots` are quantiles, closer together at the top, where the true ones are."""
    fitted = IsotonicRegression(out_of_bounds="clip").fit(sums, truth, sample_weight=weight).predict
    shares = 1 - np.geomspace(1, 1 / 2000, _STEPS)
    knots = np.unique(np.quantile(sums, shares[1:]).astype(np.int64))
    owner = np.searchsorted(knots, sums, side="right")
    mass = np.bincount(owner, weights=weight, minlength=len(knots) + 1)
    chance = np.bincount(owner, weights=weight * fitted(sums), minlength=len(knots) + 1) / np.maximum(mass, 1e-9)
    chance = np.maximum.accumulate(np.clip(chance, 1e-5, 1 - 1e-5))
    return {"knots": knots.tolist(), "chances": np.rint(chance * MILLION).astype(np.int64).tolist()}


def deciles(chance: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> list[tuple[float, float]]:
    """Expected and observed share of true texts in each tenth of the pairs, by rising probability."""
    order = np.argsort(chance, kind="stable")
    parts = np.array_split(order, 10)
    return [(float(np.average(chance[one], weights=weight[one])), float(np.average(truth[one], weights=weight[one]))) for one in parts]


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve where each pair is true with probability `truth`."""
    label = np.repeat([1, 0], len(truth))
    return float(roc_auc_score(label, np.concatenate([scores, scores]), sample_weight=np.concatenate([truth, 1 - truth])))


def main() -> None:
    """Fits all sets of evidence and prints how well they do on the images that calibrated them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path)
    options.add_argument("--scenes", type=int, default=500)
    options.add_argument("--photos", type=Path, action="append", default=[], metavar="CAPTIONS")
    options.add_argument("--boxes", type=Path, help="COCO's boxes, of some of the images of the first --photos")
    options.add_argument("--ratings", type=Path, nargs=2, action="append", default=[], metavar=("RATINGS", "CAPTIONS"))
    options.add_argument("--scene-seed", type=int, default=101)
    options.add_argument("--seed", type=int, default=1)
    arguments = options.parse_args()
    samples = [scenes(arguments.scenes, arguments.scene_seed)] if arguments.scenes else []
    samples += [photos(path, arguments.seed, None if at else arguments.boxes) for at, path in enumerate(arguments.photos)]
    samples += [rated(*paths) for paths in arguments.ratings]
    found = {}
    for name, names in SETS.items():
        found[name], chance = fit(samples, names, arguments.seed)
        truth, weight = (np.concatenate([getattr(one, part)[one.image % 2 == 1] for one in samples]) for part in ("truth", "weight"))
        print(f"{name}: {len(truth)} pairs, AUC {auc(chance, truth):.4f}, expected and observed by decile:")
        print("  " + "  ".join(f"{one:.4f}/{other:.4f}" for one, other in deciles(chance, truth, weight)))
    arguments.out.write_text(json.dumps({"sets": found}, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
