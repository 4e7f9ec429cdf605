"""UNITER's region files: a folder of npz files, and the LMDB made of them (Chen et al., arXiv 1909.11740).

An entry holds `norm_bb` [n, 6] (x1, y1, x2, y2, w, h in shares of the image's sides), `features` [n, D], and, where its maker kept
them, `conf` [n] and `soft_labels` [n, C]. The LMDB is keyed by the names of the npz files; its values are msgpack as msgpack-numpy
writes it, or compressed npz. Its own decoder is not used: of arrays of objects it would run the pickles.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from schemas import files
from schemas.rejects import Reason
from transforms.regions.files.base import Imported, RegionFileError

MAX_BYTES = 64 << 20  # unpacked, of one entry
_NAMES = ("norm_bb", "features", "conf", "soft_labels")
_KEYS = "__keys__"


class NpzStore:
    """A folder of npz files; the key is the file's name."""

    def __init__(self, url: str):
        self._url = url
        self._names = {name: size for name, size in sorted(files.listing(url).items()) if name.endswith(".npz")}

    @property
    def stamp(self) -> object:
        """Names and sizes of the files."""
        return [self._url, self._names]

    def keys(self) -> Iterator[str]:
        """Names, sorted."""
        return iter(self._names)

    def get(self, key: str) -> Imported | None:
        """The entry of a file; raises RegionFileError when it is damaged."""
        if key not in self._names:
            return None
        if self._names[key] > MAX_BYTES:
            raise RegionFileError(Reason.BAD_ROW, f"{key} has {self._names[key]} bytes, {MAX_BYTES} are allowed")
        fs, path = files.filesystem(files.join(self._url, key))
        with fs.open(path, "rb") as file:
            return _entry(key, read_npz(key, file.read()))


class LmdbStore:
    """An LMDB folder, compressed or not. Raises ValueError when it is not there or lmdb or msgpack are not installed."""

    def __init__(self, path: str):
        try:
            import lmdb
            import msgpack  # noqa: F401
        except ImportError as error:
            raise ValueError(f"reading {path} needs a package ({error}): pip install lmdb msgpack") from error
        if not (Path(path) / "data.mdb").is_file():
            raise ValueError(f"there is no LMDB in {path}: a folder with data.mdb is wanted, on this machine")
        self._path = path
        self._env = lmdb.open(path, readonly=True, lock=False, create=False, readahead=False, max_readers=126)

    @property
    def stamp(self) -> object:
        """Path, size and time of the data file."""
        stat = (Path(self._path) / "data.mdb").stat()
        return [self._path, stat.st_size, stat.st_mtime_ns]

    def keys(self) -> Iterator[str]:
        """Keys, sorted, without the list of keys that UNITER puts beside them."""
        with self._env.begin(buffers=False) as view:
            for key in view.cursor().iternext(values=False):
                if (name := bytes(key).decode("utf-8", "replace")) != _KEYS:
                    yield name

    def get(self, key: str) -> Imported | None:
        """The entry of a key; raises RegionFileError when it is damaged."""
        with self._env.begin() as view:
            data = view.get(key.encode())
        if data is None:
            return None
        if len(data) > MAX_BYTES:
            raise RegionFileError(Reason.BAD_ROW, f"{key} has {len(data)} bytes, {MAX_BYTES} are allowed")
        return _entry(key, read_npz(key, data) if data[:2] == b"PK" else read_msgpack(key, data))


def read_npz(key: str, data: bytes) -> dict[str, np.ndarray]:
    """The known arrays of an npz file; raises RegionFileError when it is damaged, unpacks to too much, or holds objects."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                raise RegionFileError(Reason.BAD_ROW, f"{key} unpacks to {size} bytes, {MAX_BYTES} are allowed")
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return {name: held[name] for name in _NAMES if name in held.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise RegionFileError(Reason.BAD_ROW, f"{key} is no sound npz file: {error}") from error


def read_msgpack(key: str, data: bytes) -> dict[str, np.ndarray]:
    """The known arrays of a msgpack value; raises RegionFileError when it is damaged or holds objects."""
    import msgpack

    try:
        held = msgpack.unpackb(data, raw=False, strict_map_key=False)
        if not isinstance(held, dict):
            raise ValueError("it holds no mapping")
        return {name: _array(held[name]) for name in _NAMES if name in held}
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise RegionFileError(Reason.BAD_ROW, f"{key} is no sound msgpack value: {error}") from error


def _array(value: Any) -> np.ndarray:
    """An array as msgpack-numpy writes it: {nd: True, type, kind, shape, data}; numbers only."""
    if not isinstance(value, dict):
        raise ValueError("an array is no mapping")
    said = {name.decode() if isinstance(name, bytes) else name: held for name, held in value.items()}
    kind = said["type"]
    if said.get("nd") is not True or not isinstance(kind, str) or kind[1:] not in ("f2", "f4", "f8"):
        raise ValueError(f"an array of {kind!r}, not of floating point numbers")
    return np.frombuffer(said["data"], np.dtype(kind)).reshape([int(side) for side in said["shape"]])


def _entry(key: str, arrays: dict[str, np.ndarray]) -> Imported:
    for name in ("norm_bb", "features"):
        if name not in arrays:
            raise RegionFileError(Reason.BAD_ROW, f"{key} holds no {name}")
    boxes = arrays["norm_bb"]
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6, 7):
        raise RegionFileError(Reason.BAD_ROW, f"{key}: norm_bb has the shape {boxes.shape}, not [n, 6]")
    return Imported(boxes[:, :4], arrays["features"], arrays.get("conf"), arrays.get("soft_labels"))


def key_list(names: list[str]) -> bytes:
    """The value that UNITER keeps under `__keys__`."""
    return json.dumps(names).encode()
