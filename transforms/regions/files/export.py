"""Exports a corpus's regions as UNITER's npz files, one per image, for code that reads those.

    python -m transforms.regions.files.export CORPUS FOLDER --name "coco_val2014_{number:012d}.npz"

It also writes `nbb_th0.2_max100_min10.json`, the number of boxes by file name, which UNITER's loader requires. A file contains norm_bb
[n, 6], features [n, D], conf [n], soft_labels [n, C], all float16; arrays that the corpus lacks are left out.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator

import numpy as np

from schemas import files
from schemas.corpus import Corpus, open_corpus
from schemas.errors import CorpusError
from schemas.regions import Regions, open_regions
from transforms.regions.files.base import check_template, key_of


def npz_bytes(regions: Regions) -> bytes:
    """The npz file of one image; deterministic."""
    arrays = {"norm_bb": regions.geometry_7[:, :6].astype(np.float16), "features": regions.features}
    if regions.confidence is not None:
        arrays["conf"] = regions.confidence.astype(np.float16)
    if regions.soft_labels is not None:
        arrays["soft_labels"] = regions.soft_labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def regions_of(corpus: Corpus, stage: str) -> Iterator[Regions]:
    """Every image's regions, in corpus order."""
    for partition in range(corpus.partitions):
        with open_regions(corpus, stage, partition) as file:
            for row in range(len(file)):
                yield file[row]


def export_npz(corpus: Corpus, stage: str, folder: str, name: str = "{stem}.npz", rule: str = "th0.2_max100_min10") -> int:
    """Exports all images of a stage's `regions`; returns their number.

    Raises CorpusError if two images would get the same file name, RegionFileError if `name` uses the number of an image that has none.
    """
    counts: dict[str, int] = {}
    for regions in regions_of(corpus, stage):
        file = key_of(regions.image_id, name)
        if file in counts:
            raise CorpusError(f"two images have the file name {file!r} (one is {regions.image_id}): choose another --name, with {{key}}")
        counts[file] = len(regions.boxes)
        with files.atomic_write(files.join(folder, file)) as sink:
            sink.write(npz_bytes(regions))
    with files.atomic_write(files.join(folder, f"nbb_{rule}.json")) as sink:
        sink.write(json.dumps(counts).encode())
    return len(counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("folder")
    parser.add_argument("--stage", default="regions", help="regions or image_regions")
    parser.add_argument("--name", default="{stem}.npz", type=check_template, help="{key}, {name}, {stem}, {number:012d}, text")
    given = parser.parse_args()
    print(f"{export_npz(open_corpus(given.corpus)[0], given.stage, given.folder, given.name)} files")
