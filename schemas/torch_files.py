"""Checks files of torch.save before they are loaded: what they would occupy in memory must be proportional to their size."""

from __future__ import annotations

import os
import pickletools
import zipfile
from pathlib import Path

_PICKLES = 4  # before the data in torch's format before 1.6: magic number, protocol, system, the object
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"})
_MEMO = frozenset({"BINPUT", "LONG_BINPUT", "MEMOIZE"})


def why_oversized(path: str | Path) -> str:
    """Why loading a file would take far more memory than its size, "" if it would not; nothing in it is executed.

    torch.save never compresses, so compressed members of an archive are decompression bombs. In the format before torch 1.6, the
    pickle declares the size of each storage, and torch allocates it before reading the data. Raises OSError if the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
        return "is a compressed archive, which torch.save never writes" if packed else ""
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        pass
    size = os.path.getsize(path)
    try:
        declared = _declared(path)
    except (ValueError, EOFError, IndexError, OverflowError):
        return ""  # not a torch file: torch.load reports it
    if declared is None:
        return "has a storage whose size is not a plain number"
    return f"declares {declared} values in {size} bytes" if declared > size else ""


def _declared(path: str | Path) -> int | None:
    """The number of values in all storages that the pickles of an old file declare; None if one is not a plain number."""
    total = 0
    with open(path, "rb") as file:
        for _ in range(_PICKLES):
            last: list[tuple[str, object]] = []  # the preceding operations
            for operation, argument, _ in pickletools.genops(file):
                if operation.name in ("BINPERSID", "PERSID"):
                    shape = [name for name, _ in last[-3:]]
                    number = last[-3][1] if len(last) == 3 else None
                    if shape[1:] != ["NONE", "TUPLE"] or shape[0] not in _INTEGERS or not isinstance(number, int) or number < 0:
                        return None
                    total += number
                if operation.name not in _MEMO:
                    last = [*last[-2:], (operation.name, argument)]
    return total
