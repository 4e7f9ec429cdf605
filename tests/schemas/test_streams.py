"""A read of n bytes gives n bytes or all that is left, despite short reads and servers that chunk, compress, ignore or cut ranges, or hang."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import files, retries
from schemas.rejects import Reason
from schemas.retries import Waiting
from transforms.ingest.images.fetch import ImageError, close_files, read_bytes
from transforms.ingest.images.hosts import Hosts, host_of

DATA = random.Random(3).randbytes(7_000_000)  # more than one block of fsspec's
WAYS = (
    "plain",
    "ranges",
    "chunked",
    "compressed",
    "compressed, told",
    "ranges ignored",
    "ranges truncated",
    "ranges cut",
    "no length",
    "slow",
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA in the way that the path selects."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []

    def log_message(self, *_: object) -> None:
        """Suppresses the log."""

    def do_HEAD(self) -> None:  # noqa: N802
        self.answer(False)

    def do_GET(self) -> None:  # noqa: N802
        self.answer(True)

    def answer(self, body: bool) -> None:
        way = self.path[1:].partition("?")[0].replace("_", " ")
        self.asked.append(way)
        if way == "silent":
            time.sleep(3)
            return
        if way in ("unavailable", "missing"):
            self.send_response(503 if way == "unavailable" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = DATA
        found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if way.startswith("ranges") else None
        start = 0
        if found and way != "ranges ignored":
            start, end = int(found[1]), min(int(found[2]) + 1, len(DATA))
            data = DATA[start:end]
            if way == "ranges truncated":
                data = data[:1_000_000]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{len(DATA)}")
        else:
            self.send_response(200)
        packed = way.startswith("compressed") and (body or way == "compressed, told")
        if packed:
            data = gzip.compress(data, 1)
            self.send_header("Content-Encoding", "gzip")
        if way == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif way == "no length":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.send(way, data)

    def send(self, way: str, data: bytes) -> None:
        try:
            if way == "ranges cut" and len(self.asked) % 3 == 0:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            elif way == "chunked":
                for at in range(0, len(data), 99_991):
                    piece = data[at : at + 99_991]
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")
            elif way == "slow":
                for at in range(0, len(data), 1 << 20):
                    self.wfile.write(data[at : at + (1 << 20)])
                    time.sleep(0.01)
            else:
                self.wfile.write(data)
        except OSError:
            self.close_connection = True


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="needs cmcl[http]")
    held = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.daemon_threads = True
    threading.Thread(target=held.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{held.server_address[1]}"
    held.shutdown()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(retries, "_in_force", Waiting(retries_s=(0.01,) * 5))
    close_files()


@pytest.mark.parametrize("way", WAYS)
def test_a_web_server_of_any_kind_gives_what_was_asked_for(way, server):
    url = f"{server}/{way.replace(' ', '_')}"
    with files.open_read(url) as file:
        assert file.read(10) == DATA[:10]
        assert file.read(6_500_000) == DATA[10:6_500_010]
        file.seek(100)
        assert file.read(5) == DATA[100:105]
        assert file.read() == DATA[105:]
        assert file.read(1) == b""
    assert read_bytes(url) == DATA
    assert read_bytes(url, 6_000_000, 300) == DATA[6_000_000:6_000_300]


def test_a_server_that_never_answers_is_given_up(server, monkeypatch):
    retries.use(Waiting(retries_s=(0.01,) * 5, connect_s=0.4, silence_s=0.4, give_up_s=0.5))
    begun = time.monotonic()
    with pytest.raises(ImageError) as caught:
        read_bytes(f"{server}/silent")
    assert caught.value.reason == Reason.IMAGE_UNREACHABLE and time.monotonic() - begun < 8


def test_transient_errors_are_distinguished_from_permanent_ones(server, monkeypatch, tmp_path):
    for url, reason in (
        (f"{server}/unavailable", Reason.IMAGE_UNREACHABLE),
        ("http://127.0.0.1:9/x.jpg", Reason.IMAGE_UNREACHABLE),
        (str(tmp_path / "none.jpg"), Reason.IMAGE_MISSING),
        (str(tmp_path), Reason.IMAGE_UNREADABLE),
    ):
        with pytest.raises(ImageError) as caught:
            read_bytes(url)
        assert caught.value.reason == reason, caught.value.detail
    for number, reason in ((5, Reason.IMAGE_UNREACHABLE), (116, Reason.IMAGE_UNREACHABLE), (13, Reason.IMAGE_UNREADABLE)):

        def failing(_: str, number: int = number) -> Any:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files, "open_regular", failing)
        with pytest.raises(ImageError) as caught:
            read_bytes(str(tmp_path / "a.jpg"))
        assert caught.value.reason == reason


class ShortReads(MemoryFileSystem):
    """A store whose files return a limited number of bytes per read, sometimes fewer, and sometimes fail."""

    protocol = "short"
    cachable = False
    store: dict[str, Any] = {}

    def __init__(self, *args: Any, at_most: int = 1000, breaks: float = 0.0, told: bool = True, **options: Any):
        super().__init__(*args, **options)
        self.at_most, self.breaks, self.told, self.lottery = at_most, breaks, told, random.Random(7)

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        return _Short(self)


class _Short(io.BytesIO):
    def __init__(self, fs: ShortReads):
        super().__init__(DATA[:20_000])
        self.fs = fs
        if fs.told:
            self.size = 20_000

    def read(self, size: int | None = -1) -> bytes:
        if self.fs.lottery.random() < self.fs.breaks:
            raise ConnectionResetError("cut")
        wanted = 20_000 if size is None or size < 0 else size
        return super().read(min(wanted, self.fs.lottery.randint(1, self.fs.at_most)))


@settings(max_examples=60)
@given(
    st.integers(50, 3000),
    st.lists(st.one_of(st.integers(0, 9000), st.just(-1)), max_size=6),
    st.booleans(),
    st.integers(0, 20_000),
    st.sampled_from([0.0, 0.2]),
)
def test_short_reads_are_put_together(at_most, sizes, told, start, breaks):
    original = retries.waiting()
    retries.use(Waiting(retries_s=(0.0,) * 60))
    try:
        reader = retries.RetryingReader(ShortReads(at_most=at_most, told=told, breaks=breaks if told else 0.0), "x")
        reader.seek(start)
        place = start
        for size in sizes:
            wanted = DATA[place:20_000] if size < 0 else DATA[place : min(place + size, 20_000)]
            assert reader.read(size) == wanted
            place += len(wanted)
        buffer = bytearray(700)
        count = reader.readinto(buffer)
        assert buffer[:count] == DATA[place : min(place + 700, 20_000)]
    finally:
        retries.use(original)


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "/dev/random", "."])
def test_what_is_not_a_file_is_refused_without_blocking(place, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    begun = time.monotonic()
    with pytest.raises(OSError, match="not a file"):
        files.open_read(str(tmp_path / place))
    with pytest.raises(ImageError):
        read_bytes(str(tmp_path / place))
    with pytest.raises(ImageError):
        read_bytes(str(tmp_path / place), 0, 10)
    assert time.monotonic() - begun < 2


def test_settings_of_the_web_are_those_of_fsspec_where_it_has_some(monkeypatch):
    pytest.importorskip("aiohttp", reason="needs cmcl[http]")
    assert retries.web_arguments()["client_kwargs"]["timeout"].sock_read == 30
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"trust_env": True}})
    assert retries.web_arguments() == {}


def test_a_host_that_keeps_failing_is_given_up_and_tried_again_later(server):
    retries.use(Waiting(retries_s=(), host_failures=3, host_rest_s=3600))
    Handler.asked.clear()
    details = []
    for number in range(9):
        with pytest.raises(ImageError) as caught:
            read_bytes(f"{server}/unavailable?{number}")
        assert caught.value.reason == Reason.IMAGE_UNREACHABLE
        details.append(caught.value.detail)
    assert sum("not tried, since http://127.0.0.1" in detail for detail in details) == 6
    asked = len(Handler.asked)
    with pytest.raises(ImageError, match="not tried"):
        read_bytes(f"{server}/plain", 0, 10)
    assert len(Handler.asked) == asked
    assert read_bytes(f"{server}/plain".replace("127.0.0.1", "localhost")) == DATA  # another host
    retries.use(Waiting(retries_s=(), host_failures=3, host_rest_s=0))
    assert read_bytes(f"{server}/plain") == DATA
    retries.use(Waiting(retries_s=(), host_failures=3, host_rest_s=3600))
    for path, reason in (("unavailable", Reason.IMAGE_UNREACHABLE), ("missing", Reason.IMAGE_MISSING)) * 4:  # a 404 is an answer
        with pytest.raises(ImageError) as caught:
            read_bytes(f"{server}/{path}")
        assert caught.value.reason == reason and "not tried" not in caught.value.detail


def test_one_caller_at_a_time_tries_a_host_that_has_rested():
    hosts, host = Hosts(), host_of("https://user:secret@Example.org:8080/a/b.jpg")
    assert host == "https://example.org:8080" and host_of("simplecache::s3://bucket/a") == "s3://bucket" and host_of("/a/b.jpg") == ""
    retries.use(Waiting(host_failures=1, host_rest_s=0.05))
    hosts.note(host, failed=True)
    hosts.note("", failed=True)
    assert hosts.is_given_up(host) and not hosts.is_given_up("")
    time.sleep(0.06)
    assert [hosts.is_given_up(host) for _ in range(3)] == [False, True, True]
    hosts.note(host, failed=False)
    assert not hosts.is_given_up(host)
