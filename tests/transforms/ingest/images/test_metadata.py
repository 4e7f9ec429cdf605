"""Faulty metadata does not reject an image; orientation is applied once; small files cannot take much time or memory."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, features

from schemas.rejects import Reason
from tests.cases import case, made, rows
from tests.transforms.ingest.images.test_probe import chunk
from tests.transforms.ingest.source_help import encoded, picture
from transforms.ingest.images.metadata import parts, without_metadata
from transforms.ingest.images.probe import ImageLimits, ImageReject, Probe, open_image, probe

BROKEN_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40
ALL = ImageLimits(formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"))
HEADER = ALL.model_copy(update={"decode": "header"})


def png(*extra: bytes, behind: bytes = b"", image: Image.Image | None = None) -> bytes:
    """A PNG with chunks before and after its pixels."""
    data = encoded("PNG", image)
    end = data.rindex(b"IEND") - 4
    return data[:33] + b"".join(extra) + data[33:end] + behind + data[end:]


def bad(kind: bytes, body: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    return chunk(kind, body)[:-4] + b"\1\2\3\4"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*extra: bytes) -> bytes:
    data = encoded("JPEG", RAMP, quality=95)
    return data[:2] + b"".join(extra) + data[2:]


def webp(kind: bytes, body: bytes) -> bytes:
    """A WebP with metadata, one of whose chunks is replaced."""
    data = encoded("WEBP", icc_profile=b"\0" * 200, exif=Image.Exif().tobytes() + b"\0" * 20, xmp=b"<x/>" * 9)
    at = data.index(kind)
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[: at + 8] + body[:length].ljust(length, b"\xff") + data[at + 8 + length :]


RAMP = Image.merge("RGB", [Image.linear_gradient("L").resize((40, 30)), Image.linear_gradient("L").rotate(90).resize((40, 30)),
                           Image.radial_gradient("L").resize((40, 30))])  # fmt: skip
LARGE = zlib.compress(b"a" * (3 << 20))
METADATA = {
    "large zTXt": png(chunk(b"zTXt", b"Comment\0\0" + LARGE)), "large zTXt behind": png(behind=chunk(b"zTXt", b"Comment\0\0" + LARGE)),
    "large iTXt": png(chunk(b"iTXt", b"workflow\0\1\0\0\0" + LARGE)), "large iTXt behind": png(behind=chunk(b"iTXt", b"w\0\1\0\0\0" + LARGE)),
    "large iCCP": png(chunk(b"iCCP", b"icc\0\0" + LARGE)), "many texts": png(*[chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 900_000))] * 80),
    **{f"bad {kind.decode()}": png(bad(kind, b"x\0abc")) for kind in (b"tEXt", b"pHYs", b"iCCP", b"gAMA", b"tIME", b"eXIf", b"abCd", b"zTXt")},
    **{f"bad {kind.decode()} behind": png(behind=bad(kind, b"x\0abc")) for kind in (b"tEXt", b"eXIf", b"tIME", b"zTXt", b"iTXt")},
    "short pHYs": png(chunk(b"pHYs", b"\1")), "short gAMA": png(chunk(b"gAMA", b"")), "short cHRM": png(chunk(b"cHRM", b"\0")),
    "short sRGB": png(chunk(b"sRGB", b"")), "empty iCCP": png(chunk(b"iCCP", b"")), "garbled zTXt": png(chunk(b"zTXt", b"k\0\0garbage")),
    "unknown method": png(chunk(b"zTXt", b"k\0\7abc")), "broken eXIf": png(chunk(b"eXIf", BROKEN_EXIF[6:])),
    "JPEG exif": jpeg(segment(0xE1, BROKEN_EXIF)), "JPEG exif cut": jpeg(segment(0xE1, b"Exif\0\0MM")),
    "JPEG profile": jpeg(segment(0xE2, b"ICC_PROFILE\0\7\1" + b"\0" * 9)), "JPEG profile short": jpeg(segment(0xE2, b"ICC_PROFILE\0")),
    "JPEG MPF": jpeg(segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff")), "JPEG photoshop": jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\4\4")),
    "JPEG JFIF short": jpeg(segment(0xE0, b"JFIF\0\1")), "JPEG XMP": jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:\xff>")),
    "JPEG comment": jpeg(segment(0xFE, b"\xff" * 60_000)),
    **{f"WebP {kind.decode()}": webp(kind, b"\xff\0") for kind in (b"ICCP", b"EXIF", b"XMP ")},
}  # fmt: skip


@pytest.mark.parametrize("what", METADATA)
@pytest.mark.parametrize("decode", ["full", "header"])
def test_faulty_metadata_does_not_reject_an_image(what, decode, tmp_path):
    data = METADATA[what]
    found = probe(data, ImageLimits(decode=decode))
    assert isinstance(found, Probe) and (found.width, found.height) == (40, 30), found
    (tmp_path / "a").write_bytes(data)
    if data[:4] == b"\x89PNG":
        assert np.array_equal(np.asarray(open_image(str(tmp_path / "a"))), np.asarray(picture()))
    else:
        assert open_image(str(tmp_path / "a")).size == (40, 30)


@pytest.mark.parametrize(
    "data",
    [
        png().replace(b"IDAT", b"IDAX"),
        png()[:-300],
        png(bad(b"tEXt", b"x\0y"))[:-400],
        encoded("PNG").replace(b"IHDR", b"IHDx"),
        encoded()[:-200],
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
    ],
)
def test_faulty_pixels_still_reject_it(data):
    found = probe(data)
    assert isinstance(found, ImageReject) and found.reason == Reason.IMAGE_BROKEN
    assert "not an image" not in found.detail


def marked(kind: str, orientation: int) -> bytes:
    """An image of 40 x 30 with an orientation, stored in its format's own way."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "PNG before":
        return png(chunk(b"eXIf", exif.tobytes()[6:]), image=RAMP)
    if kind == "PNG behind":
        return png(behind=chunk(b"eXIf", exif.tobytes()[6:]), image=RAMP)
    if kind == "PNG raw profile":
        info = PngImagePlugin.PngInfo()
        block = exif.tobytes()
        info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
        return encoded("PNG", RAMP, pnginfo=info)
    if kind == "PNG with other damage":
        return png(bad(b"tEXt", b"x"), chunk(b"eXIf", exif.tobytes()[6:]), image=RAMP)
    if kind == "JPEG with other damage":
        return jpeg(segment(0xE1, exif.tobytes()), segment(0xED, b"Photoshop 3.0\x008BIM"))
    return encoded(kind, RAMP, exif=exif, **({"quality": 100} if kind in ("JPEG", "WEBP", "AVIF") else {}))


@pytest.mark.parametrize(
    "kind",
    [
        "JPEG",
        "PNG before",
        "PNG behind",
        "PNG raw profile",
        "PNG with other damage",
        "JPEG with other damage",
        "WEBP",
        "TIFF",
        pytest.param("AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF here")),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_whoever_reads(kind, orientation, tmp_path):
    data = marked(kind, orientation)
    (tmp_path / "a").write_bytes(data)
    upright = open_image(str(tmp_path / "a"), limits=ALL)
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)  # Pillow's transpositions
    wanted = RAMP if turn is None else RAMP.transpose(Image.Transpose(turn))
    sizes = {(found.width, found.height) for found in (probe(data, ALL), probe(data, HEADER)) if isinstance(found, Probe)}
    assert sizes == {wanted.size} == {upright.size}
    assert np.abs(np.asarray(upright, np.int16) - np.asarray(wanted, np.int16)).mean() < 6


def tiled_tiff(tile: int) -> bytes:
    """A TIFF of 64 x 64 in one deflated tile of `tile` x `tile`."""
    packed = zlib.compress(bytes(min(tile * tile, 1 << 20)), 9)
    tags = [
        (256, 3, 64),
        (257, 3, 64),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, tile),
        (323, 4, tile),
        (324, 4, 8),
        (325, 4, len(packed)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def many_scans(count: int, progressive: bool) -> bytes:
    data = encoded("JPEG", picture(600, 400), progressive=progressive, quality=30)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * count + data[-2:]


HUNGRY = {
    "one tile": tiled_tiff(32768), "scans": many_scans(2000, True), "scans of a baseline": many_scans(2000, False),
    "segments": b"\xff\xd8" + segment(0xFE, b"") * 200_000 + encoded()[2:], "markers in a profile": jpeg(segment(0xED, b"\xff\xda" * 300)),
    "chunks": png(chunk(b"tEXt", b"") * 200_000), "empty pixels": png(chunk(b"IDAT", b"") * 200_000),
    "comment": b"GIF89a\x28\0\x1e\0\0\0\0!\xfe" + (b"\xff" + b"a" * 255) * 20_000 + b"\0" + encoded("GIF")[13:],
    "rubbish in a GIF": encoded("GIF")[:13] + b"\1" * 300_000,
    "frame beyond its screen": b"GIF89a\x28\0\x1e\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
}  # fmt: skip


@pytest.mark.parametrize("what", HUNGRY)
def test_small_files_cannot_cost_much(what):
    begun = time.monotonic()
    found = probe(HUNGRY[what])
    assert isinstance(found, ImageReject) and found.reason in (Reason.IMAGE_TOO_LARGE, Reason.IMAGE_BROKEN), found
    assert time.monotonic() - begun < 2


def test_the_bounds_are_settings_and_ordinary_files_pass_them():
    assert probe(encoded("JPEG", progressive=True), ImageLimits(max_scans=2)).reason == Reason.IMAGE_TOO_LARGE
    assert "max_parts" in probe(encoded("PNG"), ImageLimits(max_parts=1)).detail
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        assert isinstance(probe(encoded(kind, picture(300, 200))), Probe)
        assert parts(encoded(kind, picture(300, 200)), 4096) < 300
    assert isinstance(probe(tiled_tiff(64)), Probe)


@settings(max_examples=120)
@given(
    st.sampled_from(
        [
            png(chunk(b"tEXt", b"a\0b"), chunk(b"eXIf", BROKEN_EXIF)),
            jpeg(segment(0xE1, BROKEN_EXIF)),
            webp(b"XMP ", b"x"),
            encoded("GIF"),
            encoded("TIFF"),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=9),
    st.integers(0, 60),
)
def test_cleaning_never_raises_and_never_grows(data, changes, cut):
    changed = bytearray(data)
    for place, value in changes:
        changed[place] = value
    changed = changed[: len(changed) - cut]
    cleaned = without_metadata(bytes(changed))
    assert cleaned is None or len(cleaned) < len(changed)
    assert isinstance(probe(bytes(changed)), (Probe, ImageReject))


@pytest.mark.parametrize(("number", "pairs"), [("09", 4), ("10", 3)])
def test_cases_of_metadata(number, pairs, tmp_path):
    corpus = made(case(number, tmp_path) / "c.yaml")
    kept = {row["image_id"].rpartition("/")[2] for row in rows(corpus, "pairs", "pairs")}
    assert len(kept - {"pixels.png"}) == pairs
    for row in rows(corpus, "pairs", "rejects"):
        assert "pixels.png" in row["detail"] and "not an image" not in row["detail"]


def test_an_image_that_could_not_be_reached_is_asked_for_again(tmp_path, monkeypatch):
    from pipelines.build import stages_of
    from pipelines.config import parse_config
    from pipelines.plan import plan
    from pipelines.run import run
    from schemas import files
    from schemas.corpus import Corpus

    (tmp_path / "img").mkdir()
    for name in "abcd":
        (tmp_path / "img" / f"{name}.jpg").write_bytes(encoded("JPEG", picture(seed=ord(name))))
    (tmp_path / "c.csv").write_text("image,caption\n" + "".join(f"{name}.jpg,A dog number {name} runs home\n" for name in "abcd"))
    config = parse_config(
        {
            "corpus": str(tmp_path / "corpus"),
            "partitions": 2,
            "tfidf": None,
            "max_rejected": 1.0,
            "pairs": [{"format": "csv", "name": "x", "captions": str(tmp_path / "c.csv"), "images": str(tmp_path / "img")}],
        },
        str(tmp_path),
    )
    whole = files.open_regular

    def failing(path):
        if path.endswith("b.jpg"):
            raise OSError(5, "Input/output error", path)
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "open_regular", failing)
        run(config)
    corpus = Corpus(config.corpus, 2)
    assert corpus.manifest("pairs").counts.reasons == {"image_unreachable": 1}
    assert "were unreachable" in plan(corpus, stages_of(config), config.seed)[0].why[0]
    report = run(config)
    assert [manifest.stage for manifest in report.ran][0] == "pairs" and report.ran[0].ran == 1
    assert corpus.manifest("pairs").counts.rows_out["pairs"] == 4
    assert {state.state for state in plan(corpus, stages_of(config), config.seed)} == {"current"}
