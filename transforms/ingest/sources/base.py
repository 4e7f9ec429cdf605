"""Common parts of all sources: settings, splits, rows to record batches, and error handling per entry.

A source is a frozen pydantic settings object. `splits()` lists its inputs (cheap, sorted), `read(split)` streams one split as
record batches of at most `BATCH` rows. A bad row is a row with `reason`, `detail` and `where` set; a file that is unreadable as a
whole raises SourceError. All paths are local paths or fsspec URLs, with globs (`*`, `?`, `[...]`, `**`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Annotated, Any, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from schemas.errors import CmclError, is_of_machine
from schemas.raw import RAW_PAIRS, RAW_TEXTS
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.limits import Limits
from transforms.ingest.sources.listing import Found
from transforms.ingest.sources.opening import open_parts

BATCH = 4096  # rows per record batch


@dataclass(frozen=True)
class Split:
    """A part of a source that is read as a unit: a file, or a folder.

    `stamp` changes when the content does: an ETag, or "size:mtime_ns"; `rows` is a hint, None if unknown without reading.
    """

    url: str
    stamp: str
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The split as JSON types; the inverse is `Split(**value)`."""
        return asdict(self)


class Source(BaseModel):
    """Settings common to all sources, and their protocol: `splits`, `read`, `extra_inputs`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[^\s/]+$", description="the collection's name, the first part of its ids")]

    _limits: Limits = PrivateAttr(default_factory=Limits)

    @property
    def limits(self) -> Limits:
        """The limits in force for this source."""
        return self._limits

    def within(self, limits: Limits) -> Self:
        """A copy of this source with other limits."""
        other = self.model_copy()
        other._limits = limits
        return other

    def splits(self) -> list[Split]:
        """The inputs, sorted by URL. Raises SourceError naming a path that is missing or matches nothing."""
        raise NotImplementedError

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Streams `split` as record batches of at most `BATCH` rows of RAW_PAIRS (RAW_TEXTS for texts).

        Raises SourceError if the file as a whole does not fit the settings.
        """
        raise NotImplementedError

    def extra_inputs(self) -> list[str]:
        """Stamps of further inputs of `read`, which are part of the fingerprint."""
        return []


def as_bytes(text: str) -> bytes:
    """The original bytes of `text`: bytes that were not valid UTF-8 (decoded to surrogates) are restored."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # a lone surrogate from a JSON escape: remains invalid, and cleaning rejects it


class Rows:
    """Collects rows and yields them as record batches of at most `BATCH` rows of `schema`."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._rows: list[dict[str, Any]] = []

    def add(self, **values: Any) -> None:
        """Adds one row; omitted columns are null. `where` may contain any characters; it is quoted."""
        if "where" in values:
            values["where"] = quoted(values["where"], 1000)
        self._rows.append(values)

    def reject(self, where: str, reason: Reason, detail: str, **values: Any) -> None:
        """Adds one bad row."""
        self.add(where=where, reason=reason.value, detail=quoted(detail, 500), **values)

    def attempt(self, where: str, read: Callable[..., None], *arguments: Any) -> None:
        """Calls `read(*arguments)`, which adds the rows of one entry; if it raises, the entry becomes one reject.

        Errors that the entry did not cause are raised: memory, a failing disk or store, an interrupt, and errors about a whole file.
        """
        before = len(self._rows)
        try:
            read(*arguments)
        except Exception as error:
            if isinstance(error, CmclError) or is_of_machine(error):
                raise
            del self._rows[before:]
            self.reject(where, Reason.BAD_ROW, f"{type(error).__name__}: {quoted(error, 400)}")

    def full(self) -> Iterator[pa.RecordBatch]:
        """Yields a batch if one is full; call it after each row."""
        if len(self._rows) >= BATCH:
            yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Yields the remaining rows."""
        for start in range(0, len(self._rows), BATCH):
            yield self._batch(self._rows[start : start + BATCH])
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


def read_parts(
    url: str, limits: Limits, rows: Rows, read: Callable[[str, IO[bytes]], Iterator[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """The batches that `read(name, handle)` yields for the file `url`, or for every member of a zip, and the rest of `rows`.

    A member that raises becomes one reject after its rows so far, and the others are read. Raises the error if no member can be read,
    and errors of the machine.
    """
    with open_parts(url, limits) as parts:
        errors: list[Exception] = []
        for name, opened in parts:
            try:
                with opened() as handle:
                    yield from read(name, handle)
            except Exception as error:
                errors.append(error)
                if len(errors) == len(parts) or is_of_machine(error):
                    raise errors[0] from None
                rows.reject(name, Reason.ARCHIVE_BROKEN, str(error))
            yield from rows.full()
    yield from rows.rest()


def pair_rows() -> Rows:
    """An empty collector of RAW_PAIRS."""
    return Rows(RAW_PAIRS)


def text_rows() -> Rows:
    """An empty collector of RAW_TEXTS."""
    return Rows(RAW_TEXTS)


def splits_of(files: Iterable[Found]) -> list[Split]:
    """One split per file."""
    return [Split(file.url, file.stamp) for file in files]
