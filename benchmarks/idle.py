"""What a large corpus costs when nothing, or next to nothing, is to be done: CPU and wall seconds, and peak memory, of each command.

    python -m benchmarks.idle [--captions 1000000] [--partitions 1024] [--scenes 2000]

The captions are those of `--scenes` synthetic scenes, which other images repeat; there are no pixels. Only `pairs` and `examples` are made:
planning, status and a run with nothing to do depend on files and partitions, not on what a stage computes. Each command is a process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=1024)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--added", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cmcl-idle-") as folder:
        source, config = Path(folder, "captions.tsv"), Path(folder, "config.yaml")
        write_captions(source, args.captions, args.scenes)
        settings = {
            "corpus": str(Path(folder, "corpus")),
            "partitions": args.partitions,
            "pixels": False,
            "tfidf": None,
            "pairs": [{"format": "tsv", "name": "made", "captions": str(source)}],
        }
        config.write_text(json.dumps(settings))
        for title, *arguments in (
            ("planning before the first run", "status"),
            ("first run", "run", "--quiet"),
            ("status", "status"),
            ("a run with nothing to do", "run", "--quiet"),
        ):
            measured(title, *arguments, str(config))
        with source.open("a", encoding="utf-8") as file:
            file.writelines(f"a dog sees number {number}\tadded-{number // 5}\n" for number in range(args.added))
        for title, *arguments in (
            (f"status --why with {args.added} rows more", "status", "--why"),
            (f"an addition of {args.added} rows", "run", "--quiet"),
        ):
            measured(title, *arguments, str(config))


def write_captions(path: Path, many: int, scenes: int) -> None:
    """Writes a table of `many` captions, five an image."""
    held = [caption.text for at in range(scenes) for caption in captions(sample_scene(5, at), 5)]
    with path.open("w", encoding="utf-8") as file:
        file.write("caption\timage\n")
        for number in range(many):
            again, at = divmod(number, len(held))
            file.write(f"{held[at]}\t{again}-{at // 5}\n")


def measured(title: str, *arguments: str) -> None:
    """Runs a `cmcl` command and prints what it took; raises RuntimeError with its output if it fails."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", *arguments], stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        if status:
            raise RuntimeError(f"{title}: {said.read()[-2000:]}")
        lines = [line.strip() for line in islice(said, 200) if "rows to make" in line]
    wall, cpu = time.monotonic() - start, used.ru_utime + used.ru_stime
    print(f"{title}: {cpu:.1f} s of CPU, {wall:.1f} s, {used.ru_maxrss / 1024:,.0f} MB; {'; '.join(lines)}", flush=True)


if __name__ == "__main__":
    main()
