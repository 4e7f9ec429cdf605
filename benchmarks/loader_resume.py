"""Time until the first batch when training resumes: at the start, in the middle and at the end of an epoch of a million pairs.

    python -m benchmarks.loader_resume WORK [--images 200000] [--captions 5]

Prints, for each position, wall-clock and CPU seconds from opening the corpus to the first batch in a new process (excluding the import of
libraries, which takes longer; pyarrow imports pandas at its first use, if it is installed).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.training_corpus import Sizes, write_corpus

_PROBE = """
import json, sys, time
import pyarrow as pa
from model.data.loader import Batches, ShardLoader
from model.data.settings import DataSettings
pa.array([1]).to_numpy()
url, share = sys.argv[1], float(sys.argv[2])
start, worked = time.perf_counter(), time.process_time()
batches = Batches(DataSettings(corpus=url, mix={"pairs": 1}, batch={"pairs": 64}), seed=0)
opened = time.perf_counter()
loader = ShardLoader(batches)
loader.load_state({"step": int(share * (len(batches) - 1)) + 3 * len(batches), "order": batches.fingerprint})
batch = next(iter(loader))
print(json.dumps({"epoch_share": share, "rows": batches.facts.rows["pairs"], "seconds": round(time.perf_counter() - start, 3),
                  "of which opening": round(opened - start, 3), "CPU seconds": round(time.process_time() - worked, 3)}))
"""


def main() -> None:
    """Writes the corpus unless it exists, and runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--captions", type=int, default=5)
    given = parser.parse_args()
    folder = given.work / f"resume-{given.images}-{given.captions}"
    if not (folder / "corpus.json").exists():
        write_corpus(str(folder), Sizes(given.images, given.captions, alone=0, texts=0, partitions=16, features=16, negatives=4))
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        found = subprocess.run([sys.executable, "-c", _PROBE, str(folder), str(share)], check=True, capture_output=True, text=True)
        print(json.loads(found.stdout))


if __name__ == "__main__":
    main()
