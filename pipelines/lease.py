"""A lease that lets only one run at a time work on a corpus in an object store: an object that the run creates, renews and removes.

S3 and Google Cloud Storage support exclusive creation (`If-None-Match: *`, `ifGenerationMatch=0`), so only one of two runs succeeds.
A killed run leaves its object behind. Another run takes it over at once if the holder was a process on the same machine that no longer
exists, otherwise once the lease has not been renewed for `LEASE_S`. If two runs take over at the same time, the one whose id is not in
the object gives up. A run that finds at its renewal that the object was removed creates it again; if another run has come in meanwhile,
the first one stops.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from schemas import files
from schemas.errors import CorpusError
from schemas.retries import retried
from transforms.core.task import cancel_tasks

NAME = ".lock"
LEASE_S = 300.0  # a run that has not renewed for so long is considered dead; machines' clocks must agree far better than this
RENEW_S = 60.0
_AGAIN_S = 20.0  # then a run that lost its lease is interrupted again: an interrupt during garbage collection is ignored by Python
SETTLE_S = 2.0  # time for a competing run that read the same expired lease to write its own
_PRECONDITION_FAILED = 412
_EXCLUSIVE = frozenset({"s3", "s3a", "gs", "gcs"})


def has_exclusive_create(url: str) -> bool:
    """Whether the store at a URL can create an object only if it does not exist."""
    return url.partition("://")[0] in _EXCLUSIVE


@contextmanager
def leased(url: str) -> Iterator[None]:
    """Holds the lease on the corpus at `url` (in an object store) while the block runs.

    Raises CorpusError, naming the holder, when another run holds the lease, or takes it while the block runs, which is then interrupted.
    """
    fs, path = files.filesystem(files.join(url, NAME))
    ours = {"host": socket.gethostname(), "process": os.getpid(), "run": uuid.uuid4().hex}
    if not _created(fs, path, ours):
        _refuse_if_alive(_read(fs, path), url)
        retried(fs, lambda: _removed(fs, path))
        created = _created(fs, path, ours)
        time.sleep(SETTLE_S)
        holder = _read(fs, path)
        if not created or holder.get("run") != ours["run"]:
            raise CorpusError(_text(holder, url))
    stop, lost = threading.Event(), list[dict[str, Any]]()
    interrupt = threading.current_thread() is threading.main_thread()
    renewal = threading.Thread(target=_renew, args=(fs, path, ours, stop, lost, interrupt), daemon=True, name="corpus-lease")
    renewal.start()
    try:
        yield
    except BaseException as error:
        if lost:
            raise CorpusError(_lost_text(lost[0], url)) from error
        raise
    finally:
        stop.set()
        renewal.join()
        if _read(fs, path).get("run") == ours["run"]:
            retried(fs, lambda: _removed(fs, path))
    if lost:
        raise CorpusError(_lost_text(lost[0], url))


def _created(fs: fsspec.AbstractFileSystem, path: str, ours: dict[str, Any]) -> bool:
    try:
        retried(fs, lambda: _create(fs, path, _encoded(ours)))
    except FileExistsError:
        return bool(_read(fs, path).get("run") == ours["run"])  # an earlier attempt created it, and only the response was lost
    return True


def _create(fs: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    try:
        fs.pipe_file(path, data, mode="create")
    except OSError as error:
        response = getattr(error.__cause__, "response", None)
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        if status == _PRECONDITION_FAILED:  # s3fs maps only Amazon's response to FileExistsError
            raise FileExistsError(path) from error
        raise


def _renew(
    fs: fsspec.AbstractFileSystem, path: str, ours: dict[str, Any], stop: threading.Event, lost: list[dict[str, Any]], interrupt: bool
) -> None:
    """Renews the lease until `stop`. If another run has it, or it has expired, adds the holder to `lost` and stops this run's tasks."""
    renewed = time.monotonic()
    while not stop.wait(RENEW_S):
        try:
            holder = _renewed(fs, path, ours)
        except Exception:  # the store does not respond
            if time.monotonic() - renewed < LEASE_S:
                continue
            holder = {}
        if holder is None:
            renewed = time.monotonic()
            continue
        lost.append(holder)
        cancel_tasks()
        while interrupt and not stop.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            stop.wait(_AGAIN_S)
        return


def _renewed(fs: fsspec.AbstractFileSystem, path: str, ours: dict[str, Any]) -> dict[str, Any] | None:
    """Renews the lease, or takes it again if its object was removed; returns the holder if that is another run."""
    holder = _read(fs, path)
    if holder.get("run") == ours["run"]:
        retried(fs, lambda: fs.pipe_file(path, _encoded(ours)))
        return None
    return None if not holder and _created(fs, path, ours) else _read(fs, path)


def _encoded(ours: dict[str, Any]) -> bytes:
    return json.dumps({**ours, "renewed": time.time()}).encode()


def _read(fs: fsspec.AbstractFileSystem, path: str) -> dict[str, Any]:
    fs.invalidate_cache()
    try:
        value = json.loads(retried(fs, lambda: fs.cat_file(path)))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _removed(fs: fsspec.AbstractFileSystem, path: str) -> None:
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        pass


def _refuse_if_alive(holder: dict[str, Any], url: str) -> None:
    """Raises CorpusError when the holder of a lease may still be running."""
    renewed = holder.get("renewed")
    if not isinstance(renewed, int | float) or time.time() - renewed > LEASE_S:
        return
    process = holder.get("process")
    if holder.get("host") == socket.gethostname() and isinstance(process, int) and not _is_alive(process):
        return
    raise CorpusError(_text(holder, url))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _named(holder: dict[str, Any]) -> str:
    return f"another run (process {holder.get('process', 'unknown')} on {holder.get('host', 'an unknown host')})"


def _text(holder: dict[str, Any], url: str) -> str:
    return (
        f"{_named(holder)} is working on {url}: wait for it, or stop it; "
        f"a killed run is considered dead {LEASE_S:.0f} s after it last renewed {files.join(url, NAME)}"
    )


def _lost_text(holder: dict[str, Any], url: str) -> str:
    return (
        f"{_named(holder)} has taken over {url}, because {files.join(url, NAME)} was removed or this run did not renew it in time; "
        "this run has stopped: when the other one has ended, run `cmcl verify CORPUS`"
    )
