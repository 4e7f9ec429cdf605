"""VCR's annotations as captions of its photos, for a second stage of pretraining on the task's own data, as in UNITER."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any, Literal

import pyarrow as pa

from schemas import vcr
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows
from transforms.ingest.sources.json_captions import JsonSource
from transforms.ingest.sources.opening import read_lines


class VcrSource(JsonSource):
    """VCR's train.jsonl and val.jsonl: each annotation is a caption, the question, its right answer and the right rationale in order.

    Tags are replaced by the names of their objects. Key: `img_fn`. Rejected: annotations without a photo or right choices (such as those
    of the test split), and tags without an object.
    """

    format: Literal["vcr"]

    def _file(self, rows: Rows, url: str, handle: IO[bytes]) -> Iterator[pa.RecordBatch]:
        for number, line in read_lines(handle, self.limits.line_bytes):
            where = f"{url}:{number}"
            if line is None:
                rows.reject(where, Reason.BAD_ROW, "the line is too long")
            elif line.strip():
                rows.attempt(where, self._entry, where, line, rows)
            yield from rows.full()

    def _entry(self, where: str, entry: Any, rows: Rows) -> None:
        try:
            held = json.loads(entry.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            rows.reject(where, Reason.BAD_ROW, f"not valid JSON: {error}")
            return
        name = held.get("img_fn") if isinstance(held, dict) else None
        if not isinstance(name, str) or not name or not name.isprintable():
            rows.reject(where, Reason.BAD_ROW, f"an annotation requires an 'img_fn': {quoted(held)}")
            return
        try:
            right = [sentences[label] for sentences, label in (vcr.choices(held, kind) for kind in ("answer", "rationale"))]
            said = [word for sentence in (held.get("question"), *right) for word, _ in vcr.pieces(sentence, held.get("objects"))]
        except ValueError as error:
            rows.reject(where, Reason.BAD_ROW, str(error), key=name)
            return
        self._add(where, name, name, None, " ".join(said), rows)
