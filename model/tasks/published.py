"""Reading published files: tables with tabs, JSON, JSON lines, and pickles of plain values.

A bad line is a reason; a bad file is a SourceError that names it.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from schemas import files
from schemas.errors import SourceError


def lines_of(url: str) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends (LF or CR LF) and byte-order mark. Raises SourceError when it cannot be read."""
    try:
        with files.open_read(url) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n") as text:
            for line in text:
                yield line.removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        raise SourceError(f"{url} does not exist: put the file there under the name that it is published by") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{url} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise SourceError(f"{url} cannot be read: {error.strerror or error}") from None


def read_tsv(url: str, wanted: Sequence[str], header: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, str]] | str]:
    """The rows of a table whose fields are separated by tabs and never quoted (GLUE): the line's number from 1, and its wanted columns.

    header: the columns of a file that has no header line. Raises SourceError when the header lacks a column.
    """
    numbered = enumerate(lines_of(url), 1)
    names = list(header) if header else next(numbered, (0, ""))[1].split("\t")
    if lacking := [name for name in wanted if name not in names]:
        raise SourceError(f"{url}: its first line must name the columns {', '.join(wanted)}, separated by tabs; {lacking[0]} is not there")
    places = {name: names.index(name) for name in wanted}
    for number, line in numbered:
        fields = line.split("\t")
        if len(fields) == len(names):
            yield number, {name: fields[place] for name, place in places.items()}
        elif line.strip():
            yield f"it does not have {len(names)} fields"


def read_json_lines(url: str, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]] | str]:
    """The objects of a file with one a line: the line's number from 1, and the object, which has all wanted keys."""
    for number, line in enumerate(lines_of(url), 1):
        try:
            held = json.loads(line)
        except (ValueError, RecursionError):
            held = line
        if isinstance(held, dict) and all(key in held for key in wanted):
            yield number, held
        elif line.strip():
            yield f"it is no JSON object with {', '.join(wanted)}"


def read_json(url: str, wanted: Sequence[str]) -> dict[str, Any]:
    """A JSON object with lists under all wanted keys. Raises SourceError when the file is something else."""
    try:
        held = json.loads("\n".join(lines_of(url)))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{url} is not JSON: {error}") from None
    if not isinstance(held, dict) or not all(isinstance(held.get(key), list) for key in wanted):
        raise SourceError(f"{url} must be a JSON object with the lists {', '.join(wanted)}")
    return held


def text_of(held: Any, key: str) -> str:
    """The text under a key, without spaces around it; empty if there is none."""
    found = held.get(key) if isinstance(held, dict) else None
    return found.strip() if isinstance(found, str) else ""


def by_id(url: str, rows: Sequence[Any], key: str) -> dict[int | str, dict[str, Any]]:
    """Objects by their id; those without one are left out. Raises SourceError when two have the same."""
    held: dict[int | str, dict[str, Any]] = {}
    for one in rows:
        number = one.get(key) if isinstance(one, dict) else None
        if isinstance(number, int | str) and held.setdefault(number, one) is not one:
            raise SourceError(f"{url}: two entries have the {key} {number}")
    return held


def found_by(held: dict[int | str, Any], number: Any) -> Any:
    """What has an id; None if nothing has, or it is no id."""
    return held.get(number) if isinstance(number, int | str) else None


class _Plain(pickle.Unpickler):
    """Builds lists, dictionaries, texts and numbers alone: whatever else a pickle names is refused, so nothing in it is executed."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_plain_pickle(url: str) -> Any:
    """What a pickle of lists, dictionaries, texts and numbers holds; byte strings (Python 2) as texts.

    Raises SourceError when the file is missing or damaged, or names anything to be imported or called.
    """
    try:
        with files.open_read(url) as file:
            return _Plain(file, encoding="utf-8", errors="replace").load()
    except FileNotFoundError:
        raise SourceError(f"{url} does not exist: put the file there under the name that it is published by") from None
    except OSError as error:
        raise SourceError(f"{url} cannot be read: {error.strerror or error}") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise SourceError(f"{url} is not a pickle of plain lists and dictionaries: {error or type(error).__name__}") from None
