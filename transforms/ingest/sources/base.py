"""What every reader of people's collections shares: settings, splits, rows of record batches, and the guard around each entry.

A source is a frozen pydantic settings object. `splits()` lists what there is to read (cheap, sorted), `read(split)` streams one
split as record batches of at most `BATCH` rows. A bad row is a row with `reason`, `detail` and `where` set; a file that cannot be
read as a whole raises SourceError. All paths are local paths or fsspec URLs, with globs (`*`, `?`, `[...]`, `**`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from schemas.errors import is_of_machine
from schemas.raw import RAW_PAIRS, RAW_TEXTS
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.limits import Limits
from transforms.ingest.sources.listing import Found
from transforms.ingest.sources.opening import is_grave

BATCH = 4096  # rows of a record batch


@dataclass(frozen=True)
class Split:
    """One piece of a source that one task reads: a file, or a folder.

    `stamp` changes when the content does: an ETag, or "size:mtime_ns"; `rows` is a hint, null when it costs a read to know.
    """

    url: str
    stamp: str
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The split as JSON types; `Split(**it)` gives it back."""
        return asdict(self)


class Source(BaseModel):
    """Settings that all sources share, and the protocol they follow: `splits`, `read`, `extra_inputs`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[^\s/]+$", description="the collection's name, the first part of its ids")]

    _limits: Limits = PrivateAttr(default_factory=Limits)

    @property
    def limits(self) -> Limits:
        """The bounds that hold for this source."""
        return self._limits

    def within(self, limits: Limits) -> Self:
        """The same source under other bounds."""
        other = self.model_copy()
        other._limits = limits
        return other

    def splits(self) -> list[Split]:
        """What there is to read, sorted by URL. Raises SourceError naming the path where a file, or every match, is missing."""
        raise NotImplementedError

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Streams `split` as record batches of at most `BATCH` rows of RAW_PAIRS (RAW_TEXTS for texts).

        Raises SourceError when the file as a whole is not what the settings say.
        """
        raise NotImplementedError

    def extra_inputs(self) -> list[str]:
        """Stamps of what `read` looks at besides the splits, so that a fingerprint changes when it does."""
        return []


def as_bytes(text: str) -> bytes:
    """The bytes of `text` as found: bytes that were no UTF-8 (kept as surrogates by the decoder) come out as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # a lone surrogate from a JSON escape: stays invalid, cleaning rejects it


class Rows:
    """Collects rows and yields them as record batches of at most `BATCH` rows of `schema`."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._rows: list[dict[str, Any]] = []

    def add(self, **values: Any) -> None:
        """Adds one row; columns that are not named are null. `where` may hold anything; it is quoted."""
        if "where" in values:
            values["where"] = quoted(values["where"], 1000)
        self._rows.append(values)

    def reject(self, where: str, reason: Reason, detail: str, **values: Any) -> None:
        """Adds one bad row."""
        self.add(where=where, reason=reason.value, detail=quoted(detail, 500), **values)

    def attempt(self, where: str, read: Callable[..., None], *arguments: Any) -> None:
        """Calls `read(*arguments)`, which adds the rows of one entry; whatever it raises makes that entry one reject.

        Only what is none of the entry's goes on: memory, a disk or store that fails, an interrupt, and errors that name a whole file.
        """
        before = len(self._rows)
        try:
            read(*arguments)
        except Exception as error:
            if is_grave(error) or is_of_machine(error):
                raise
            del self._rows[before:]
            self.reject(where, Reason.BAD_ROW, f"{type(error).__name__}: {quoted(error, 400)}")

    def full(self) -> Iterator[pa.RecordBatch]:
        """Yields a batch if one is full: call it after each row."""
        if len(self._rows) >= BATCH:
            yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Yields what there is."""
        for start in range(0, len(self._rows), BATCH):
            yield self._batch(self._rows[start:start + BATCH])
        self._rows = []

    def _batch(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        try:
            return pa.RecordBatch.from_pylist(rows, schema=self.schema)
        except (pa.ArrowException, ValueError, OverflowError, TypeError):  # a value that its column cannot hold
            return pa.RecordBatch.from_pylist([self._fitting(row) for row in rows], schema=self.schema)

    def _fitting(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            pa.RecordBatch.from_pylist([row], schema=self.schema)
        except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
            return {"where": row["where"], "reason": Reason.BAD_ROW.value, "detail": f"{type(error).__name__}: {quoted(error, 400)}"}
        return row


def pair_rows() -> Rows:
    """An empty collector of RAW_PAIRS."""
    return Rows(RAW_PAIRS)


def text_rows() -> Rows:
    """An empty collector of RAW_TEXTS."""
    return Rows(RAW_TEXTS)


def splits_of(files: Iterable[Found]) -> list[Split]:
    """One split a file."""
    return [Split(file.url, file.stamp) for file in files]
