"""Images as people have them: malformed, or of unusual kinds."""

import io

import numpy as np
import pytest
from PIL import Image

from schemas.rejects import Reason
from tests.given import given_images
from tests.transforms.regions.help import regions_of, rejects, run
from transforms.engines.detectors.settings import DetectorSettings
from transforms.regions.detect import DetectRegions, RegionParams


def jpeg(size=(64, 48), mode="RGB", **options):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png(mode="RGB", size=(64, 48), **options):
    buffer = io.BytesIO()
    Image.new(mode, size, 0).save(buffer, "PNG", **options)
    return buffer.getvalue()


def webp(share):
    buffer = io.BytesIO()
    Image.frombytes("RGB", (64, 48), np.random.default_rng(1).bytes(64 * 48 * 3)).save(buffer, "WEBP")
    return buffer.getvalue()[: int(len(buffer.getvalue()) * share)]


def tiff(mode):
    buffer = io.BytesIO()
    Image.new(mode, (64, 48), 1).save(buffer, "TIFF")
    return buffer.getvalue()


def garbled():
    """A PNG whose pixels cannot be decompressed."""
    data = bytearray(png())
    at = data.index(b"IDAT") + 6
    data[at : at + 8] = b"garbled!"
    return bytes(data)


def gif(frames):
    buffer = io.BytesIO()
    shots = [Image.new("RGB", (64, 48), (80 * number, 0, 0)) for number in range(frames)]
    shots[0].save(buffer, "GIF", save_all=True, append_images=shots[1:], duration=9)
    return buffer.getvalue()


def bomb():
    """A PNG whose header declares 60,000 x 60,000 pixels."""
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png()[33:]


def exif(orientation):
    held = Image.Exif()
    held[0x0112] = orientation
    return held


# The expected result: a reason, or the image size (px) of the regions.
CASES = {
    "empty.jpg": (b"", Reason.IMAGE_EMPTY),
    "words.jpg": (b"<html>404 not found</html>", Reason.IMAGE_BROKEN),
    "cut.jpg": (jpeg()[:900], Reason.IMAGE_BROKEN),
    "cut.png": (png(size=(200, 200))[:60], Reason.IMAGE_BROKEN),
    "head.jpg": (jpeg()[:40], Reason.IMAGE_BROKEN),
    "zeros.jpg": (bytes(4000), Reason.IMAGE_BROKEN),
    "bomb.png": (bomb(), Reason.IMAGE_TOO_LARGE),
    "webp.webp": (b"RIFF\x00\x10\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0f\xff\xff\x0f", Reason.IMAGE_TOO_LARGE),
    "cut.webp": (webp(0.6), Reason.IMAGE_BROKEN),
    "garbled.png": (garbled(), Reason.IMAGE_BROKEN),
    "deep.png": (png("I;16"), Reason.IMAGE_MODE),
    "float.tiff": (tiff("F"), Reason.IMAGE_MODE),
    "moving.gif": (gif(3), Reason.IMAGE_ANIMATED),
    "tiny.png": (png(size=(9, 9)), Reason.IMAGE_TOO_SMALL),
    "strip.png": (png("L", (20, 60_000)), Reason.IMAGE_TOO_SMALL),
    "gone.jpg": (None, Reason.IMAGE_MISSING),
    "replaced.jpg": (jpeg((80, 80)), Reason.IMAGE_UNREADABLE),
    "cmyk.jpg": (jpeg(mode="CMYK"), (64, 48)),
    "gray.jpg": (jpeg(mode="L"), (64, 48)),
    "palette.png": (png("P"), (64, 48)),
    "see_through.png": (png("RGBA"), (64, 48)),
    "still.gif": (gif(1), (64, 48)),
    "turned.jpg": (jpeg(exif=exif(6)), (48, 64)),
    "mirrored.jpg": (jpeg(exif=exif(5)), (48, 64)),
    "plain.jpg": (jpeg(), (64, 48)),
}


def test_malformed_images_are_rejected_and_unusual_ones_decoded_correctly(tmp_path):
    pytest.importorskip("torch", reason="the embedded detector needs torch")
    paths, sizes = [], []
    for name, (data, expected) in CASES.items():
        path = tmp_path / name
        path.write_bytes(b"x" if data is None else data)
        paths.append(str(path))
        sizes.append(expected if isinstance(expected, tuple) else (20, 60_000) if name == "strip.png" else (64, 48))
    gone = given_images(paths, sizes)
    corpus = run(tmp_path / "c", 1, gone)
    (tmp_path / "gone.jpg").unlink()
    corpus = run(tmp_path / "c", 1, gone, DetectRegions(RegionParams(detector=DetectorSettings(batch=4))))
    expected = {f"c/{name}": what for name, (_, what) in CASES.items()}
    assert rejects(corpus, "regions") == {name: what for name, what in expected.items() if isinstance(what, Reason)}
    assert {row.image_id: (row.width, row.height) for row in regions_of(corpus)} == {
        name: what for name, what in expected.items() if not isinstance(what, Reason)
    }
    assert len([what for what in expected.values() if isinstance(what, Reason)]) >= 15
