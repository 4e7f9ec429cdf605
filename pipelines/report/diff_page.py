"""`cmcl diff --html`: the differences between two corpora as one page, with its style sheet in it."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources

from pipelines.diff import CorpusDiff
from pipelines.privacy import Scrubber, last_name
from pipelines.report.build import environment
from pipelines.report.charts import check_packages
from schemas import files
from schemas.errors import ConfigError

_VERDICTS = {0: "Equal: both corpora have the same content.", 1: "Different.", 2: "Not everything could be compared."}
_MADE = b'<meta name="generator" content="cmcl diff">'


def write_diff(found: CorpusDiff, path: str, scrub: Scrubber) -> None:
    """Writes the page; the page of an earlier comparison is replaced.

    Raises ConfigError when a package is missing or another file has that name, OSError when it cannot be written.
    """
    check_packages()
    if os.path.lexists(path) and not _is_ours(path):
        raise ConfigError(f"--html {path}: the file was not written by `cmcl diff`: move it away, or name another file")
    style = resources.files("pipelines.report").joinpath("static", "report.css").read_text(encoding="utf-8")
    names = [last_name(url) or "corpus" for url in (found.a, found.b)]
    names = names if names[0] != names[1] else ["a", "b"]
    page = environment().get_template("diff.html")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    told = {"a": names[0], "b": names[1], "found": found, "verdict": _VERDICTS[found.status], "scrub": scrub}
    text = page.render(page="diff", name=" → ".join(names), nav=(), style=style, style_hash=digest, **told)
    with files.atomic_write(path) as sink:
        sink.write(text.encode())


def _is_ours(path: str) -> bool:
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return _MADE in file.read(2000)
