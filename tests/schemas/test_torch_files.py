"""Files of torch in the format before 1.6 declare the sizes of their storages: none may exceed what the file can hold."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from schemas.torch_files import why_oversized

torch = pytest.importorskip("torch", reason="needs cmcl[regions]")


def saved(path: Path, value: Any, old: bool = True) -> bytes:
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    return path.read_bytes()


@pytest.mark.parametrize("old", [True, False])
def test_what_torch_saves_is_accepted(old: bool, tmp_path: Path):
    weights = {f"w{number}": torch.randn(30, 50) for number in range(40)}
    state = {"model": {**weights, "tied": weights["w0"], "view": weights["w1"][3:], "one": torch.tensor(5)}, "seed": 2**60, "lr": 0.1}
    saved(tmp_path / "a.pth", state, old)
    assert why_oversized(tmp_path / "a.pth") == ""
    assert torch.load(tmp_path / "a.pth", weights_only=True)["seed"] == 2**60


SIZE = b"M\xdc\x05N"  # BININT2 1500, NONE: the end of a storage's description


@pytest.mark.parametrize(
    "number",
    [b"J\xff\xff\xff\x7f", b"\x8a\x05\0\0\0\0\x40", b"\x8a\x09" + b"\xff" * 8 + b"\0", b"I99999999999999\n", b"L99999999999999L\n"],
)
def test_a_storage_larger_than_its_file_is_refused(number: bytes, tmp_path: Path):
    data = saved(tmp_path / "a.pth", {"a": torch.randn(30, 50), "b": torch.randn(30, 50)})
    assert data.count(SIZE) == 2
    (tmp_path / "a.pth").write_bytes(data.replace(SIZE, number + b"N", 1))
    assert "declares" in why_oversized(tmp_path / "a.pth")


@pytest.mark.parametrize("end", [b"K\x05K\x05\x86", b"K\x05", b"h\x00"])
def test_a_size_that_is_computed_or_remembered_is_refused(end: bytes, tmp_path: Path):
    data = saved(tmp_path / "a.pth", {"a": torch.randn(30, 50)})
    (tmp_path / "a.pth").write_bytes(data.replace(SIZE, end + b"N" if end[:1] == b"h" else SIZE[:3] + end, 1))
    assert "size is not a plain number" in why_oversized(tmp_path / "a.pth")


def test_compressed_archives_are_refused_and_other_files_left_to_torch(tmp_path: Path):
    saved(tmp_path / "plain.pth", {"a": torch.zeros(1000)}, old=False)
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "compressed archive" in why_oversized(tmp_path / "b.pth")
    for data in (b"", b"hello", bytes(100), b"PK\x03\x04"):
        (tmp_path / "c.pth").write_bytes(data)
        assert why_oversized(tmp_path / "c.pth") == ""


def test_the_readers_of_weights_report_it(tmp_path: Path):
    from model.pretrained import _read
    from schemas.errors import CmclError
    from transforms.engines.detectors.weights import read_weights

    data = saved(tmp_path / "a.pth", {"a": torch.randn(30, 50)})
    (tmp_path / "a.pth").write_bytes(data.replace(SIZE, b"\x8a\x05\0\0\0\0\x40N", 1))
    for read in (read_weights, _read):
        with pytest.raises(CmclError, match=r"a\.pth declares"):
            read(str(tmp_path / "a.pth"))
