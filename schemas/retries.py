"""Retries for remote stores: which errors are transient, how long to wait, and a reader that resumes after an error."""

from __future__ import annotations

import errno
import io
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fsspec import AbstractFileSystem
from fsspec.config import conf
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import CLIENTS

_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError, io.UnsupportedOperation)
_PERMANENT_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG})
_TRANSIENT_STATUS = frozenset({408, 425, 429})

T = TypeVar("T")
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
TimeOut = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Waiting(BaseModel):
    """How long remote stores and web servers are waited for. The defaults of `retries_s` add up to 11 to 34 s."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retries_s: tuple[Seconds, ...] = Field(
        default=(0.1, 0.3, 1.0, 3.0, 6.0, 12.0),
        max_length=100,
        description="seconds before each retry after a transient error, multiplied by 0.5 to 1.5",
    )
    give_up_s: Seconds = Field(default=60.0, description="seconds after the first attempt after which nothing is retried")
    connect_s: TimeOut = Field(default=10.0, description="time-out for connecting to a web server")
    silence_s: TimeOut = Field(default=30.0, description="time-out between two reads from a web server")
    request_s: TimeOut = Field(default=600.0, description="time-out for a web server's whole response")
    host_failures: int = Field(
        default=4, ge=1, description="number of unreachable images in a row after which a host's other images are not tried"
    )
    host_rest_s: Seconds = Field(default=300.0, description="seconds after which such a host is tried again")


_in_force = Waiting()


def use(settings: Waiting) -> None:
    """Sets how long this process waits."""
    global _in_force
    _in_force = settings


def waiting() -> Waiting:
    """How long this process waits."""
    return _in_force


def is_transient(error: BaseException) -> bool:
    """Whether an error of a remote store is worth a retry: broken connections, time-outs, HTTP 5xx and throttling."""
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return is_transient(error.__cause__)  # fsspec raises it for any error of a web server
    if isinstance(error, _PERMANENT) or (isinstance(error, OSError) and error.errno in _PERMANENT_ERRNOS):
        return False
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int):
        return status in _TRANSIENT_STATUS or status >= 500
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        number = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return number in _TRANSIENT_STATUS or number >= 500
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CLIENTS


def is_local_filesystem(fs: AbstractFileSystem) -> bool:
    """Whether a filesystem is the local one, whose errors are not transient."""
    return isinstance(fs, LocalFileSystem)


def retried(fs: AbstractFileSystem, action: Callable[[], T]) -> T:
    """Runs an action on a store and returns its result; on a remote store, transient errors are retried. Raises the last error."""
    if is_local_filesystem(fs):
        return action()
    begun = time.monotonic()
    for wait in _in_force.retries_s:
        try:
            return action()
        except Exception as error:
            if not is_transient(error) or time.monotonic() - begun > _in_force.give_up_s:
                raise
        time.sleep(wait * random.uniform(0.5, 1.5))
    return action()


def web_arguments() -> dict[str, Any]:
    """Arguments for fsspec's HTTP filesystem: time-outs, and no content encoding, so that ranges count uncompressed bytes.

    fsspec's own configuration (`http`, `client_kwargs`) takes precedence.
    """
    if "client_kwargs" in conf.get("http", {}):
        return {}
    import aiohttp

    return {
        "client_kwargs": {
            "timeout": aiohttp.ClientTimeout(total=_in_force.request_s, sock_connect=_in_force.connect_s, sock_read=_in_force.silence_s),
            "headers": {"Accept-Encoding": "identity"},
        }
    }


def is_web(fs: AbstractFileSystem) -> bool:
    """Whether a filesystem is a plain web server."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    return bool(protocols & {"http", "https"})


def strict(fs: AbstractFileSystem) -> dict[str, str]:
    """Arguments that make a listing raise where fsspec would silently omit entries it failed to list."""
    return {"on_error": "raise"} if is_web(fs) else {}


def is_there(fs: AbstractFileSystem, look: Callable[[], bool]) -> bool:
    """The result of an existence check; a web server's "no" is retried, since fsspec reports any error of one as "no"."""
    for wait in _in_force.retries_s[:4] if is_web(fs) else ():
        if retried(fs, look):
            return True
        time.sleep(wait * random.uniform(0.5, 1.5))
    return retried(fs, look)


def _is_of_ranges(error: Exception) -> bool:
    """Whether a web server did not honour a range request: it sent the whole file, or a range of the compressed file."""
    return isinstance(error, ValueError) or type(error).__name__ in ("ClientPayloadError", "ContentEncodingError")


class RetryingReader(io.RawIOBase):
    """A remote file for reading that is reopened at the same position when a transient error breaks a read.

    A read of n bytes returns n, or all up to the end of the file: short reads are continued, and an empty read before the end counts as
    a broken connection. If a web server does not support ranges, the file is read as a stream. Raises as `retried` does.
    """

    def __init__(self, fs: AbstractFileSystem, path: str):
        self._fs = fs
        self._path = path
        self._position = 0
        self._file: Any = None
        self._size: int | None = None
        self._streamed = False
        retried(fs, self._opened)

    @property
    def name(self) -> str:
        """The file's path in its store."""
        return self._path

    @property
    def size(self) -> int | None:
        """Size of the file in bytes; None when the store does not report it."""
        return self._size

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._fs.open(self._path, "rb", **({"block_size": 0} if self._streamed else {}))
            if not self._streamed:
                size = getattr(self._file, "size", None)
                self._size = size if isinstance(size, int) else None
        return self._file

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Whether the underlying file can be read from any position."""
        return bool(self._opened().seekable())

    def tell(self) -> int:
        """The position of the next read, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position of the next read. Raises OSError when the file does not support it."""
        if whence == io.SEEK_END:
            if self._size is None:
                raise io.UnsupportedOperation(f"{self._path}: the store does not report its size")
            offset += self._size
        elif whence == io.SEEK_CUR:
            offset += self._position
        if offset < 0:
            raise ValueError(f"{self._path}: negative position {offset}")
        self._position = offset
        return offset

    def read(self, size: int | None = -1) -> bytes:
        """Reads from the current position; fewer bytes than requested only at the end."""
        wanted = None if size is None or size < 0 else size
        pieces: list[bytes] = []
        got = 0
        while wanted is None or got < wanted:
            left = -1 if wanted is None else wanted - got
            data = retried(self._fs, partial(self._read_once, left))
            if not data:
                break
            self._position += len(data)
            got += len(data)
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readall(self) -> bytes:
        """Everything from the current position on."""
        return self.read(-1)

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer; returns the number of bytes."""
        data = self.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)

    def _read_once(self, size: int) -> bytes:
        """At least one of the next `size` bytes (-1: of all remaining); none only at the end."""
        if self._size is not None:
            due = max(self._size - self._position, 0)
            if not due:
                return b""
            size = due if size < 0 else min(size, due)
        try:
            file = self._opened()
            self._go_to_position(file)
            data: bytes = file.read(size)
        except Exception as error:
            self._drop()
            if not self._streamed and self._size is not None and is_web(self._fs) and _is_of_ranges(error):
                self._streamed = True
                if not isinstance(error, ValueError):  # sent compressed: its real size is unknown
                    self._size = None
                raise ConnectionError(f"{self._path}: its server does not support ranges") from error
            raise
        if not data and self._size is not None:
            self._drop()
            raise ConnectionError(f"{self._path}: received no data where {size} bytes were expected")
        return data

    def _go_to_position(self, file: Any) -> None:
        if self._size is not None and not self._streamed:
            file.seek(self._position)
            return
        if file.tell() > self._position:  # a stream cannot go back
            self._drop()
            file = self._opened()
        missing = self._position - file.tell()
        while missing > 0:
            skipped = len(file.read(min(missing, 1 << 20)))
            if not skipped:
                raise ConnectionError(f"{self._path}: ends before position {self._position}")
            missing -= skipped

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except Exception as error:
                if not is_transient(error):
                    raise

    def close(self) -> None:
        """Closes the underlying file."""
        if not self.closed:
            self._drop()
        super().close()
