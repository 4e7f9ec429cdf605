"""The golden corpus: the demo's settings at a small size, every stage. Its hashes, table by table, are in `hashes.json`.

python -m tests.golden.make            writes them anew, after a change that is meant to change output
python -m tests.golden.make FOLDER [partitions=N] [workers=N]      makes the corpus in a folder, absent or empty, and prints them
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import load_config
from pipelines.demo import settings
from pipelines.run import corpus_of, run
from pipelines.scenes import make_scenes
from pipelines.verify import corpus_hash

HASHES = Path(__file__).with_name("hashes.json")
PACKAGES = ("numpy", "scipy", "sparse-dot-topn", "pillow", "torch", "torchvision", "spacy", "thinc", "lemminflect", "py3langid",
            "ctranslate2", "faiss-cpu", "sentencepiece", "sentence-transformers", "transformers", "sentencex", "rapidfuzz")  # fmt: skip
SCENES, SEED = 6, 7


def versions() -> dict[str, str]:
    """Of what the output depends on: with another version the hashes may be others."""
    return {name: version(name) for name in PACKAGES}


def made(folder: Path, **changes: Any) -> dict[str, str]:
    """Makes the corpus in a folder, with these settings in place of the demo's; returns its hashes by table."""
    make_scenes(str(folder / "scenes"), SCENES, SEED, texts=20)
    make_scenes(str(folder / "photos"), 2, SEED + 1, captions=False)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings() | {"partitions": 2} | changes), encoding="utf-8")
    config = load_config(str(path))
    run(config)
    corpus, index = corpus_of(config.corpus)
    return dict(corpus_hash(corpus, index))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        changes = {name: int(value) for name, _, value in (text.partition("=") for text in sys.argv[2:])}
        print(json.dumps(made(Path(sys.argv[1]), **changes)))
    else:
        with tempfile.TemporaryDirectory() as place:
            HASHES.write_text(json.dumps({"versions": versions(), "hashes": made(Path(place))}, indent=1) + "\n", encoding="utf-8")
