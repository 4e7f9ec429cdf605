"""Checks images before anything else reads them: format, size, completeness, and the hash of their bytes.

Everything in the header is checked before any pixel is decoded, so a small file cannot expand to a huge image. Pillow is limited to
the configured formats; its warnings are silenced, process-wide, for its own modules only.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from schemas.rejects import Reason
from transforms.ingest.images.fetch import MAX_BYTES, ImageError, close_files, read_bytes
from transforms.ingest.images.metadata import parts, scans, without_metadata

__all__ = ["ImageError", "ImageLimits", "ImageReject", "Probe", "close_files", "open_image", "open_reduced", "probe", "probe_at",
           "read_bytes"]  # fmt: skip

_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"})  # at most 8 bits per channel
_ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT = 0x0112, 322, 323
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STARTS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "GIF": b"GIF8"}
T = TypeVar("T")
A = TypeVar("A")
Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


class ImageLimits(BaseModel):
    """Requirements for images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[Format, ...] = Field(
        default=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"),
        min_length=1,
        description="allowed formats, determined from content, not from file names",
    )
    max_bytes: int = Field(default=MAX_BYTES, ge=1, description="maximum size of the encoded image, in bytes")
    max_pixels: int = Field(default=50_000_000, ge=1, description="maximum width times height")
    min_side: int = Field(default=16, ge=1, description="minimum length of the shorter side, in pixels")
    animated: Literal["reject", "first"] = Field(
        default="reject", description="images with several frames or pages: reject them, or use the first"
    )
    max_scans: int = Field(default=100, ge=1, description="maximum number of scans of a JPEG, each of which decodes the whole picture")
    max_parts: int = Field(
        default=4096, ge=1, description="maximum number of chunks, segments or blocks of an image file other than pixel data"
    )
    decode: Literal["full", "header"] = Field(default="full", description="full finds broken images; header is faster, but does not")


@dataclass(frozen=True)
class Probe:
    """A valid image: width and height in pixels after EXIF orientation, SHA-256 of its encoded bytes (32 bytes)."""

    width: int
    height: int
    sha256: bytes


@dataclass(frozen=True)
class ImageReject:
    """A rejected image, and why."""

    reason: Reason
    detail: str


def probe(data: bytes, limits: ImageLimits | None = None) -> Probe | ImageReject:
    """Checks the encoded image `data` against `limits`: first the header, then (decode="full") everything. Never raises on bad data.

    Faults limited to metadata (texts, profiles, checksums of ancillary chunks, EXIF) do not reject an image.
    """
    limits = limits or ImageLimits()
    try:
        width, height = _opened(data, limits, lambda image: _measure(image, data, limits))
    except ImageError as error:
        return ImageReject(error.reason, error.detail)
    return Probe(width, height, sha256(data).digest())


def probe_at(uri: str, offset: int | None = None, length: int | None = None, limits: ImageLimits | None = None) -> Probe | ImageReject:
    """Reads and probes one image; an ImageError of `read_bytes` becomes an ImageReject."""
    limits = limits or ImageLimits()
    try:
        return probe(read_bytes(uri, offset, length, limits.max_bytes), limits)
    except ImageError as error:
        return ImageReject(error.reason, error.detail)


def open_image(uri: str, offset: int | None = None, length: int | None = None, limits: ImageLimits | None = None) -> Image.Image:
    """The image as RGB, rotated by its EXIF orientation; transparency is composited on white.

    Raises ImageError with the reason if it is unreadable, exceeds a limit or is broken.
    """
    limits = limits or ImageLimits()
    return _opened(read_bytes(uri, offset, length, limits.max_bytes), limits, _upright)


def open_reduced(data: bytes, side: int, limits: ImageLimits | None = None) -> Image.Image:
    """As `open_image`, of encoded bytes, but reduced so that neither side exceeds `side` px; a JPEG is decoded at a fraction of its size.

    Raises ImageError with the reason if it exceeds a limit or is broken.
    """
    return _opened(data, limits or ImageLimits(), lambda image: _reduced(image, side))


def _reduced(image: Image.Image, side: int) -> Image.Image:
    if image.format in ("JPEG", "MPO"):
        share = side / max(side, *image.size)
        image.draft(None, (max(1, int(image.width * share)), max(1, int(image.height * share))))
    upright = _upright(image)
    upright.thumbnail((side, side), reducing_gap=2.0)
    return upright


def _opened(data: bytes, limits: ImageLimits, action: Callable[[Image.Image], T]) -> T:
    """`action` on the image; if the image is broken, on the image without its metadata. Raises ImageError."""
    try:
        with _checked(data, limits) as image:
            return _guarded(limits, action, image)
    except ImageError as error:
        cleaned = without_metadata(data) if error.reason == Reason.IMAGE_BROKEN else None
        if cleaned is None:
            raise
        try:
            with _checked(cleaned, limits) as image:
                return _guarded(limits, action, image)
        except ImageError as second:
            raise error if second.reason == Reason.IMAGE_BROKEN else second from None


def _guarded(limits: ImageLimits, action: Callable[[A], T], argument: A) -> T:
    """`action(argument)`. Raises ImageError for whatever it raises, except if memory is really exhausted."""
    try:
        return action(argument)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.IMAGE_TOO_LARGE, str(error)) from error
    except MemoryError as error:
        bytearray(4 * limits.max_pixels)  # raises if memory is really exhausted; otherwise the image's own request was absurd
        raise ImageError(Reason.IMAGE_BROKEN, f"it requires more memory than is available: {error or 'MemoryError'}") from error
    except Exception as error:
        raise ImageError(Reason.IMAGE_BROKEN, f"{type(error).__name__}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    orientation = _orientation(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        upright = Image.new("RGB", image.size, "white")
        upright.paste(layer, mask=layer.getchannel("A"))
    else:
        upright = image.convert("RGB") if image.mode != "RGB" else image.copy()
    return upright.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else upright


def _measure(image: Image.Image, data: bytes, limits: ImageLimits) -> tuple[int, int]:
    """Width and height after orientation: from the header, or from the decoded image."""
    width, height = image.size
    if limits.decode == "header":
        orientation = _header_orientation(image, data)
    else:
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (1, 1))  # scale 1/8: reads all data, but computes 1/64 of the pixels
        image.load()
        orientation = _orientation(image)  # a PNG may store it after the pixels
        if image.format == "TIFF":  # Pillow rotates a TIFF when it loads it
            width, height = image.size
    return (height, width) if orientation >= 5 else (width, height)


def _checked(data: bytes, limits: ImageLimits) -> Image.Image:
    """The opened but not yet decoded image, if its header is within `limits`; raises ImageError."""
    _silence()
    if not data:
        raise ImageError(Reason.IMAGE_EMPTY, "the file is empty")
    if len(data) > limits.max_bytes:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{len(data)} bytes; the limit is {limits.max_bytes}")
    _check_pixels(_webp_size(data), limits)  # Pillow allocates a WebP's whole canvas when it opens it
    if (found := scans(data)) > limits.max_scans:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"a JPEG with {found} scans; the limit is {limits.max_scans} (max_scans)")
    if parts(data, limits.max_parts) > limits.max_parts:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"more than {limits.max_parts} parts besides its pixels (max_parts)")
    image = _guarded(limits, lambda held: _identified(held, limits), data)
    try:
        _check_pixels(image.size, limits)
        _check_pixels(_tile_size(image), limits, "a tile of ")
        width, height = image.size
        if min(width, height) < limits.min_side:
            raise ImageError(Reason.IMAGE_TOO_SMALL, f"{width} x {height} pixels; each side must be at least {limits.min_side}")
        if image.mode not in _MODES:
            raise ImageError(Reason.IMAGE_MODE, f"pixel mode {image.mode}, more than 8 bits per channel")
        # MPO is a photo with previews or a second view, not an animation.
        if limits.animated == "reject" and image.format != "MPO" and _guarded(limits, _is_animated, image):
            raise ImageError(Reason.IMAGE_ANIMATED, f"a {image.format} with several frames")
    except ImageError:
        image.close()
        raise
    return image


def _identified(data: bytes, limits: ImageLimits) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=limits.formats)  # JPEG's opener takes MPO files too
    except Image.UnidentifiedImageError as error:
        kind = next((kind for kind, start in _STARTS.items() if kind in limits.formats and data.startswith(start)), None)
        text = (
            f"a damaged {kind}: unreadable header"
            if kind
            else f"not an image in {', '.join(limits.formats)} format: it starts with {data[:16]!r}"
        )
        raise ImageError(Reason.IMAGE_BROKEN, text) from error


def _check_pixels(size: tuple[int, int] | None, limits: ImageLimits, what: str = "") -> None:
    if size is not None and size[0] * size[1] > limits.max_pixels:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{what}{size[0]} x {size[1]} pixels; the limit is {limits.max_pixels}")


def _tile_size(image: Image.Image) -> tuple[int, int] | None:
    """The size of a TIFF's tiles, which are decoded whole however small the image is."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(_TILE_WIDTH), tags.get(_TILE_HEIGHT)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _is_animated(image: Image.Image) -> bool:
    return bool(getattr(image, "is_animated", False))  # accessing it looks for a GIF's second frame


def _header_orientation(image: Image.Image, data: bytes) -> int:
    """As `_orientation`, without decoding pixels if the file has none."""
    if image.format == "PNG" and not any(kind in data for kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt")):
        return 1
    if image.format == "TIFF" and _ORIENTATION in getattr(image, "tag_v2", {}):
        return 1  # the size in the header is already that of the rotated image
    return _orientation(image)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 if EXIF is absent or damaged, which is not a reason to drop an image."""
    value: object = 1
    with suppress(Exception):
        value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """The canvas size declared by a WebP header; None for other formats and truncated headers."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


_SILENT = r"PIL\."


def _silence() -> None:
    # `warnings.catch_warnings` is not thread-safe. Checked each time because other code may reset the filters.
    if not any(
        action == "ignore" and module is not None and getattr(module, "pattern", module) == _SILENT
        for action, _, _, module, _ in warnings.filters
    ):
        warnings.filterwarnings("ignore", module=_SILENT)
