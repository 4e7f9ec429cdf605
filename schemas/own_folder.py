"""Folders that a command fills: absent or empty before, or marked as that command's own; never a folder that somebody else filled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas import files
from schemas.corpus import INDEX, holds_stage
from schemas.errors import ConfigError, CorpusError
from schemas.retries import is_local_filesystem

MARK = ".made-by-cmcl"  # in it, the name of the command that may write and remove its own files there


def claim_folder(folder: str | os.PathLike[str], maker: str, was_made: Callable[[Path], bool] = lambda _: False) -> None:
    """Makes a folder the maker's own: one that is absent or empty is made and marked, one that it marked before is left as it is.

    was_made: tells whether the maker filled a folder without a mark, in a release that left none.

    Raises ConfigError, before anything is written, when the folder holds what the maker did not write, and CorpusError when it lies
    in a corpus.
    """
    path = Path(folder)
    mark = path / MARK
    check_apart_from_corpora(str(path))
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigError(f"{path} is no folder: name one that is absent or empty")
    held = {entry.name: entry for entry in files.entries(str(path))}
    if MARK in held:
        if held[MARK].kind != "file" or mark.read_bytes() != f"{maker}\n".encode():
            raise ConfigError(f"{path} is no folder of `{maker}` ({mark} says so): name one that is absent or empty")
        return
    if held and not was_made(path):
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise ConfigError(f"{path / min(held)}{more} stand in a folder that `{maker}` did not make: name one that is absent or empty "
                          f"(a folder that an earlier release made is taken with `echo '{maker}' > {mark}`)")
    path.mkdir(parents=True, exist_ok=True)
    with open(mark, "x", encoding="utf-8") as file:
        file.write(f"{maker}\n")


def check_apart_from_corpora(url: str) -> None:
    """Raises CorpusError when a folder above a place is a corpus, or a stage's folder of one."""
    for above in _above(url):
        try:
            index = files.read_json(files.join(above, INDEX))  # of any format, sealed or not
            inside = (isinstance(index, dict) and {"format", "stages"} <= set(index)) or holds_stage(above)
        except OSError:  # a folder that may not be looked into
            continue
        if inside:
            raise CorpusError(f"{url} lies inside of another corpus ({above}): name a folder outside of it")


def _above(url: str) -> Iterator[str]:
    """The folders above a place, innermost first; of a local one, those above the folder that it really is."""
    fs, path = files.filesystem(url)
    if is_local_filesystem(fs):
        yield from map(str, Path(os.path.realpath(path)).parents)
        return
    while "/" in url.rstrip("/").partition("://")[2]:
        url = url.rstrip("/").rpartition("/")[0]
        yield url
