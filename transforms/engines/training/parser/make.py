"""Trains the embedded parser in two rounds; takes about two hours on one core.

    python -m transforms.engines.training.parser.make UD_FOLDER WORDNET WORK --factual train.csv [--captions captions.json]
        [--without instances.json] [--words FILE ...] [--rounds STEPS STEPS] [--out FOLDER]

1. A first model is trained on the treebank and on phrases extracted from it.
2. It parses captions; trees with independent support are kept (`silver.py`).
3. The final model is trained on all of these and written to OUT; its scores are printed.

The same inputs, library versions and CPU model give the same model: seeds are fixed and only one thread is used.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(*words: str | Path) -> None:
    """Runs a module of this package (or spaCy) in a separate process; raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", *(str(word) for word in words)]
    print("+", " ".join(command), flush=True)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    subprocess.run(command, check=True, env={**os.environ, **one_thread})


def train(data: Path, out: Path, steps: int) -> Path:
    """Trains on `data` for `steps` steps; returns the folder of the best model on the development part."""
    run("spacy", "train", HERE / "config.cfg", "--paths.train", data / "train.spacy", "--paths.dev", data / "dev.spacy",
        "--output", out, "--training.max_steps", str(steps))  # fmt: skip
    return out / "model-best"


def main() -> None:
    """Runs all steps."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("treebank", type=Path)
    options.add_argument("wordnet", type=Path)
    options.add_argument("work", type=Path)
    options.add_argument("--factual", type=Path, required=True)
    options.add_argument("--captions", type=Path)
    options.add_argument("--without", type=Path)
    options.add_argument("--words", type=Path, nargs="*", default=[])
    options.add_argument("--rounds", type=int, nargs=2, default=[3000, 4000], help="training steps of both rounds")
    options.add_argument("--out", type=Path, default=HERE.parents[1] / "parsers/embedded")
    arguments = options.parse_args()
    package, work = "transforms.engines.training.parser", arguments.work
    words = ["--words", *arguments.words] if arguments.words else []
    run(f"{package}.corpus", arguments.treebank, work / "first")
    first = train(work / "first", work / "first-model", arguments.rounds[0])
    run(f"{package}.assemble", first, arguments.treebank, arguments.wordnet, work / "teacher", *words)
    more = ["--captions", arguments.captions] if arguments.captions else []
    more += ["--without", arguments.without] if arguments.without else []
    run(f"{package}.silver", work / "teacher", work / "silver.spacy", "--factual", arguments.factual, *more)
    run(f"{package}.corpus", arguments.treebank, work / "second", "--silver", work / "silver.spacy")
    second = train(work / "second", work / "second-model", arguments.rounds[1])
    run(f"{package}.assemble", second, arguments.treebank, arguments.wordnet, arguments.out, *words)
    test = arguments.treebank / "en_ewt-ud-test.conllu"
    run(f"{package}.evaluate", arguments.out, work / "second" / "test.spacy", "--conllu", test)


if __name__ == "__main__":
    main()
