"""Looking at images before anything else does: is it one, how large is it, is it whole, what are its bytes.

Everything that a header tells is checked before a pixel is decoded, so a small file cannot unpack to a huge image. Pillow's
formats are limited to those in the settings; what it warns about is silenced, process-wide, for Pillow's own modules only.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from schemas.rejects import Reason
from transforms.images.fetch import MAX_BYTES, ImageError, close_files, read_bytes

__all__ = ["ImageError", "ImageLimits", "ImageReject", "Probe", "close_files", "open_image", "probe", "probe_at", "read_bytes"]

_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"})  # 8 bits a channel
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}
# What Pillow's parsers are known to raise on bad data; anything else is a bug and shall be seen.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError, RuntimeError,
           MemoryError, struct.error, zlib.error)
# Opening: without LookupError, which Pillow turns into others there; what is left of it is a format that Pillow does not know.
_UNOPENED = tuple(kind for kind in _BROKEN if kind is not LookupError)
Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


class ImageLimits(BaseModel):
    """What an image must be to be taken in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[Format, ...] = Field(
        default=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"), min_length=1,
        description="what the bytes may be; names of files do not count")
    max_bytes: int = Field(default=MAX_BYTES, ge=1, description="encoded bytes")
    max_pixels: int = Field(default=50_000_000, ge=1, description="width times height")
    min_side: int = Field(default=16, ge=1, description="pixels of the shorter side")
    animated: Literal["reject", "first"] = Field(
        default="reject", description="several frames or pages: reject, or take the first")
    decode: Literal["full", "header"] = Field(default="full", description="full finds broken images; header is fast and does not")


@dataclass(frozen=True)
class Probe:
    """A sound image: width and height in pixels after EXIF orientation, SHA-256 of its encoded bytes (32 bytes)."""

    width: int
    height: int
    sha256: bytes


@dataclass(frozen=True)
class ImageReject:
    """An image that is not taken in, and why."""

    reason: Reason
    detail: str


def probe(data: bytes, limits: ImageLimits | None = None) -> Probe | ImageReject:
    """Checks the encoded image `data` against `limits`: header first, then (decode="full") all. Never raises on bad data."""
    limits = limits or ImageLimits()
    try:
        with _checked(data, limits) as image:
            orientation = _orientation(image) if limits.decode == "header" else 1
            width, height = image.size
            if limits.decode == "full":
                orientation = _decode(image)
    except ImageError as error:
        return ImageReject(error.reason, error.detail)
    if orientation >= 5:
        width, height = height, width
    return Probe(width, height, sha256(data).digest())


def probe_at(uri: str, offset: int | None = None, length: int | None = None,
                limits: ImageLimits | None = None) -> Probe | ImageReject:
    """Reads and probes one image; what `read_bytes` raises about it becomes an ImageReject."""
    limits = limits or ImageLimits()
    try:
        return probe(read_bytes(uri, offset, length, limits.max_bytes), limits)
    except ImageError as error:
        return ImageReject(error.reason, error.detail)


def open_image(uri: str, offset: int | None = None, length: int | None = None, limits: ImageLimits | None = None) -> Image.Image:
    """The image as RGB, upright by its EXIF orientation; what is transparent comes to lie on white.

    Raises ImageError with the reason when it cannot be read, passes a limit or is broken.
    """
    limits = limits or ImageLimits()
    with _checked(read_bytes(uri, offset, length, limits.max_bytes), limits) as image:
        try:
            image.load()
            orientation = _orientation(image)
            if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
                layer = image.convert("RGBA")
                upright = Image.new("RGB", image.size, "white")
                upright.paste(layer, mask=layer.getchannel("A"))
            else:
                upright = image.convert("RGB") if image.mode != "RGB" else image.copy()
        except _BROKEN as error:
            raise ImageError(Reason.IMAGE_BROKEN, f"{type(error).__name__}: {error}") from error
    return upright.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else upright


def _checked(data: bytes, limits: ImageLimits) -> Image.Image:
    """The opened, not yet decoded image, once its header has passed `limits`; raises ImageError."""
    _silence()
    if not data:
        raise ImageError(Reason.IMAGE_EMPTY, "the file has no bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{len(data)} bytes, {limits.max_bytes} are allowed")
    _check_pixels(_webp_size(data), limits)  # Pillow allocates a WebP's whole canvas when it opens it
    try:
        image = Image.open(io.BytesIO(data), formats=limits.formats)  # JPEG's opener takes MPO files too
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.IMAGE_TOO_LARGE, str(error)) from error
    except Image.UnidentifiedImageError as error:
        start = data[:16]
        raise ImageError(Reason.IMAGE_BROKEN, f"no {', '.join(limits.formats)} image: it starts with {start!r}") from error
    except _UNOPENED as error:
        raise ImageError(Reason.IMAGE_BROKEN, f"{type(error).__name__}: {error}") from error
    try:
        _check_pixels(image.size, limits)
        width, height = image.size
        if min(width, height) < limits.min_side:
            raise ImageError(Reason.IMAGE_TOO_SMALL, f"{width} x {height} pixels, {limits.min_side} a side are wanted")
        if image.mode not in _MODES:
            raise ImageError(Reason.IMAGE_MODE, f"pixels of mode {image.mode}, more than 8 bits a channel")
        # MPO is a photo with previews or a second view beside it, not an animation.
        if limits.animated == "reject" and image.format != "MPO" and _is_animated(image):
            raise ImageError(Reason.IMAGE_ANIMATED, f"a {image.format} of several frames")
    except ImageError:
        image.close()
        raise
    return image


def _check_pixels(size: tuple[int, int] | None, limits: ImageLimits) -> None:
    if size is not None and size[0] * size[1] > limits.max_pixels:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{size[0]} x {size[1]} pixels, {limits.max_pixels} are allowed")


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except _BROKEN as error:  # a GIF's second frame is looked for when asked
        raise ImageError(Reason.IMAGE_BROKEN, f"{type(error).__name__}: {error}") from error


def _decode(image: Image.Image) -> int:
    """Decodes every byte of `image` and returns its EXIF orientation (a PNG may tell it after its pixels); raises ImageError."""
    try:
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (1, 1))  # an eighth of the size: reads all data, computes 1/64 of the pixels
        image.load()
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.IMAGE_TOO_LARGE, str(error)) from error
    except _BROKEN as error:
        raise ImageError(Reason.IMAGE_BROKEN, f"{type(error).__name__}: {error}") from error
    return _orientation(image)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 when EXIF is absent or damaged, which is no reason to drop a picture."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """The canvas that a WebP header declares; None for other formats and headers cut short."""
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
    # `warnings.catch_warnings` is not safe among threads. Looked up each time, since others reset the filters.
    if not any(action == "ignore" and module is not None and getattr(module, "pattern", module) == _SILENT
               for action, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_SILENT)
