"""UNITER's region files: a folder of npz files, and the LMDB made from them (Chen et al., arXiv 1909.11740).

An entry has `norm_bb` [n, 6] (x1, y1, x2, y2, w, h, normalised), `features` [n, D] and, optionally, `conf` [n] and `soft_labels`
[n, C]. The LMDB is keyed by the names of the npz files; its values are msgpack as written by msgpack-numpy, or compressed npz. Only
arrays of plain numbers are read, and only as large as their bytes: nothing is ever unpickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from schemas import files
from schemas.errors import is_of_machine
from schemas.rejects import Reason
from transforms.ingest.sources.listing import list_folder
from transforms.regions.files.base import MAX_BYTES, Bounds, RawRegions, RegionFileError
from transforms.regions.files.lmdb_pages import LmdbFile

_NAMES = ("norm_bb", "features", "conf", "soft_labels")
_KEYS = "__keys__"


class NpzStore:
    """A folder of npz files; the key is the path below the folder. Raises SourceError if the folder does not exist."""

    damage = ""

    def __init__(self, url: str, bounds: Bounds | None = None):
        self._bounds = bounds or Bounds()
        self._names = {name: found.url for name, found in list_folder(url).items() if name.endswith(".npz")}

    def keys(self) -> Iterator[str]:
        """All keys, sorted."""
        return iter(self._names)

    def get(self, key: str) -> RawRegions | None:
        """The entry of a file, or None; raises RegionFileError if it is damaged."""
        if key not in self._names:
            return None
        limit = self._bounds.max_bytes
        with files.open_read(self._names[key]) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise RegionFileError(Reason.BAD_ROW, f"{key} has more than {limit} bytes (max_entry_bytes)")
        return _entry(key, read_npz(key, data, self._bounds), self._bounds)


class LmdbStore:
    """An LMDB folder, compressed or not. Raises ValueError if it is missing or damaged, or msgpack is not installed."""

    damage = ""

    def __init__(self, path: str, bounds: Bounds | None = None):
        try:
            import msgpack  # noqa: F401
        except ImportError as error:
            raise ValueError(f"reading {path} requires a package ({error}): pip install msgpack") from error
        self._file = LmdbFile(files.local_path(path) if "://" in path else path)
        self._bounds = bounds or Bounds()

    def keys(self) -> Iterator[str]:
        """All keys, sorted, except UNITER's entry with the list of keys."""
        for key in self._file.keys():
            if (name := key.decode("utf-8", "replace")) != _KEYS:
                yield name

    def get(self, key: str) -> RawRegions | None:
        """The entry of a key, or None; raises RegionFileError if it is damaged."""
        try:
            data = self._file.get(key.encode("utf-8", "replace"), self._bounds.max_bytes)
        except ValueError as error:
            raise RegionFileError(Reason.BAD_ROW, f"{key}: {error}") from error
        if data is None:
            return None
        return _entry(key, (read_npz if data[:2] == b"PK" else read_msgpack)(key, data, self._bounds), self._bounds)


def read_npz(key: str, data: bytes, bounds: Bounds | None = None) -> dict[str, np.ndarray]:
    """The known arrays of an npz file; raises RegionFileError if it is damaged, decompresses to too much, or contains objects."""
    limit = bounds.max_bytes if bounds else MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in _NAMES if f"{name}.npy" in archive.NameToInfo}
            size = sum(member.file_size for member in members.values())
            if size > limit:
                raise ValueError(f"it decompresses to {size} bytes; the limit is {limit} (max_entry_bytes)")
            return {name: _npy(name, archive.read(member)) for name, member in members.items()}
    except Exception as error:
        if is_of_machine(error):
            raise
        raise RegionFileError(Reason.BAD_ROW, f"{key} is not a valid npz file: {str(error) or type(error).__name__}") from error


def _npy(name: str, data: bytes) -> np.ndarray:
    """One floating-point array in NumPy's format, fully backed by `data`; raises ValueError and whatever its header raises."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise ValueError(f"{name} has type {dtype}, not floating point; objects would require allow_pickle, which runs code")
    return _shaped(name, data[stream.tell() :], dtype, shape, "F" if fortran else "C")


def read_msgpack(key: str, data: bytes, bounds: Bounds | None = None) -> dict[str, np.ndarray]:
    """The known arrays of a msgpack value; raises RegionFileError if it is damaged or contains objects."""
    import msgpack

    try:
        held = msgpack.unpackb(data, raw=False, strict_map_key=False)
        if not isinstance(held, dict):
            raise ValueError("it is not a mapping")
        return {name: _array(name, held[name]) for name in _NAMES if name in held}
    except Exception as error:
        if is_of_machine(error):
            raise
        raise RegionFileError(Reason.BAD_ROW, f"{key} is not a valid msgpack value: {str(error) or type(error).__name__}") from error


def _array(name: str, value: Any) -> np.ndarray:
    """An array as written by msgpack-numpy: {nd: True, type, kind, shape, data}; numbers only."""
    if not isinstance(value, dict):
        raise ValueError("an array is not a mapping")
    fields = {name.decode() if isinstance(name, bytes) else name: held for name, held in value.items()}
    kind, data, shape = fields.get("type"), fields.get("data"), fields.get("shape")
    if fields.get("nd") is not True or not isinstance(kind, str) or kind[:1] not in "<>=|" or kind[1:] not in ("f2", "f4", "f8"):
        raise ValueError(f"an array of type {kind!r}, not floating point")
    if not isinstance(data, bytes) or not isinstance(shape, list | tuple):
        raise ValueError(f"{name} has no data or no shape")
    return _shaped(name, data, np.dtype(kind), shape, "C")


def _shaped(name: str, data: bytes, dtype: np.dtype[Any], shape: Any, order: Any) -> np.ndarray:
    if not all(type(side) is int and side >= 0 for side in shape) or prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{name} declares shape {str(tuple(shape))[:60]} of {dtype}, which does not match its {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _entry(key: str, arrays: dict[str, np.ndarray], bounds: Bounds) -> RawRegions:
    for name in ("norm_bb", "features"):
        if name not in arrays:
            raise RegionFileError(Reason.BAD_ROW, f"{key} has no {name}")
    boxes, features = arrays["norm_bb"], arrays["features"]
    if not boxes.size and not features.size and 0 in (boxes.shape[:1] or (0,)) and 0 in (features.shape[:1] or (0,)):
        boxes, features = boxes.reshape(0, 4), features.reshape(0, features.shape[1] if features.ndim == 2 else 0)
    elif boxes.ndim != 2 or boxes.shape[1] not in (4, 6, 7):
        raise RegionFileError(Reason.BAD_ROW, f"{key}: norm_bb has shape {boxes.shape} instead of [n, 6]")
    if len(boxes) > bounds.max_boxes:
        raise RegionFileError(Reason.BAD_ROW, f"{key}: {len(boxes)} boxes; the limit is {bounds.max_boxes} (max_boxes)")
    return RawRegions(boxes[:, :4], features, arrays.get("conf"), arrays.get("soft_labels"))
