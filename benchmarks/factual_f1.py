"""Agreement of scene graphs with FACTUAL's (Li et al. 2023): our rules and sng-parser's, on the same spaCy model.

    python -m benchmarks.factual_f1 [--model embedded] [--data ../shared/data]

Both sides are normalised alike: FACTUAL's marks ("v:", "pv:") are removed, words lemmatised by one function, number words turned into
digits. (object, attribute) pairs and (subject, relation, object) triples are sets per caption, micro-averaged over all captions.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

from transforms.engines.parsers.load import caption_parser
from transforms.engines.training.parser.factual import Normaliser, gold


class Score:
    """Micro-averaged precision, recall and F1."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, found: set[Any], wanted: set[Any]) -> None:
        """Adds one caption."""
        self.counts.update(hit=len(found & wanted), found=len(found), wanted=len(wanted))

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Precision, recall, F1."""
        precision = self.counts["hit"] / max(1, self.counts["found"])
        recall = self.counts["hit"] / max(1, self.counts["wanted"])
        return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def without_determiners(pairs: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Pairs without those that sng-parser makes from determiners."""
    return {pair for pair in pairs if pair[1] not in ("a", "an", "the", "this", "that", "some", "these", "those", "each", "all", "no")}


def inverted(triples: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Triples with (part, of, whole) in FACTUAL's form: (whole, have, part)."""
    return {(t[2], "have", t[0]) if t[1] == "of" else t for t in triples}


def report(name: str, rows: list[tuple[Any, Any, Any, Any]]) -> float:
    """Prints the scores of one parser; returns the F1 over both kinds."""
    pairs, triples, both = Score(), Score(), Score()
    for found_pairs, found_triples, wanted_pairs, wanted_triples in rows:
        pairs.add(found_pairs, wanted_pairs)
        triples.add(found_triples, wanted_triples)
        both.add(found_pairs | found_triples, wanted_pairs | wanted_triples)
    for kind, score in (("(object, attribute)", pairs), ("(subject, relation, object)", triples), ("both", both)):
        print(f"{name:28} {kind:28} P {score.numbers[0]:.3f}  R {score.numbers[1]:.3f}  F1 {score.numbers[2]:.3f}")
    return both.numbers[2]


def main() -> None:
    """Prints scores and their ratio."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded", help="a parser spec: embedded or spacy:NAME_OR_PATH")
    options.add_argument("--data", type=Path, default=Path(os.environ.get("CMCL_DATA", "../shared/data")))
    options.add_argument("--part", default="dev", choices=("dev", "train"))
    options.add_argument("--show", type=int, default=0, help="print up to this many captions whose graphs differ")
    arguments = options.parse_args()
    path = arguments.data / "factual" / f"{arguments.part}.csv"
    if not path.exists():
        raise SystemExit(f"{path} not found: set CMCL_DATA or --data to the test data folder")
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    captions = [record["caption"] for record in records]
    own = caption_parser(arguments.model)
    normalise = Normaliser(own.nlp)
    golds = [gold(record["scene_graph"]) for record in records]
    wanted = [(normalise(pairs), normalise(triples)) for pairs, triples in golds]
    ours = [(normalise(graph.pairs()), normalise(graph.triples())) for graph in own.parse(captions)]
    spec = "sng:" + (arguments.model.removeprefix("spacy:"))
    theirs = [(normalise(graph.pairs()), normalise(graph.triples())) for graph in caption_parser(spec).parse(captions)]
    base = report("sng-parser as published", [(t[0], t[1], w[0], w[1]) for t, w in zip(theirs, wanted, strict=True)])
    kind = report(
        "sng-parser, most lenient",
        [(without_determiners(p), inverted(r), w[0], w[1]) for (p, r), w in zip(theirs, wanted, strict=True)],
    )
    f1 = report("ours", [(o[0], o[1], w[0], w[1]) for o, w in zip(ours, wanted, strict=True)])
    for caption, (pairs, triples), (want_pairs, want_triples) in zip(captions, ours, wanted, strict=True):
        if arguments.show and (pairs != want_pairs or triples != want_triples):
            arguments.show -= 1
            print(
                f"{caption}\n   only ours {sorted((pairs | triples) - want_pairs - want_triples)}"
                f"\n   only gold {sorted((want_pairs | want_triples) - pairs - triples)}"
            )
    print(f"ratio of F1, ours / sng-parser as published: {f1 / base:.2f} (to its most lenient reading: {f1 / kind:.2f})")


if __name__ == "__main__":
    main()
