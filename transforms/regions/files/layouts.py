"""The layouts of tab-separated region files: the fields after the key. Arrays are little-endian, in base64.

    bottom_up  image_w, image_h, num_boxes, boxes, features [, cls_prob]          (Anderson et al., arXiv 1707.07998; ViLBERT's cls_prob)
    unimo      w, h, number of boxes, boxes, features, probabilities              (Li et al., arXiv 2012.15409)
    lxmert     img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features  (Tan, Bansal, arXiv 1908.07490)
    vinvl      JSON {"num_boxes", "features"}, or number of boxes (first) and numbers (last): per region D features and 6 of geometry
               (Zhang et al., arXiv 2101.00529; Oscar, arXiv 2004.06165)

Boxes are four numbers per region, so their byte count determines their type, and the other arrays are assumed to have it too. If their
bytes contradict that, the line is refused until `dtype` is set. In VinVL's files the geometry determines the type, since width and
height repeat the box.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import numpy as np

from transforms.regions.files.base import Bounds, RawRegions, are_normalised

_GEOMETRY = 6  # x1, y1, x2, y2, w, h, normalised
_FLOATS = {2: "<f2", 4: "<f4", 8: "<f8"}
_CODES = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
_SAMPLE = 2048  # words sampled from an array, evenly spaced
_ENOUGH = 8  # distinct words required to judge an array's type

Parse = Callable[[list[bytes], Bounds], RawRegions]


def parse_bottom_up(fields: list[bytes], bounds: Bounds) -> RawRegions:
    """image_w, image_h, num_boxes, boxes, features and, in ViLBERT's and UNIMO's files, cls_prob. Raises ValueError."""
    if len(fields) not in (5, 6):
        raise ValueError(_miscounted(fields, "5 or 6", "bottom_up"))
    width, height = _sides(*fields[:2])
    return _boxed(width, height, fields[2], *fields[3:], bounds=bounds)


def parse_unimo(fields: list[bytes], bounds: Bounds) -> RawRegions:
    """w, h, number of boxes, boxes, features, probabilities. Raises ValueError."""
    if len(fields) != 6:
        raise ValueError(_miscounted(fields, "6", "unimo"))
    return parse_bottom_up(fields, bounds)


def parse_lxmert(fields: list[bytes], bounds: Bounds) -> RawRegions:
    """img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features. Raises ValueError.

    LXMERT numbers objects without the background, so classes are shifted by one; attributes have the same numbers.
    """
    if len(fields) != 9:
        raise ValueError(_miscounted(fields, "9", "lxmert"))
    height, width = _sides(*fields[:2])
    found = _boxed(width, height, fields[6], *fields[7:], bounds=bounds)
    count = len(found.boxes)
    confidence = _array(fields[3], count, "objects_conf", _FLOATS)
    return RawRegions(
        found.boxes,
        found.features,
        confidence,
        None,
        width,
        height,
        _array(fields[2], count, "objects_id", {4: "<i4", 8: "<i8"}) + 1,
        _array(fields[4], count, "attrs_id", {4: "<i4", 8: "<i8"}),
    )


def parse_vinvl(fields: list[bytes], bounds: Bounds) -> RawRegions:
    """One JSON field, or the number of boxes first and the numbers last. Raises ValueError."""
    if len(fields) == 1:
        record = json.loads(fields[0])
        if not isinstance(record, dict) or type(record.get("num_boxes")) is not int or not isinstance(record.get("features"), str):
            raise ValueError("the field after the key is not a JSON object with num_boxes (a number) and features (base64)")
        count, text = _count(str(record["num_boxes"]).encode(), bounds), record["features"].encode()
    elif fields:
        count, text = _count(fields[0], bounds), fields[-1]
        _check_between(fields[1:-1], count)
    else:
        raise ValueError("the key is not followed by any fields")
    data = _decoded(text, "features")
    if not count:
        _nothing(data, "features")
        return RawRegions(np.zeros((0, 4), np.float32), np.zeros((0, 0), np.float32))
    values = _with_geometry(data, count, bounds)
    return RawRegions(values[:, -_GEOMETRY:-2], values[:, :-_GEOMETRY])


def _check_between(fields: list[bytes], count: int) -> None:
    """Raises ValueError if the fields between the number of boxes and the features are the end of one line and the start of another."""
    numbers = [_integer(field, "a field before the last, which may be the end of one line and the start of another,") for field in fields]
    if numbers and numbers[-1] == count:
        raise ValueError(f"the number of boxes, {count}, is repeated: two lines have run into one another")


PARSERS: dict[str, Parse] = {
    "bottom_up": parse_bottom_up,
    "vinvl": parse_vinvl,
    "oscar": parse_vinvl,
    "lxmert": parse_lxmert,
    "unimo": parse_unimo,
}
MOST_FIELDS = {"bottom_up": 6, "unimo": 6, "lxmert": 9}  # after the key; any number in VinVL's files


def _miscounted(fields: list[bytes], wanted: str, layout: str) -> str:
    other = {
        9: "LXMERT's TSV has as many (format: lxmert)",
        6: "UNIMO's lines have as many (format: unimo)",
        5: "the bottom-up TSV has as many (format: bottom_up)",
        1: "VinVL's JSON lines have as many (format: vinvl)",
        2: "VinVL's lines with counts have as many (format: vinvl)",
    }.get(len(fields))
    damaged = "the line is truncated or merged with the next one"
    return f"{len(fields)} fields after the key, not {wanted} as in {layout}: {other or damaged}"


def _sides(*fields: bytes) -> list[int]:
    values = [_integer(field, "a side of the image") for field in fields]
    if min(values) < 1 or max(values) >= 1 << 31:
        raise ValueError(f"the sides of the image are {values} pixels")
    return values


def _count(field: bytes, bounds: Bounds) -> int:
    value = _integer(field, "the number of boxes")
    if not 0 <= value <= bounds.max_boxes:
        raise ValueError(f"{value} boxes; the limit is {bounds.max_boxes} (max_boxes)")
    return value


def _integer(field: bytes, what: str) -> int:
    try:
        text = field.decode("ascii").strip()
        number = float(text)  # "640.0" as pandas writes it
        if number != int(number) or abs(number) > 1 << 40:
            raise ValueError
        return int(number)
    except (ValueError, OverflowError):
        raise ValueError(f"{what} is {_shown(field)}, not an integer") from None


def _shown(field: bytes) -> str:
    return repr(field[:24].decode("utf-8", "replace")) + ("..." if len(field) > 24 else "")


def _decoded(text: bytes, name: str) -> bytes:
    if text[:2] in (b"b'", b'b"'):
        raise ValueError(f"{name} start with {_shown(text[:2])}: they are Python's repr of bytes, not base64; write them with .decode()")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"{name} are not valid base64 ({error}): {_shown(text)}") from None


def _boxed(
    width: int, height: int, number: bytes, boxes: bytes, features: bytes, probabilities: bytes | None = None, *, bounds: Bounds
) -> RawRegions:
    count = _count(number, bounds)
    held = {"boxes": _decoded(boxes, "boxes"), "features": _decoded(features, "features")}
    if probabilities is not None:
        held["probabilities"] = _decoded(probabilities, "probabilities")
    if not count:
        for name, data in held.items():
            _nothing(data, name)
        none = np.zeros((0, 0), np.float32)
        return RawRegions(
            np.zeros((0, 4), np.float32), none, soft_labels=none if probabilities is not None else None, width=width, height=height
        )
    size, rest = divmod(len(held["boxes"]), count * 4)
    if rest or size not in _FLOATS:
        raise ValueError(f"boxes have {len(held['boxes'])} bytes, not 4 numbers of 2, 4 or 8 bytes for each of {count} regions")
    kind = _CODES[bounds.dtype] if bounds.dtype else _FLOATS[size]
    rows = {name: _rows(data, count, kind, name, bounds) for name, data in held.items() if name != "boxes"}
    return RawRegions(
        np.frombuffer(held["boxes"], _FLOATS[size]).reshape(count, 4),
        rows["features"],
        soft_labels=rows.get("probabilities"),
        width=width,
        height=height,
    )


def _nothing(data: bytes, name: str) -> None:
    if data:
        raise ValueError(f"{name} have {len(data)} bytes for 0 regions")


def _rows(data: bytes, count: int, kind: str, name: str, bounds: Bounds) -> np.ndarray:
    """An array [count, width]; the width follows from the number of bytes."""
    size = int(kind[-1])
    if not data or len(data) % (count * size):
        raise ValueError(f"{name} have {len(data)} bytes, which cannot be split into float{8 * size} numbers for {count} regions")
    if bounds.dtype is None and size == 4 and _are_halves(data):
        raise ValueError(
            f"{name} are not float32, though the boxes are: they only make sense as float16; "
            "set dtype: float16 (or float32 if that is correct)"
        )
    return np.frombuffer(data, kind).reshape(count, -1)


def _are_halves(data: bytes) -> bool:
    """Whether float32 numbers look like pairs of float16: the low bits of the mantissas, nearly random in float32, are numbers.

    The mantissas of float16 numbers converted to float32 end in zeros, which distinguishes them from both.
    """
    words = np.frombuffer(data, "<u2")
    low = words[:: max(len(words) // _SAMPLE * 2, 2)]
    low = low[low != 0]
    exponents = (low >> 10) & 31
    if len(low) < _ENOUGH or exponents.max() == 31 or exponents.std() >= 5:  # random bits: 9.2
        return False
    if len(np.unique(low)) < _ENOUGH or not (low & 0x1FFF).any():
        return False
    if len(low) >= 4 * _ENOUGH:
        return True
    with np.errstate(invalid="ignore"):
        sizes = np.abs(np.frombuffer(data, "<f4").astype(np.float64))
    return bool(((sizes > 0) & ((sizes < 1e-12) | (sizes > 1e9))).any())


def _array(text: bytes, count: int, name: str, kinds: dict[int, str]) -> np.ndarray:
    """An array [count]; the type follows from the number of bytes."""
    data = _decoded(text, name)
    if not count:
        _nothing(data, name)
        return np.zeros(0, next(iter(kinds.values())))
    size, rest = divmod(len(data), count)
    if rest or size not in kinds:
        raise ValueError(f"{name} have {len(data)} bytes, not {' or '.join(map(str, kinds))} for each of {count} regions")
    return np.frombuffer(data, kinds[size])


def _with_geometry(data: bytes, count: int, bounds: Bounds) -> np.ndarray:
    """An array [count, D + 6], of the type in which the last six numbers are a normalised box, its width and its height."""
    kinds = [_CODES[bounds.dtype]] if bounds.dtype else ["<f4", "<f2", "<f8"]
    held: dict[str, np.ndarray] = {}
    for kind in kinds:
        if data and not len(data) % (count * int(kind[-1])):
            held[kind] = np.frombuffer(data, kind).reshape(count, -1)
    good = [values for values in held.values() if values.shape[1] > _GEOMETRY and _is_geometry(values[:, -_GEOMETRY:])]
    if good:
        return good[0]
    tried = ", ".join(f"float{8 * int(kind[-1])}" for kind in kinds)
    if not held:
        raise ValueError(f"features have {len(data)} bytes, which cannot be split into {tried} numbers for {count} regions")
    widths = sorted({values.shape[1] for values in held.values()})
    if widths[-1] <= _GEOMETRY:
        raise ValueError(f"{widths[-1]} numbers per region leave no features besides the {_GEOMETRY} of geometry")
    raise ValueError(
        f"read as {tried}, the last {_GEOMETRY} of {' or '.join(map(str, widths))} numbers per region are not a normalised "
        "box with its width and height: a box is outside the image, or the numbers have another type"
    )


def _is_geometry(values: np.ndarray) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        wide = values.astype(np.float64)
        return are_normalised(wide[:, :4]) and bool((np.abs(wide[:, 2:4] - wide[:, :2] - wide[:, 4:]) < 0.02).all())
