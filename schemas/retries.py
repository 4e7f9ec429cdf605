"""Stores that fail now and then: which errors pass, how long to wait, and a reader that goes on where it broke off."""

from __future__ import annotations

import errno
import io
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fsspec import AbstractFileSystem
from fsspec.config import conf
from fsspec.implementations.local import LocalFileSystem

WAITS_S = (0.1, 0.3, 1.0, 3.0, 6.0, 12.0)  # before each further try, each taken 0.5 to 1.5 times: 11 to 34 s in all
GIVE_UP_S = 60.0  # since the first try: then no further one is begun
CONNECT_S, SILENCE_S, REQUEST_S = 10.0, 30.0, 600.0  # to reach a web server; between two pieces of its answer; for all of an answer
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError, io.UnsupportedOperation)
_LASTING_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG})
_PASSING_STATUS = frozenset({408, 425, 429})
_CLIENTS = frozenset({"aiohttp", "botocore", "aiobotocore", "requests", "urllib3", "http"})  # whose own errors are of the network

T = TypeVar("T")


def may_pass(error: BaseException) -> bool:
    """Whether an error of a remote store may be gone at the next try: cut connections, time-outs, 5xx and requests to slow down."""
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return may_pass(error.__cause__)  # what fsspec makes of any error of a web server
    if isinstance(error, _LASTING) or (isinstance(error, OSError) and error.errno in _LASTING_NUMBERS):
        return False
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int):
        return status in _PASSING_STATUS or status >= 500
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        number = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return number in _PASSING_STATUS or number >= 500
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLIENTS


def is_local_filesystem(fs: AbstractFileSystem) -> bool:
    """Whether a filesystem is this machine's, whose errors do not pass by themselves."""
    return isinstance(fs, LocalFileSystem)


def retried(fs: AbstractFileSystem, action: Callable[[], T]) -> T:
    """What an action on a store returns; on a remote one it is tried again when its error may pass. Raises the last error."""
    if is_local_filesystem(fs):
        return action()
    begun = time.monotonic()
    for wait in WAITS_S:
        try:
            return action()
        except Exception as error:
            if not may_pass(error) or time.monotonic() - begun > GIVE_UP_S:
                raise
        time.sleep(wait * random.uniform(0.5, 1.5))
    return action()


def web_arguments() -> dict[str, Any]:
    """Arguments of a web server's filesystem: bytes as they are rather than compressed, so that ranges count them, and an end to waiting.

    fsspec's configuration (`http`, `client_kwargs`) goes before them.
    """
    if "client_kwargs" in conf.get("http", {}):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=REQUEST_S, sock_connect=CONNECT_S, sock_read=SILENCE_S),
                              "headers": {"Accept-Encoding": "identity"}}}


def is_web(fs: AbstractFileSystem) -> bool:
    """Whether a filesystem is a plain web server's."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    return bool(protocols & {"http", "https"})


def strict(fs: AbstractFileSystem) -> dict[str, str]:
    """Arguments under which a listing raises where fsspec would leave out what it failed to list."""
    return {"on_error": "raise"} if is_web(fs) else {}


def is_there(fs: AbstractFileSystem, look: Callable[[], bool]) -> bool:
    """What a look for a file or folder says; a web server's no is asked for again, since fsspec takes any error of one for a no."""
    for wait in WAITS_S[:4] if is_web(fs) else ():
        if retried(fs, look):
            return True
        time.sleep(wait * random.uniform(0.5, 1.5))
    return retried(fs, look)


def _is_of_ranges(error: Exception) -> bool:
    """Whether a web server answered a range with something else: the whole, or a part of the compressed whole."""
    return isinstance(error, ValueError) or type(error).__name__ in ("ClientPayloadError", "ContentEncodingError")


class RetryingReader(io.RawIOBase):
    """A remote file for reading that is opened anew, at the same place, when an error that may pass breaks a read.

    A read of n bytes brings n, or what there is to the end: what comes in short pieces is put together, and nothing where the store says
    there is more counts as a cut connection. A web server that takes no ranges is read as a stream. Raises as `retried` does.
    """

    def __init__(self, fs: AbstractFileSystem, path: str):
        self._fs = fs
        self._path = path
        self._place = 0
        self._file: Any = None
        self._size: int | None = None
        self._streamed = False
        retried(fs, self._opened)

    @property
    def name(self) -> str:
        """The path of the file in its store."""
        return self._path

    @property
    def size(self) -> int | None:
        """Bytes of the file; None when the store does not tell."""
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
        """Whether the file behind it can be read from any place."""
        return bool(self._opened().seekable())

    def tell(self) -> int:
        """The place of the next read, bytes."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the place of the next read. Raises OSError when the file cannot."""
        if whence == io.SEEK_END:
            if self._size is None:
                raise io.UnsupportedOperation(f"{self._path}: the store does not tell its size")
            offset += self._size
        elif whence == io.SEEK_CUR:
            offset += self._place
        if offset < 0:
            raise ValueError(f"{self._path}: negative place {offset}")
        self._place = offset
        return offset

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from the present place on; fewer than asked for only at the end."""
        wanted = None if size is None or size < 0 else size
        pieces: list[bytes] = []
        got = 0
        while wanted is None or got < wanted:
            left = -1 if wanted is None else wanted - got
            data = retried(self._fs, partial(self._read_once, left))
            if not data:
                break
            self._place += len(data)
            got += len(data)
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readall(self) -> bytes:
        """Everything from the present place on."""
        return self.read(-1)

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns how many bytes."""
        data = self.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[:len(data)] = data
        return len(data)

    def _read_once(self, size: int) -> bytes:
        """Some bytes of the next `size` (-1: of all); none at the end alone."""
        if self._size is not None:
            due = max(self._size - self._place, 0)
            if not due:
                return b""
            size = due if size < 0 else min(size, due)
        try:
            file = self._opened()
            self._go_to_place(file)
            data: bytes = file.read(size)
        except Exception as error:
            self._drop()
            if not self._streamed and self._size is not None and is_web(self._fs) and _is_of_ranges(error):
                self._streamed = True
                if not isinstance(error, ValueError):  # it is compressed on its way: what size it has is not known
                    self._size = None
                raise ConnectionError(f"{self._path}: its server takes no ranges") from error
            raise
        if not data and self._size is not None:
            self._drop()
            raise ConnectionError(f"{self._path}: nothing came where {size} bytes were due")
        return data

    def _go_to_place(self, file: Any) -> None:
        if self._size is not None and not self._streamed:
            file.seek(self._place)
            return
        if file.tell() > self._place:  # a stream, whose server takes no ranges, goes one way
            self._drop()
            file = self._opened()
        missing = self._place - file.tell()
        while missing > 0:
            skipped = len(file.read(min(missing, 1 << 20)))
            if not skipped:
                raise ConnectionError(f"{self._path}: ends before place {self._place}")
            missing -= skipped

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except Exception as error:
                if not may_pass(error):
                    raise

    def close(self) -> None:
        """Closes the file behind it."""
        if not self.closed:
            self._drop()
        super().close()
