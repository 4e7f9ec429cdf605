"""How well the judge is calibrated on scenes that were used for nothing else, beside the encoder and TF-IDF alone.

    python -m benchmarks.truth_calibration [--scenes 400] [--seeds SEED ...] [--weights FITTED.json]
                                           [--boxes CAPTIONS.json INSTANCES.json] [--ratings RATINGS.csv CAPTIONS ...]
                                           [--plot RELIABILITY.svg]

Each caption's 100 nearest captions by TF-IDF are judged, since true ones are rare among the least likely. Printed for each set of
evidence, over all seeds: AUC, and for each tenth of the pairs the expected and the observed number of true texts, and their ratio. Pairs
with the same probability are never divided, so one "tenth" may hold most pairs. A ratio of fewer than 5 expected ones is marked "?".
With --boxes: AUC on the photos that have boxes, where truth is an estimate (see `transforms.truth.fit`). With --ratings: the same table on
rated texts (see `benchmarks.truth_ratings`), where 3 or more counts as true. --plot draws the tenths of the sets that have graphs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from transforms.truth.corpora import K, Sample, photos, rated, scenes
from transforms.truth.evidence import MISSING
from transforms.truth.fit import auc, deciles
from transforms.truth.judge import SETS, judge_of
from transforms.truth.trees import MILLION

_FEW = 5


def chances(sample: Sample, names: tuple[str, ...], weights: str | None) -> np.ndarray:
    """The judge's probabilities with some of the evidence, float64 [n]."""
    return judge_of(weights).millionths({name: sample.evidence[name] for name in names}) / MILLION


def tenths(chance: np.ndarray, truth: np.ndarray) -> str:
    """Expected and observed number of true texts in each tenth, and their ratio."""
    found = []
    for share, expected, observed in deciles(chance, truth, np.ones(len(chance))):
        pairs = share * len(chance)
        ratio = f"{expected / observed:.2f}" if observed else "-"
        found.append(f"{share:.0%} {expected * pairs:.1f}/{observed * pairs:.0f} {ratio}{'?' if expected * pairs < _FEW else ''}")
    return "  ".join(found)


def table(where: str, samples: list[Sample], weights: str | None) -> list[dict[str, Any]]:
    """Prints one row per set of evidence that the samples have; returns the tenths as points of a plot."""
    truth, points = np.concatenate([sample.truth for sample in samples]), []
    for name, names in SETS.items():
        if not samples[0].evidence.keys() >= set(names):
            continue
        chance = np.concatenate([chances(sample, names, weights) for sample in samples])
        print(f"{name:24} AUC {auc(chance, truth):.4f}  {tenths(chance, truth)}")
        if "graphs" in name:
            found = deciles(chance, truth, np.ones(len(chance)))
            points += [{"where": where, "evidence": name, "expected": float(one), "observed": float(other)} for _, one, other in found]
    for name in ("similarity_max", "cosine"):
        print(f"{name:24} AUC {auc(np.concatenate([sample.evidence[name] for sample in samples]), truth):.4f}")
    return points


def plot(path: Path, points: list[dict[str, Any]]) -> None:
    """Observed against expected shares, both logarithmic, a panel per set of texts; shares below 1/10,000 are left out. SVG."""
    import altair as alt

    scale = alt.Scale(type="log", domain=[1e-4, 1])
    shown = [point for point in points if min(point["expected"], point["observed"]) >= 1e-4]
    dots = alt.Chart(alt.Data(values=shown)).mark_point(filled=True, size=50, opacity=0.8).encode(
        x=alt.X("expected:Q", scale=scale, title="expected share"),
        y=alt.Y("observed:Q", scale=scale, title="observed share"),
        color=alt.Color("evidence:N", sort=None, title=None, legend=alt.Legend(orient="bottom", labelLimit=260)),
        shape=alt.Shape("evidence:N", sort=None, title=None),
    )  # fmt: skip
    ideal = alt.Chart(alt.Data(values=[{"at": 1e-4}, {"at": 1}])).mark_line(color="gray", strokeDash=[4, 4]).encode(x="at:Q", y="at:Q")
    panels = [
        alt.layer(ideal, dots.transform_filter(alt.datum.where == where)).properties(title=where, width=230, height=230)
        for where in dict.fromkeys(point["where"] for point in shown)
    ]
    alt.hconcat(*panels).save(str(path))


def main() -> None:
    """Prints the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=400)
    options.add_argument("--seeds", type=int, nargs="+", default=[5530071, 5530072])
    options.add_argument("--weights", help="weights by `python -m transforms.truth.fit`")
    options.add_argument("--boxes", type=Path, nargs=2, metavar=("CAPTIONS", "INSTANCES"))
    options.add_argument("--ratings", type=Path, nargs=2, action="append", default=[], metavar=("RATINGS", "CAPTIONS"))
    options.add_argument("--plot", type=Path)
    arguments = options.parse_args()
    samples = [scenes(arguments.scenes, seed, K) for seed in arguments.seeds]
    truth = np.concatenate([sample.truth for sample in samples])
    print(f"{len(truth)} pairs of {len(samples)} x {arguments.scenes} scenes, {truth.mean():.2%} true")
    points = table("scenes", samples, arguments.weights)
    if arguments.boxes:
        sample = photos(arguments.boxes[0], 2, arguments.boxes[1], limit=251)
        boxed = sample.evidence["labels_missing"] > MISSING
        print(f"{boxed.sum()} pairs of photos with boxes, {sample.truth[boxed].mean():.2%} true by estimate")
        for name, names in SETS.items():
            print(f"{name:24} AUC {auc(chances(sample, names, arguments.weights)[boxed], sample.truth[boxed]):.4f}")
        for name in ("similarity_max", "cosine"):
            print(f"{name:24} AUC {auc(sample.evidence[name][boxed], sample.truth[boxed]):.4f}")
    for ratings, captions in arguments.ratings:
        sample = rated(ratings, captions)
        print(f"{len(sample.truth)} pairs of {ratings}, {sample.truth.mean():.2%} rated 3 or more")
        points += table(f"ratings: {ratings.stem}", [sample], arguments.weights)
    if arguments.plot:
        plot(arguments.plot, points)


if __name__ == "__main__":
    main()
