"""`make demo`: synthetic photos with and without captions, and a text collection, through every stage; then a short training and a report.

Requires no data and no downloads.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

import yaml

from pipelines import cli
from pipelines.config import load_config
from pipelines.process_state import log_level
from pipelines.run import corpus_of, run
from pipelines.scenes import make_scenes
from pipelines.show import show
from pipelines.status import print_report
from pipelines.verify import corpus_hash, verify
from schemas.corpus import Corpus
from schemas.errors import CmclError, ConfigError
from schemas.own_folder import check_apart_from_corpora

SCENES, SEED = 200, 7
# Settings of `cmcl train`: the smallest that learn something within a minute, by contrasting the pairs of a batch.
TRAINING: dict[str, object] = {
    "data": {"corpus": "corpus", "mix": {"pairs": 1}, "batch": {"pairs": 32}, "max_tokens": 32, "token_buckets": [12, 16, 20, 24],
             "region_buckets": [12, 16], "positives": 0, "negatives": {}},
    "output": "training",
    "model": {"size": "tiny", "positions": 32, "dropout": 0},
    "objectives": {"cmcl": {"encoding": "separate", "in_batch": True}},
    "optimizer": {"lr": 0.001},
    "steps": 300,
    "tensorboard": False,
}  # fmt: skip


def main(folder: str) -> int:
    """Builds everything below `folder`; returns 0 if the corpus verifies, 1 otherwise.

    Raises ConfigError when `folder` contains files that the demo did not write.
    """
    start = time.perf_counter()
    path = write_settings(folder)
    print(f"rendering {SCENES} scenes with captions, {SCENES} without, and a text collection ...")
    make_scenes(os.path.join(folder, "scenes"), SCENES, SEED, texts=1000)
    make_scenes(os.path.join(folder, "photos"), SCENES, SEED + 1, captions=False)
    config = load_config(path)
    with log_level(logging.ERROR):
        print_report(run(config, progress=sys.stderr.isatty()))

    corpus, index = corpus_of(config.corpus)
    findings = verify(corpus, index)
    for finding in findings:
        print(finding.text)
    print(f"\nverified: {len(findings)} faults; corpus hash {corpus_hash(corpus, index)['corpus']}")
    print("\none pair, with everything derived from it:\n")
    print(show(corpus, index, with_positives(corpus), limit=3))
    contents = corpus_hash(corpus, index)["corpus"]
    failed = train(folder, config.corpus, contents)
    report, training = os.path.join(folder, "report"), os.path.join(folder, "training", contents[:12])
    print(f"\nwhat to know first: cmcl report {path} --out {report}")
    failed = cli.main(["report", path, "--out", report, *([] if failed else ["--run", training, "--checkpoint", training])]) or failed
    print(f"\n{time.perf_counter() - start:.0f} s. The corpus is in {config.corpus}. Open {report}/index.html in a browser, or run:")
    shards = f"{config.corpus}/examples/examples-*.arrow"
    for line in (
        f"cmcl status {path}",
        f"cmcl show {path} 'on the beach'",
        f"cmcl verify {path}",
        f"""python -c "import datasets; print(datasets.load_dataset('arrow', data_files='{shards}'))\"""",
    ):
        print(f"    {line}")
    print(f"the photos and their ground truth are in {os.path.join(folder, 'scenes')}; `cmcl` is in .venv/bin")
    return 1 if findings or failed else 0


def train(folder: str, corpus: str, contents: str) -> int:
    """Trains a tiny network on the corpus with this hash, and prints its recall; returns the commands' exit status.

    In processes of their own, which use all of the CPU's instructions: this one's engines are restricted already.
    """
    path, output = os.path.join(folder, "train.yaml"), os.path.join("training", contents[:12])
    print(f"\ntraining a tiny network, {TRAINING['steps']} updates: cmcl train {path}")
    status = _command("train", path, "--set", f"output={output}")
    print("\nretrieval among the photos that it was trained on: cmcl evaluate")
    return status or _command("evaluate", os.path.join(folder, output), corpus, "--rerank", "0", "--no-negatives")


def _command(*arguments: str) -> int:
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], check=False).returncode


def write_settings(folder: str) -> str:
    """Writes the demo's configurations to `folder`; returns the corpus's. Raises ConfigError when a different file is already there."""
    check_apart_from_corpora(folder)
    os.makedirs(folder, exist_ok=True)
    configurations = {"config.yaml": {**settings(), "tokens": {"size": 1000}}, "train.yaml": TRAINING}
    contents = {os.path.join(folder, name): yaml.safe_dump(value, sort_keys=False) for name, value in configurations.items()}
    for path, content in contents.items():
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path) or open(path, "rb").read() != content.encode()):
            raise ConfigError(f"{path} is not the demo's own file: use another folder (`make demo DEMO=FOLDER`), or move the file away")
    for path, content in contents.items():
        if not os.path.lexists(path):
            with open(path, "x", encoding="utf-8") as file:
                file.write(content)
    return next(iter(contents))


def with_positives(corpus: Corpus) -> str | None:
    """The id of the first pair with back-translated positives, or None."""
    for partition in range(corpus.partitions):
        pairs = corpus.open("back_translation", "rewrites", partition).read()["pair_id"]
        if len(pairs):
            return str(pairs[0].as_py())
    return None


def settings() -> dict[str, object]:
    """The demo's configuration; paths are relative to its folder."""
    return {
        "corpus": "corpus",
        "seed": SEED,
        "partitions": 4,
        "workers": 1,
        "pairs": [{"format": "coco", "name": "scenes", "captions": "scenes/captions-*.json", "images": "scenes/images"}],
        "images": [{"format": "folder", "name": "photos", "images": "photos/images"}],
        "texts": [{"format": "text", "name": "stories", "files": "scenes/texts-*.txt"}],
        "tfidf": {"k": 20},
        "regions": {},
        "swaps": {"per_kind": 5},
        "back_translation": {"pivot_beam": 1, "pivot_texts": 1, "beam": 4, "n_best": 4},  # a sixth of the default number of candidates
        "retrieval": {"images": {"k": 10}, "texts": {"k": 10}},
    }


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except CmclError as error:
        sys.exit(f"cmcl demo: error: {error}")
