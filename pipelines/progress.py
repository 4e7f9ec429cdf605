"""Progress bars of a local run, driven by the task records that appear in the corpus's folders."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from schemas import files
from schemas.corpus import Corpus
from transforms.core.stage import Stage

_INTERVAL_S = 0.25


@contextmanager
def progress_bars(corpus: Corpus, stages: Sequence[Stage], show: bool) -> Iterator[None]:
    """Shows a progress bar per stage on standard error while the block runs; only for corpora on a local disk."""
    if not show or not files.is_local(corpus.url):
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(corpus, stages, time.time(), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(corpus: Corpus, stages: Sequence[Stage], since: float, stop: threading.Event) -> None:
    for stage in stages:
        total = 1 if stage.corpus_wide else corpus.partitions
        with tqdm(total=total, desc=f"{stage.name:<18}", unit="part", leave=True, dynamic_ncols=True) as bar:
            while not stop.is_set():
                done, whole = _fresh(corpus, stage, since)
                bar.update(done - bar.n)
                if whole:
                    bar.update(total - bar.n)
                    break
                stop.wait(_INTERVAL_S)
            else:
                done, whole = _fresh(corpus, stage, since)
                bar.update((total if whole else done) - bar.n)


def _fresh(corpus: Corpus, stage: Stage, since: float) -> tuple[int, bool]:
    """The number of tasks recorded since `since` (Unix time, s), and whether the stage's manifest was written since."""
    done, whole = 0, False
    try:
        with os.scandir(files.local_path(corpus.folder(stage.name))) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and entry.stat().st_mtime >= since - 1e-3:
                    whole = whole or entry.name == "manifest.json"
                    done += entry.name.startswith("task")
    except FileNotFoundError:
        pass
    return done, whole
