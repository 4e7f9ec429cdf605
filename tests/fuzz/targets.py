"""What is fuzzed: seeds, and what reads them. A target may raise the project's own errors, of one line; anything else is a finding."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import load_config, parse_config
from pipelines.run import run
from pipelines.verify import verify
from schemas.corpus import open_corpus
from tests.transforms.ingest.source_help import encoded, pair_source, picture, text_source
from transforms.ingest.images.probe import ImageError, ImageLimits, Probe, open_image, probe
from transforms.regions.files.base import RegionFileError, to_regions
from transforms.regions.files.layouts import PARSERS
from transforms.regions.files.stage import RegionFileSettings, open_store

CAPTIONS = ("A red dog runs on the grass.", "Zwei Hunde, “quoted” – naïve", 'a, b\t"c"\nd', "x" * 300)


class Target(NamedTuple):
    """seeds: sound inputs, by which mutations begin. read: of one input, lying in a file of a folder that is its alone."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], None]
    name: str = "input"


def _drain(source: Any) -> None:
    for split in source.splits():
        for batch in source.read(split):
            batch.validate(full=True)


def _configurations() -> list[bytes]:
    source = "- {format: csv, name: x, captions: c.csv, images: img}"
    return [
        f"corpus: out\npartitions: 2\ntfidf: null\nmax_rejected: 0.5\npairs:\n{source}\n".encode(),
        b"corpus: out\npairs:\n- {format: webdataset, name: w, shards: 'a-{0..3}.tar'}\nregion_files: {format: lxmert, files: [a.tsv], key: "
        b"'{number:012d}'}\nexclude: {files: [e.txt]}\nimage_limits: {max_pixels: 9, formats: [PNG]}\n",
        b"corpus: &a out\nimages: [{format: folder, name: i, images: *a}]\nswaps: {per_kind: 3}\nseed: 7\n",
    ]


def _read_configuration(path: Path) -> None:
    load_config(str(path))


def _tars() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            for number, caption in enumerate(CAPTIONS):
                for name, data in ((f"é{number:04d}" + "x" * 110 * (number == 2 and form != tarfile.USTAR_FORMAT), encoded()),):
                    for end, content in ((".jpg", data), (".txt", caption.encode()), (".json", json.dumps({"caption": caption}).encode())):
                        info = tarfile.TarInfo(name + end)
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
        found.append(out.getvalue())
    return found


def _npz() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, values in (
                ("norm_bb", np.float16([[0.1, 0.1, 0.5, 0.5, 0.4, 0.4]])),
                ("features", np.ones((1, 9), np.float32)),
                ("conf", np.float32([0.5])),
                ("soft_labels", np.ones((1, 5), np.float16)),
            ):
                held = io.BytesIO()
                np.save(held, values)
                archive.writestr(f"{name}.npy", held.getvalue())
        found.append(out.getvalue())
    return found


def _lmdb() -> list[bytes]:
    import tempfile

    import lmdb
    import msgpack

    array = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": (1, 6), b"data": np.float32([[0.1, 0.1, 0.5, 0.5, 0.4, 0.4]]).tobytes()}
    wide = {**array, b"shape": (1, 3000), b"data": np.ones((1, 3000), np.float32).tobytes()}
    with tempfile.TemporaryDirectory() as folder:
        with lmdb.open(folder, map_size=1 << 24) as env, env.begin(write=True) as out:
            for number in range(60):
                out.put(f"k{number}".encode(), msgpack.dumps({"norm_bb": array, "features": wide if number % 9 == 0 else array}))
            out.put(b"zip", _npz()[1])
        return [(Path(folder) / "data.mdb").read_bytes()]


def _tsv() -> list[bytes]:
    from tests.transforms.regions import test_layouts as lines

    return [
        lines.bottom_up() + lines.bottom_up("2", count=1),
        lines.lxmert(),
        lines.vinvl(),
        lines.vinvl(layout="counts"),
        lines.bottom_up(extra=[lines.b64(np.full((3, 5), 0.2))]) + b"2\t64\t48\t0\t\t\n",
    ]


def _read_regions(*formats: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        for form in formats:
            try:
                store = open_store(RegionFileSettings(format=form, files=(str(path.parent if form == "uniter_npz" else path),)))
                for key in list(store.keys())[:70]:
                    try:
                        entry = store.get(key)
                        if entry is not None:
                            to_regions(entry, entry.width or 64, entry.height or 48, 9, 5)
                    except RegionFileError as error:
                        assert error.detail
            except ValueError as error:  # LmdbError, and others that the stage turns into ConfigError
                assert str(error)

    return read


def _parquets() -> list[bytes]:
    found = []
    table = pa.table({"image": ["a.jpg", None, "b.jpg", "c.jpg"], "caption": list(CAPTIONS), "jpg": [encoded(), b"", None, b"x"]})
    nested = pa.table({"jpg": [{"bytes": b"1", "path": "a"}] * 4, "caption": [list(CAPTIONS), [], None, ["a", None]]})
    for one, compression in ((table, "none"), (table, "zstd"), (table, "snappy"), (nested, "none")):
        out = io.BytesIO()
        pq.write_table(one, out, compression=compression, row_group_size=3)
        found.append(out.getvalue())
    return found


def _read_parquet(path: Path) -> None:
    _drain(pair_source(format="parquet", files=str(path), image="jpg", caption="caption"))


def _json() -> list[bytes]:
    told = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 3, "coco_url": "http://x/a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"id": n, "image_id": 1 + n % 2, "caption": caption} for n, caption in enumerate(CAPTIONS)],
        "info": {"x": [[[]]]},
    }
    return [json.dumps(told).encode(), json.dumps(told, ensure_ascii=False, indent=1).encode()]


def _csv() -> list[bytes]:
    found = []
    for dialect in ("excel", "unix"):
        out = io.StringIO(newline="")
        writer = csv.writer(out, dialect)
        writer.writerows([("image", "caption"), *((f"{n}.jpg", caption) for n, caption in enumerate(CAPTIONS)), ("", ""), ("a",)])
        found.append(out.getvalue().encode())
    return [*found, b"\xef\xbb\xbf" + found[0], "image,caption\r1.jpg,été\r".encode("latin-1"), found[0].decode().encode("utf-16")]


def _markdown() -> list[bytes]:
    return [
        b"---\ntitle: x\n---\n# A head\n\nA dog runs. `code` *em* [link](http://x) ![i](a.png)\n\n> quote\n> > deep\n\n- a\n  - b\n\n| a | b |\n|---|---|\n"
        b"| 1 | 2 |\n\n```\ncode\n```\n\nA note[^1].\n\n[^1]: The note.\n\n- [ ] a box\n\n<div>html</div>\n",
        ("(`[*_" * 50).encode(),
        "Ein Satz – noch einer…\n\n".encode() * 9,
    ]


def _images() -> list[bytes]:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [encoded(kind, picture(24, 18)) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]
    return [
        *kinds,
        encoded("JPEG", picture(24, 18), exif=exif, progressive=True),
        encoded("PNG", picture(24, 18), exif=exif),
        encoded("TIFF", picture(24, 18), compression="tiff_lzw"),
        encoded("WEBP", picture(24, 18), exif=exif, lossless=True),
    ]


def _read_image(path: Path) -> None:
    data = path.read_bytes()
    for limits in (ImageLimits(), ImageLimits(decode="header", animated="first")):
        found = probe(data, limits)
        assert isinstance(found, Probe) or found.detail
    try:
        open_image(str(path))
    except ImageError as error:
        assert error.detail


def _corpus(folder: Path) -> Path:
    """A small corpus, made once in a folder."""
    if not (folder / "corpus").exists():
        (folder / "c.csv").write_text("image,caption\n" + "".join(f"{n}.jpg,A dog number {n} runs home\n" for n in range(12)))
        run(
            parse_config(
                {
                    "corpus": str(folder / "corpus"),
                    "partitions": 2,
                    "pixels": False,
                    "tfidf": {"k": 2},
                    "pairs": [{"format": "csv", "name": "x", "captions": str(folder / "c.csv"), "image": "image"}],
                },
                str(folder),
            )
        )
    return folder / "corpus"


def corpus_files(folder: Path) -> Iterator[Path]:
    """The files of the small corpus, sorted; its lock left out."""
    return (path for path in sorted(_corpus(folder).rglob("*")) if path.is_file() and path.name != ".lock")


def read_corpus(folder: Path) -> None:
    """Verifies the small corpus, whatever was done to it."""
    list(map(str, verify(*open_corpus(str(_corpus(folder))))))


TARGETS: dict[str, Target] = {
    "configuration": Target(_configurations, _read_configuration, "c.yaml"),
    "tar": Target(_tars, lambda path: _drain(pair_source(format="webdataset", shards=str(path))), "a.tar"),
    "npz": Target(_npz, _read_regions("uniter_npz"), "a.npz"),
    "lmdb": Target(_lmdb, _read_regions("uniter_lmdb"), "data.mdb"),
    "parquet": Target(_parquets, _read_parquet, "a.parquet"),
    "json": Target(_json, lambda path: _drain(pair_source(format="coco", captions=str(path), images=str(path.parent))), "a.json"),
    "csv": Target(_csv, lambda path: _drain(pair_source(format="csv", captions=str(path), image="image", caption="caption")), "a.csv"),
    "markdown": Target(_markdown, lambda path: _drain(text_source(format="markdown", files=str(path))), "a.md"),
    "images": Target(_images, _read_image, "a.jpg"),
    "regions": Target(_tsv, _read_regions(*PARSERS), "a.tsv"),
    "corpus": Target(lambda: [], lambda path: None),
}


def snapshot(folder: Path, but: Path) -> dict[str, bytes]:
    """Every file below a folder, by path, those below `but` left out."""
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not os.path.commonpath([path, but]) == str(but)
    }
