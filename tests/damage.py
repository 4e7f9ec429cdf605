"""Damages the files of a corpus."""

from pathlib import Path


def members(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file() and path.name != ".lock")


def flip(path: Path, at: float, bit: int) -> bytes:
    """Flips one bit at a relative position in the file; returns the original content."""
    before = path.read_bytes()
    data = bytearray(before)
    data[int(at * len(data))] ^= 1 << bit
    path.write_bytes(data)
    return before


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\n")


def swap_with_the_next(path):
    """Swaps a file with the other partition's, or, if there is none, with another stage's."""
    other = (
        path.with_name(path.name.replace("00000", "00001"))
        if "00000" in path.name
        else next(other for other in sorted(path.parent.parent.rglob(path.name)) if other != path)
    )
    held = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(held)
