"""Real object stores on this machine, and a proxy that makes their requests fail at times."""

from __future__ import annotations

import http.server
import random
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pipelines.job_servers.cache import go_program
from pipelines.job_servers.service import Service

MINIO = ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
FAKE_GCS = ("github.com/fsouza/fake-gcs-server", "v1.56.1")
USER, SECRET = "cmcl-test", "cmcl-test-secret"


def free_port() -> int:
    """An unused port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def await_http(url: str, timeout_s: float = 120) -> None:
    """Waits until a server responds at all."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def minio(folder: Path) -> Iterator[str]:
    """A MinIO server; yields its endpoint."""
    port = free_port()
    with Service(
        "minio",
        [
            go_program(*MINIO),
            "server",
            str(folder),
            "--address",
            f"127.0.0.1:{port}",
            "--console-address",
            f"127.0.0.1:{free_port()}",
            "--quiet",
        ],
        {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": SECRET},
    ):
        await_http(f"http://127.0.0.1:{port}/minio/health/ready")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def fake_gcs(folder: Path) -> Iterator[str]:
    """A fake-gcs-server; yields its endpoint."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with Service(
        "fake-gcs",
        [
            go_program(*FAKE_GCS),
            "-scheme",
            "http",
            "-host",
            "127.0.0.1",
            "-port",
            str(port),
            "-public-host",
            f"127.0.0.1:{port}",
            "-external-url",
            endpoint,
            "-filesystem-root",
            str(folder),
            "-log-level",
            "warn",
        ],
    ):
        await_http(f"{endpoint}/storage/v1/b")
        yield endpoint


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """A plain HTTP server for a folder; yields its URL."""
    handler = partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Suppresses the log."""


class FaultyProxy:
    """A TCP proxy in front of an HTTP server. Of the connections' requests, by a fixed lottery, some get 503, some get no answer
    until the client gives up or `stall_s` are over, and some are cut in the middle of the answer.

    A connection carries one request at a time; what it is, is read off the client's bytes only to know that one begins.
    """

    def __init__(self, target: str, share: float, seed: int = 1, stall_s: float = 3.0):
        self._host, _, port = target.removeprefix("http://").partition(":")
        self._port = int(port)
        self._share = share
        self._lottery = random.Random(seed)
        self._lock = threading.Lock()
        self._stall_s = stall_s
        self.faults = {"503": 0, "stalled": 0, "cut": 0}
        self.requests = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _draw(self) -> str | None:
        with self._lock:
            self.requests += 1
            if self._lottery.random() >= self._share:
                return None
            fault = self._lottery.choice(["503", "503", "stalled", "cut", "cut"])
            self.faults[fault] += 1
            return fault

    def _serve(self, client: socket.socket) -> None:
        """One request per connection: the response ends when the connection closes."""
        with client:
            try:
                head = _until(client, b"\r\n\r\n")
                if not head:
                    return
                fault = self._draw()
                if fault == "stalled":
                    time.sleep(self._stall_s)
                    return
                with socket.create_connection((self._host, self._port)) as server:
                    if fault == "503":
                        _drain(client, head)
                        client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        return
                    self._pass(client, server, head, fault == "cut")
            except OSError:
                return
            finally:
                _hang_up(client)

    def _pass(self, client: socket.socket, server: socket.socket, head: bytes, cut: bool) -> None:
        first, _, rest = head.partition(b"\r\n")
        kept = b"\r\n".join(line for line in rest.split(b"\r\n") if not line.lower().startswith(b"connection:"))
        server.sendall(first + b"\r\nConnection: close\r\n" + kept)
        upward = threading.Thread(target=_pump, args=(client, server), daemon=True)
        upward.start()
        passed = 0
        while data := server.recv(1 << 16):
            if cut and passed + len(data) > 200:
                client.sendall(data[: max(200 - passed, 0)])
                return
            client.sendall(data)
            passed += len(data)


def _hang_up(client: socket.socket) -> None:
    """Ends a connection immediately; closing alone would wait for the thread that still reads from it."""
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _until(source: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = source.recv(1 << 16)
        if not piece:
            return b""
        data += piece
    return data


def _drain(client: socket.socket, head: bytes) -> None:
    """Reads the rest of a request, so that the client gets the refusal rather than a connection reset."""
    header, _, body = head.partition(b"\r\n\r\n")
    lengths = [int(line.partition(b":")[2]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    missing = (lengths[0] if lengths else 0) - len(body)
    client.settimeout(2)
    while missing > 0:
        piece = client.recv(1 << 16)
        if not piece:
            return
        missing -= len(piece)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        return
