"""Serves a report's folder: GET and HEAD of the files in it, and nothing else."""

from __future__ import annotations

import os
import stat
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
}
_PIECE = 1 << 20
_SILENCE_S = 30


def server_for(folder: str, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder`, bound but not yet serving; port 0: any free one. Raises OSError when the address is not available."""
    return ThreadingHTTPServer((host, port), partial(_Handler, folder=os.path.realpath(folder)))


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version, protocol_version, timeout = "cmcl", "", "HTTP/1.1", _SILENCE_S

    def __init__(self, *args: Any, folder: str):
        self._folder = folder
        super().__init__(*args)

    def do_GET(self) -> None:
        """Sends a file."""
        self._send(body=True)

    def do_HEAD(self) -> None:
        """Sends a file's headers."""
        self._send(body=False)

    def _send(self, body: bool) -> None:
        if not self._is_asked_by_name():
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        path = file_below(self._folder, self.path)
        if path is None:
            return self._refuse(HTTPStatus.NO_CONTENT if self.path == "/favicon.ico" else HTTPStatus.NOT_FOUND)
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", _TYPES[os.path.splitext(path)[1]])
                self.send_header("Content-Length", str(size))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Cache-Control", "no-cache")
                self.end_headers()
                while body and (piece := file.read(_PIECE)):
                    self.wfile.write(piece)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_asked_by_name(self) -> bool:
        """Whether a loopback server is addressed as one: a foreign site's name may have been pointed at it."""
        own = str(self.server.server_address[0])  # type: ignore[index]
        if not own.startswith("127."):
            return True
        return self.headers.get("Host", "").partition(":")[0] in ("localhost", "127.0.0.1", own)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: requests are not to be shown unescaped."""


def file_below(folder: str, target: str) -> str | None:
    """The file of a report that a request names; None for whatever is not one, lies outside the folder, or is a link."""
    try:
        name = unquote(urlsplit(target).path, errors="strict")
    except (ValueError, UnicodeDecodeError):
        return None
    name = "/index.html" if name == "/" else name
    parts = name.split("/")[1:]
    if not name.startswith("/") or "\0" in name or "\\" in name or any(part.startswith(".") or not part for part in parts):
        return None
    path = os.path.join(folder, *parts)
    try:
        real = os.path.realpath(path, strict=True)
        regular = stat.S_ISREG(os.stat(real).st_mode)
    except OSError:
        return None
    return real if real == path and regular and os.path.splitext(real)[1] in _TYPES else None
