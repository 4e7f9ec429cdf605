"""Output folders of commands: absent or empty at first, or marked as the command's own; never a folder with other content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas import files
from schemas.corpus import INDEX, holds_stage
from schemas.errors import ConfigError, CorpusError
from schemas.retries import is_local_filesystem

MARK = ".made-by-cmcl"  # contains the name of the command that may write and remove its own files there


def claim_folder(folder: str | os.PathLike[str], maker: str, was_made: Callable[[Path], bool] = lambda _: False) -> None:
    """Claims a folder for `maker`: an absent or empty folder is created and marked, a folder that `maker` marked earlier is left as is.

    was_made: whether `maker` filled an unmarked folder in a release that left no marks.

    Raises, before anything is written, ConfigError when the folder contains files that `maker` did not write, and CorpusError when it is
    inside a corpus.
    """
    path = Path(folder)
    mark = path / MARK
    check_apart_from_corpora(str(path))
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigError(f"{path} is not a folder: name a new or empty folder")
    held = {entry.name: entry for entry in files.entries(str(path))}
    if MARK in held:
        if held[MARK].kind != "file" or mark.read_bytes() != f"{maker}\n".encode():
            raise ConfigError(f"{path} is not an output folder of `{maker}` (according to {mark}): name a new or empty folder")
        return
    if held and not was_made(path):
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise ConfigError(
            f"{path} is not an output folder of `{maker}`: it contains {min(held)}{more}; name a new or "
            f"empty folder (if an earlier release created it, run `echo '{maker}' > {mark}`)"
        )
    path.mkdir(parents=True, exist_ok=True)
    with open(mark, "x", encoding="utf-8") as file:
        file.write(f"{maker}\n")


def check_apart_from_corpora(url: str) -> None:
    """Raises CorpusError when a folder above `url` is a corpus, or a stage's folder in one."""
    for above in _above(url):
        try:
            index = files.read_json(files.join(above, INDEX))  # of any format, sealed or not
            inside = (isinstance(index, dict) and {"format", "stages"} <= set(index)) or holds_stage(above)
        except OSError:  # a folder without read permission
            continue
        if inside:
            raise CorpusError(f"{url} is inside another corpus ({above}): name a folder outside it")


def _above(url: str) -> Iterator[str]:
    """The folders above a URL, innermost first; for a local path, with links resolved."""
    fs, path = files.filesystem(url)
    if is_local_filesystem(fs):
        yield from map(str, Path(os.path.realpath(path)).parents)
        return
    while "/" in url.rstrip("/").partition("://")[2]:
        url = url.rstrip("/").rpartition("/")[0]
        yield url
