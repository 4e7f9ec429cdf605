"""A web host that is down costs a few time-outs, not one per image, and its images are kept by a later run."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from pipelines.config import parse_config
from pipelines.run import run
from schemas.corpus import Corpus
from schemas.retries import Waiting, use
from tests.transforms.ingest.source_help import encoded, picture

pytest.importorskip("aiohttp", reason="needs cmcl[http]")
IMAGES = 12


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a different picture per path, or 503 while it is `down`."""

    down = True
    asked = 0

    def log_message(self, *_: object) -> None:
        """Suppresses the log."""

    def do_GET(self) -> None:  # noqa: N802
        type(self).asked += 1
        data = b"" if self.down else encoded("JPEG", picture(seed=len(self.path) + ord(self.path[1])))
        self.send_response(503 if self.down else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def server() -> Iterator[str]:
    held = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.daemon_threads = True
    threading.Thread(target=held.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{held.server_address[1]}"
    held.shutdown()
    use(Waiting())


def test_the_images_of_a_host_that_is_down_are_given_up_quickly_and_kept_later(server, tmp_path):
    lines = [f"{server}/{chr(97 + number)}.jpg,A dog with the number {number} runs home" for number in range(IMAGES)]
    (tmp_path / "c.csv").write_text("\n".join(["url,caption", *lines]))
    config = parse_config(
        {
            "corpus": str(tmp_path / "corpus"),
            "partitions": 1,
            "tfidf": None,
            "max_rejected": 1.0,
            "waiting": {"retries_s": [0.01], "host_failures": 2},
            "pairs": [{"format": "csv", "name": "x", "captions": str(tmp_path / "c.csv"), "image": None, "url": "url"}],
        },
        str(tmp_path),
    )
    Handler.down, Handler.asked = True, 0
    run(config)
    counts = Corpus(config.corpus, 1).manifest("pairs").counts
    assert counts.reasons == {"image_unreachable": IMAGES}
    assert Handler.asked <= 6 * 4  # two failures, and the readers that were under way; each with its retry and look-ups
    Handler.down = False
    run(config)
    counts = Corpus(config.corpus, 1).manifest("pairs").counts
    assert counts.reasons == {} and counts.rows_out["pairs"] == IMAGES
