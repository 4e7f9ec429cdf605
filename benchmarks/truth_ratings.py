"""Guards and the judge of truth against people's ratings of texts for images.

    python -m benchmarks.truth_ratings RATINGS.csv CAPTIONS.csv [--limit 0.08] [--keep 0.9] [--weights FITTED.json]

RATINGS.csv has the columns image, text, rating (1: unrelated, to 4: describes the image), one row per rating or mean; CAPTIONS.csv has the
columns image, caption, or is COCO's JSON. For each way of refusing candidates: the share of texts rated 3 or more among those kept, and
the share of texts rated below 2 that are kept. The guards are the TF-IDF stage's without a judge; encoder and tfidf refuse the texts most
similar to any caption of the image, at the threshold that keeps `--keep` of those below 2 (so they see the ratings, the judge does not);
graphs is the judge without an encoder. AUC: of telling the two groups apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from transforms.tfidf.settings import TfidfSettings
from transforms.truth.corpora import Captions, rated_pairs
from transforms.truth.judge import COSINE, GRAPHS, judge_of
from transforms.truth.trees import MILLION


def guarded(held: Captions, image: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Whether the TF-IDF stage's ceiling, margin or near-text guard refuses a text for some caption of the image; bool [n]."""
    settings = TfidfSettings()
    refused = np.zeros(len(text), bool)
    for row, (at, other) in enumerate(zip(image.tolist(), text.tolist(), strict=True)):
        own = held.weights[held.starts[at] : held.starts[at + 1]]
        among = (own @ own.T).toarray()
        np.fill_diagonal(among, -1.0)
        margin = np.maximum(settings.margin_floor, (1 - (settings.margin or 0.0)) * among.max(axis=1))
        limit = np.where(among.max(axis=1) >= 0, np.minimum(margin, settings.ceiling), settings.ceiling)
        refused[row] = ((own @ held.weights[other].T).toarray().ravel() > limit).any()
    return refused


def line(name: str, kept: np.ndarray, rating: np.ndarray, score: np.ndarray | None = None) -> str:
    """One row of the report; `score`: higher for texts more likely true."""
    clear = (rating >= 3) | (rating < 2)
    both = (rating >= 3).any() and (rating < 2).any()
    auc = f"  AUC {roc_auc_score(rating[clear] >= 3, score[clear]):.4f}" if score is not None and both else ""
    true, false = (f"{share.mean():7.3%}" if len(share) else "    n/a" for share in (rating[kept] >= 3, kept[rating < 2]))
    return f"{name:10} kept {kept.mean():7.2%}  rated 3 or more among them {true}  of those below 2 kept {false}{auc}"


def main() -> None:
    """Prints one row per way of refusing."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ratings", type=Path)
    options.add_argument("captions", type=Path)
    options.add_argument("--limit", type=float, default=TfidfSettings().truth, help="probability above which the judge refuses a text")
    options.add_argument("--keep", type=float, default=0.9)
    options.add_argument("--weights", help="weights by `python -m transforms.truth.fit`")
    arguments = options.parse_args()
    try:
        held, image, text, rating = rated_pairs(arguments.ratings, arguments.captions)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    evidence = held.evidence(image, text)
    judge = judge_of(arguments.weights)
    shares = f"{(rating >= 3).mean():.2%} rated 3 or more, {(rating < 2).mean():.2%} below 2"
    print(f"{len(text)} pairs, {len(np.unique(image))} images; {shares}")
    print(line("all", np.ones(len(rating), bool), rating))
    print(line("guards", ~guarded(held, image, text), rating))
    for name, of in (("tfidf", "cosine"), ("encoder", "similarity_max")):
        score = evidence[of]
        limit = np.quantile(score[rating < 2], arguments.keep) if (rating < 2).any() else np.inf
        print(line(name, score <= limit, rating, score))
    for name, names_ in (("graphs", (*GRAPHS, *COSINE)), ("judge", tuple(evidence))):
        chance = judge.millionths({one: evidence[one] for one in names_}) / MILLION
        print(line(name, chance <= arguments.limit, rating, chance))


if __name__ == "__main__":
    main()
