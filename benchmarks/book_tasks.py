"""Real text in the layouts of two tasks: who wrote a sentence (SST-2), and a paragraph's first sentence given the rest (Gigaword).

    python -m benchmarks.book_tasks BOOKS OUT [--first NAME ...] [--second NAME ...] [--sentences 2000] [--paragraphs 3000]

BOOKS: a folder of Markdown files, one a book, paragraphs between blank lines. --first, --second: the books of the two authors (labels 1
and 0). The last fifth of each book is for evaluation. Writes OUT/sst2 and OUT/gigaword, and prints the accuracy of a logistic regression on
the words and pairs of words of the same sentences, and the ROUGE of repeating the first sentence of the rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sentencex import segment
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from model.tasks.text_metrics import rouge

WORDS = range(6, 41)  # of a sentence
Split = tuple[list[str], list[str]]  # for training, and for evaluation


def paragraphs(path: Path) -> Split:
    """The paragraphs of a book, without headings, in lines without line breaks."""
    whole = [" ".join(part.split()) for part in path.read_text(encoding="utf-8").split("\n\n")]
    kept = [part for part in whole if part and not part.startswith(("#", "*", "|", ">", "-")) and "\t" not in part]
    return kept[: len(kept) * 4 // 5], kept[len(kept) * 4 // 5 :]


def sentences(parts: list[str]) -> list[str]:
    """Their sentences of usual length."""
    return [one.strip() for part in parts for one in segment("en", part) if len(one.split()) in WORDS]


def drawn(rows: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Some of the rows, in random order."""
    return [rows[at] for at in rng.permutation(len(rows))[:count]]


def authorship(books: Path, authors: list[list[str]], count: int, out: Path, rng: np.random.Generator) -> float:
    """Writes `train.tsv` and `dev.tsv`, as many sentences of each author; returns the accuracy of the words on the latter."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for split, name, size in ((0, "train", count), (1, "dev", count // 5)):
        rows = []
        for label, names in enumerate(authors):
            own = [one for book in names for one in sentences(paragraphs(books / f"{book}.md")[split])]
            rows += [(one, label) for one in drawn(own, size // 2, rng)]
        rows = [rows[at] for at in rng.permutation(len(rows))]
        (out / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(f"{one}\t{label}\n" for one, label in rows), encoding="utf-8")
        made.append(rows)
    words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=500))
    words.fit([one for one, _ in made[0]], [label for _, label in made[0]])
    return float(words.score([one for one, _ in made[1]], [label for _, label in made[1]]))


def openings(books: Path, count: int, out: Path, rng: np.random.Generator) -> dict[str, float]:
    """Writes texts and summaries of both splits; returns the ROUGE of the rest's own first sentence."""
    out.mkdir(parents=True, exist_ok=True)
    scores: dict[str, float] = {}
    for split, names, size in (
        (0, ("train.article.txt", "train.title.txt"), count),
        (1, ("input.txt", "task1_ref0.txt"), count // 20),
    ):
        parts = [part for path in sorted(books.glob("*.md")) for part in paragraphs(path)[split] if path.stem != "README"]
        cut = [list(map(str.strip, segment("en", part))) for part in drawn(parts, 8 * count, rng)]
        rows = [(" ".join(rest), first) for first, *rest in cut if len(rest) > 1 and len(first.split()) in WORDS][:size]
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            (out / name).write_text("".join(f"{text}\n" for text in column), encoding="utf-8")
        scores = rouge(
            [next(iter(segment("en", rest))) for rest, _ in rows], [(first,) for _, first in rows], ("rouge1", "rouge2", "rougeL")
        )
    return scores


def main() -> None:
    """Writes both tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", nargs="+", default=["Frankenstein", "The_Last_Man", "Mathilda"])
    parser.add_argument("--second", nargs="+", default=["Moby-Dick"])
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--paragraphs", type=int, default=3000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    accuracy = authorship(args.books, [args.second, args.first], args.sentences, args.out / "sst2", rng)
    print(f"authorship: words {100 * accuracy:.1f}, chance 50.0")
    scores = openings(args.books, args.paragraphs, args.out / "gigaword", rng)
    print("openings, the rest's own first sentence:", ", ".join(f"{name} {100 * value:.1f}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
