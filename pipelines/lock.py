"""A lock that lets only one run at a time work on a corpus."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipelines.lease import has_exclusive_create, leased
from schemas import files
from schemas.corpus import LOCK
from schemas.errors import CorpusError

_NO_LOCK_ON_FOLDERS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EISDIR})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def corpus_lock(url: str) -> Iterator[OSError | None]:
    """Locks the corpus at `url` for this process, creating its folder. Yields the error that prevents writing there, or None.

    On a disk there are two locks, which the system releases however the process ends. One is on the folder itself, so that removing
    `.lock` does not let a second run in. The other is on `.lock`, which names the holder; on file systems that cannot lock folders (NFS)
    it is the only one, and there removing `.lock` does let a second run in.

    On S3 and Google Cloud Storage the lock is a lease (`pipelines/lease.py`). Other remote stores are not locked: two runs there write
    the same bytes under the same names.

    Raises CorpusError when another run holds the lock (naming the holder), or when `.lock` is a symbolic link or has hard links.
    """
    if has_exclusive_create(url):
        with leased(url):
            yield None
        return
    if not files.is_local(url):
        yield None
        return
    folder = files.local_path(url)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{folder}: cannot create the folder ({error.strerror}): name one that you can write to") from error
    with ExitStack() as held:
        _hold_folder(folder, url, held)
        try:
            _hold_file(folder, url, held)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            yield error
        else:
            yield None


def _hold_folder(folder: str, url: str, held: ExitStack) -> None:
    while True:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with ExitStack() as opened:
            opened.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _refusal(folder, url) from None
            except OSError as error:
                if error.errno not in _NO_LOCK_ON_FOLDERS:
                    raise
                return
            if _is_still(folder, descriptor):
                held.push(opened.pop_all())
                return


def _hold_file(folder: str, url: str, held: ExitStack) -> None:
    path = os.path.join(folder, LOCK)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise CorpusError(f"{path} is a link, but must be a plain file: remove it") from None
            raise
        with ExitStack() as opened:
            opened.callback(os.close, descriptor)
            if os.fstat(descriptor).st_nlink > 1:
                raise CorpusError(f"{path} has hard links, so a run would write to another file too: remove it")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _refusal(folder, url) from None
            if _is_still(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"cmcl {os.getpid()}\n".encode(), 0)
                held.push(opened.pop_all())
                return


def _is_still(path: str, descriptor: int) -> bool:
    """Whether the opened file is still the one at its path: it may have been replaced before it was locked."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=True), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _refusal(folder: str, url: str) -> CorpusError:
    try:
        with open(os.path.join(folder, LOCK), "rb") as file:
            holder = file.read(32).decode(errors="replace").removeprefix("cmcl ").strip()
    except OSError:
        holder = ""
    return CorpusError(f"another run (process {holder or 'unknown'}) is working on {url}: wait for it, or stop it")
