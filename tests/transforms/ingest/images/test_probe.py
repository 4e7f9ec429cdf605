"""`transforms.ingest.images.probe` and `transforms.ingest.images.fetch`: valid, unusual and broken images."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.rejects import Reason
from tests.transforms.ingest.source_help import encoded, picture
from transforms.ingest.images.fetch import _HANDLES, _Handles
from transforms.ingest.images.probe import (
    ImageError,
    ImageLimits,
    ImageReject,
    Probe,
    close_files,
    open_image,
    open_reduced,
    probe,
    probe_at,
    read_bytes,
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size but has hardly any data."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def webp_header(width: int, height: int) -> bytes:
    """An extended WebP that declares a canvas but has no data."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def frames(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture(seed=1).save(buffer, kind, save_all=True, append_images=[picture(seed=2), picture(seed=3)])
    return buffer.getvalue()


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded("JPEG", exif=exif, quality=95)


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((30, 40), 40_000, dtype=np.uint16))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.IMAGE_EMPTY, id="zero bytes"),
        pytest.param(encoded()[:-200], Reason.IMAGE_BROKEN, id="truncated JPEG"),
        pytest.param(encoded()[:25], Reason.IMAGE_BROKEN, id="JPEG cut in its header"),
        pytest.param(encoded("PNG")[:-400], Reason.IMAGE_BROKEN, id="truncated PNG"),
        pytest.param(encoded("WEBP")[:-200], Reason.IMAGE_BROKEN, id="truncated WebP"),
        pytest.param(encoded("GIF")[:-500], Reason.IMAGE_BROKEN, id="truncated GIF"),
        pytest.param(encoded("TIFF")[:200], Reason.IMAGE_BROKEN, id="truncated TIFF"),
        pytest.param(b"<html>404 not found</html>", Reason.IMAGE_BROKEN, id="HTML called an image"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n", Reason.IMAGE_BROKEN, id="a format that is not allowed"),
        pytest.param(b"\xff" * 1000, Reason.IMAGE_BROKEN, id="noise"),
        pytest.param(encoded("PNG", sixteen_bit()), Reason.IMAGE_MODE, id="16-bit PNG"),
        pytest.param(encoded("TIFF", Image.new("F", (40, 30))), Reason.IMAGE_MODE, id="float TIFF"),
        pytest.param(encoded("TIFF", Image.new("I", (40, 30))), Reason.IMAGE_MODE, id="32-bit TIFF"),
        pytest.param(frames("GIF"), Reason.IMAGE_ANIMATED, id="animated GIF"),
        pytest.param(frames("WEBP"), Reason.IMAGE_ANIMATED, id="animated WebP"),
        pytest.param(frames("PNG"), Reason.IMAGE_ANIMATED, id="APNG"),
        pytest.param(frames("TIFF"), Reason.IMAGE_ANIMATED, id="TIFF of several pages"),
        pytest.param(png_header(20_000, 10_000), Reason.IMAGE_TOO_LARGE, id="200 megapixels declared by a tiny PNG"),
        pytest.param(png_header(10_000, 9_000), Reason.IMAGE_TOO_LARGE, id="90 megapixels: Pillow only warns"),
        pytest.param(webp_header(16_000, 16_000), Reason.IMAGE_TOO_LARGE, id="256 megapixels declared by a tiny WebP"),
        pytest.param(encoded("PNG", picture(200, 15)), Reason.IMAGE_TOO_SMALL, id="too low"),
        pytest.param(encoded("PNG", picture(1, 1)), Reason.IMAGE_TOO_SMALL, id="tracking pixel"),
        pytest.param(encoded("PNG").replace(b"IDAT", b"IDAX"), Reason.IMAGE_BROKEN, id="PNG without pixels"),
    ],
)
def test_bad_images_have_a_reason(data: bytes, reason: Reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = probe(data)
    assert isinstance(found, ImageReject)
    assert found.reason == reason, found.detail
    assert found.detail


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"<html>404 not found</html>", "not an image in JPEG, PNG, WEBP, GIF, BMP, TIFF format: it starts with b'<html>404 not fo'"),
        (b"\xff" * 1000, "not an image in JPEG, PNG, WEBP, GIF, BMP, TIFF format: it starts with b'\\xff"),
        (encoded()[:-200], "truncated"),
        (frames("GIF"), "a GIF with several frames"),
        (png_header(8_000, 8_000), "8000 x 8000 pixels; the limit is 50000000"),
        (encoded("PNG", picture(200, 15)), "200 x 15 pixels; each side must be at least 16"),
    ],
)
def test_details_say_what_is_wrong(data: bytes, detail: str):
    assert detail in probe(data).detail


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("PNG", "LA"),
        ("PNG", "1"),
        ("WEBP", "RGBA"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "CMYK"),
    ],
)
def test_good_images_are_measured_and_open_as_rgb(kind: str, mode: str, tmp_path: Path):
    data = encoded(kind, picture(mode=mode))
    assert probe(data) == Probe(40, 30, hashlib.sha256(data).digest())
    file = tmp_path / "image.txt"  # its name is irrelevant
    file.write_bytes(data)
    assert open_image(str(file)).mode == "RGB"
    assert open_image(str(file)).size == (40, 30)


def test_a_wrong_extension_does_not_matter(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(encoded("PNG"))
    assert isinstance(probe_at(str(tmp_path / "a.jpg")), Probe)


def test_formats_can_be_narrowed_and_bytes_limited():
    refused = probe(encoded("PNG"), ImageLimits(formats=("JPEG",)))
    assert refused.reason == Reason.IMAGE_BROKEN and refused.detail.startswith("not an image in JPEG format: it starts with b'\\x89PNG")
    assert probe(encoded("PNG"), ImageLimits(max_bytes=100)).reason == Reason.IMAGE_TOO_LARGE
    assert probe(encoded("PNG"), ImageLimits(max_pixels=1199)).reason == Reason.IMAGE_TOO_LARGE
    assert isinstance(probe(encoded("PNG"), ImageLimits(max_pixels=1200, min_side=30)), Probe)


def test_only_full_decoding_detects_truncation():
    cut = encoded()[:-200]
    assert isinstance(probe(cut, ImageLimits(decode="header")), Probe)
    assert isinstance(probe(cut, ImageLimits(decode="full")), ImageReject)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_can_be_taken(kind: str):
    assert isinstance(probe(frames(kind), ImageLimits(animated="first")), Probe)


def test_a_photo_with_a_preview_is_not_an_animation():
    buffer = io.BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture(20, 20)])
    assert isinstance(probe(buffer.getvalue()), Probe)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("decode", ["full", "header"])
def test_exif_orientation_turns_size_and_pixels(orientation: int, decode: str, tmp_path: Path):
    data = rotated(orientation)
    found = probe(data, ImageLimits(decode=decode))
    assert (found.width, found.height) == ((30, 40) if orientation >= 5 else (40, 30))
    file = tmp_path / "a.jpg"
    file.write_bytes(data)
    upright = open_image(str(file))
    from PIL import ImageOps

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert upright.size == (found.width, found.height)
    assert np.array_equal(np.asarray(upright), np.asarray(expected))


def test_damaged_exif_does_not_reject_an_image():
    data = encoded("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(probe(data), Probe)


def test_transparent_pixels_are_composited_on_white(tmp_path: Path):
    file = tmp_path / "a.png"
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(file)
    assert open_image(str(file)).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("offset", [0, 3, 512])
def test_a_range_of_a_file(offset: int, tmp_path: Path):
    data = encoded("PNG")
    (tmp_path / "many.bin").write_bytes(b"x" * offset + data + b"y" * 50)
    assert read_bytes(str(tmp_path / "many.bin"), offset, len(data)) == data
    assert open_image(str(tmp_path / "many.bin"), offset, len(data)).size == (40, 30)


def reason_of(*place, **limits) -> Reason:
    with pytest.raises(ImageError) as error:
        read_bytes(*place, **limits)
    return error.value.reason


def test_unreadable_images_have_a_reason(tmp_path: Path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"0123456789")
    assert reason_of(str(tmp_path / "none.jpg")) == Reason.IMAGE_MISSING
    assert reason_of(str(tmp_path / "none.tar"), 0, 5) == Reason.IMAGE_MISSING
    assert reason_of(str(tmp_path)) == Reason.IMAGE_UNREADABLE
    assert reason_of(str(file), 5, 100) == Reason.IMAGE_UNREADABLE
    assert reason_of(str(file), max_bytes=9) == Reason.IMAGE_TOO_LARGE
    assert reason_of(str(file), 0, 10, max_bytes=9) == Reason.IMAGE_TOO_LARGE
    assert reason_of("nosuchprotocol://x/y.jpg") == Reason.IMAGE_UNREADABLE
    assert probe_at(str(tmp_path / "none.jpg")).reason == Reason.IMAGE_MISSING


@pytest.mark.parametrize("nested", [False, True])
def test_cells_of_parquet(nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = [encoded(image=picture(seed=i)) for i in range(7)]
    cells = [*images[:3], None, *images[4:]]
    column = [{"bytes": cell, "path": "x"} for cell in cells] if nested else cells
    file = str(tmp_path / "a#b.parquet")
    pq.write_table(pa.table({"key": [str(i) for i in range(7)], "jpg": column}), file, row_group_size=3)
    name = "jpg.bytes" if nested else "jpg"
    for limit in (1 << 30, 0):  # row groups that are cached, and row groups too large to cache
        monkeypatch.setattr("transforms.ingest.images.fetch._GROUP_BYTES", limit)
        close_files()
        for row in (0, 2, 6, 4, 1):
            assert read_bytes(f"{file}#column={name}&row={row}") == images[row]
        assert reason_of(f"{file}#column={name}&row=3") == Reason.IMAGE_MISSING
        assert reason_of(f"{file}#column={name}&row=7") == Reason.IMAGE_UNREADABLE
        assert reason_of(f"{file}#column={name}&row=0", max_bytes=10) == Reason.IMAGE_TOO_LARGE


def test_names_that_look_like_addresses(tmp_path: Path):
    for name in ("a::b.jpg", "memory::a.jpg", "a.jpg#column=jpg&row=1", "x.parquet#column=1.jpg"):
        (tmp_path / name).write_bytes(encoded())
        assert read_bytes(str(tmp_path / name)) == encoded()
        assert read_bytes(str(tmp_path / name), 2, 9) == encoded()[2:11]
    pq.write_table(pa.table({"jpg": [b"0", b"1"]}), tmp_path / "part::0.pq")  # a table with another extension
    assert read_bytes(f"{tmp_path}/part::0.pq#column=jpg&row=1") == b"1"


def test_files_in_memory_and_local_urls(tmp_path: Path):
    data = encoded()
    fsspec.filesystem("memory").pipe("/cmcl_test/many.bin", b"xyz" + data)
    assert read_bytes("memory://cmcl_test/many.bin", 3, len(data)) == data
    (tmp_path / "a.jpg").write_bytes(data)
    assert read_bytes(f"file://{tmp_path}/a.jpg") == data
    assert read_bytes(f"file://{tmp_path}/a.jpg", 0, len(data)) == data


def test_a_replaced_file_is_reread(tmp_path: Path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"old!")
    assert read_bytes(str(file), 0, 4) == b"old!"
    (tmp_path / "new").write_bytes(b"newer")
    os.replace(tmp_path / "new", file)
    assert read_bytes(str(file), 0, 4) == b"newe"


def test_many_threads_read_more_files_than_stay_open(tmp_path: Path):
    for number in range(20):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]) * 4096)

    def read(turn: int) -> bool:
        number = (turn * 7) % 20
        return read_bytes(str(tmp_path / f"{number}.bin"), turn % 4000, 96) == bytes([number]) * 96

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(3000)))
    assert len(_HANDLES._open) <= 8


def test_evicted_files_are_closed(tmp_path: Path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"x")
    handles = _Handles(2)
    first = handles.get(str(tmp_path / "a"))
    for name in "bc":
        handles.get(str(tmp_path / name))
    assert first.closed and first.file.closed
    handles.clear()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 2**16),
)
def test_no_damage_raises(kind: str, changes: list[tuple[int, int]], cut: int):
    data = bytearray(encoded(kind, picture(20, 20)))
    for place, value in changes:
        data[place % min(len(data), 400)] = value
    found = probe(bytes(data[: len(data) - cut % len(data)]), ImageLimits(animated="first"))
    assert isinstance(found, (Probe, ImageReject))


def test_real_photos_are_valid(shared_data: Path):
    files = sorted((shared_data / "coco_val2017" / "images").iterdir())[:40]
    found = [probe_at(str(file)) for file in files]
    assert all(isinstance(one, Probe) for one in found)
    for file, one in zip(files, found, strict=True):
        assert open_image(str(file)).size == (one.width, one.height)


@pytest.mark.parametrize(
    ("size", "reduced"),
    [((640, 427), (320, 214)), ((427, 640), (214, 320)), ((641, 333), (320, 166)), ((500, 375), (320, 240)), ((100, 60), (100, 60))],
)
def test_an_image_is_reduced_as_if_decoded_whole(size, reduced):
    down, across = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([across * 255 / size[0], down * 255 / size[1], 128 + 100 * np.sin(across / 9)], -1).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=95)
    found = open_reduced(packed.getvalue(), 320)
    whole = Image.open(packed).convert("RGB").resize(reduced, Image.Resampling.BICUBIC)
    assert found.size == reduced
    assert np.abs(np.asarray(found, int) - np.asarray(whole, int)).mean() < 2
