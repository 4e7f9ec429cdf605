"""One run at a time on a corpus."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.lease import has_exclusive_create, leased
from schemas import files
from schemas.errors import CorpusError


@contextmanager
def corpus_lock(url: str) -> Iterator[None]:
    """Holds the corpus at a URL for this process.

    On a disk the lock goes with the process, however it ends. In S3 and Google's store it is a lease (`pipelines/lease.py`). On other
    remote stores nothing is held: two runs there write the same bytes under the same names.

    Raises CorpusError, naming the holder, when another run holds it.
    """
    if has_exclusive_create(url):
        with leased(url):
            yield
        return
    if not files.is_local(url):
        yield
        return
    folder = files.local_path(url)
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise CorpusError(f"another run (process {holder}) is working on {url}: wait for it, or end it") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
