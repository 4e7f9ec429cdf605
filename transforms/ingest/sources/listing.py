"""Lists the files that paths, URLs and globs match, and those below a folder."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import SourceError
from schemas.retries import is_there, retried, strict
from schemas.text import quoted
from transforms.ingest.limits import Limits
from transforms.ingest.sources.opening import filesystem_of, wrap_source_errors

Urls = str | list[str]


@dataclass(frozen=True)
class Found:
    """One file of a listing: its absolute path or URL, size in bytes (-1: not reported by the store) and stamp."""

    url: str
    size: int
    stamp: str


def stamp_of(info: dict[str, Any]) -> str:
    """The stamp of an fsspec listing entry: its ETag, else "size:time"; "" if the store reports neither size nor time."""
    for name in ("ETag", "etag", "md5Hash", "checksum"):
        if info.get(name):
            return str(info[name]).strip('"')
    when = next(
        (
            info[name]
            for name in ("mtime", "last_modified", "LastModified", "Last-Modified", "updated", "created")
            if info.get(name) is not None
        ),
        "",
    )
    if isinstance(when, float):  # seconds: local files. A float distinguishes microseconds, not nanoseconds
        when = round(when * 1_000_000) * 1000
    size = info.get("size")
    return f"{size if size is not None else ''}:{when}" if size is not None or when else ""


def _found(fs: fsspec.AbstractFileSystem, info: dict[str, Any]) -> Found:
    local = "file" in fs.protocol if not isinstance(fs.protocol, str) else fs.protocol == "file"
    if local and info.get("islink"):
        info = fs.info(info["name"])
    url = info["name"] if local else fs.unstrip_protocol(info["name"])
    size = info.get("size")
    return Found(url, -1 if size is None else int(size), stamp_of(info))


def _is_file(info: dict[str, Any]) -> bool:
    return info["type"] == "file" or (bool(info.get("islink")) and os.path.isfile(info["name"]))


def expand(urls: Urls) -> list[Found]:
    """The files that `urls` (paths or URLs, with globs) match, sorted, without duplicates.

    Raises SourceError naming the first that is missing, is a folder, pipe or device, or matches nothing.
    """
    found: dict[str, Found] = {}
    for url in [urls] if isinstance(urls, str) else urls:
        with wrap_source_errors(url):
            fs, path = filesystem_of(url)
            magic = "*[" if url.startswith(("http://", "https://")) else "*[?"  # the ? of a URL's query is not a pattern
            if any(character in path for character in magic) and not fs.exists(path):
                files = [info for info in retried(fs, partial(fs.glob, path, detail=True, **strict(fs))).values() if _is_file(info)]
                if not files:
                    raise SourceError(f"{quoted(url, 500)} matches no files")
            else:
                info = retried(fs, partial(fs.info, path))
                if info["type"] == "directory":
                    raise SourceError(
                        f"{quoted(url, 500)} is a folder, not a file; for the files in it use {quoted(url.rstrip('/'), 500)}/*"
                    )
                if not _is_file(info):
                    raise SourceError(f"{quoted(url, 500)} is a pipe, socket or device, not a file")
                files = [info]
            for info in files:
                one = _found(fs, info)
                found[one.url] = one
    if not found:
        raise SourceError("no files given")
    return [found[url] for url in sorted(found)]


def list_folder(url: str, limits: Limits | None = None) -> dict[str, Found]:
    """All files below the folder `url`, by relative path in NFC, sorted; one listing, no request per file.

    Names that start with a dot are skipped. Links to files and folders are followed, except to a folder that contains the link; a
    dangling link is listed as a file of size 0. Two names that differ only in their Unicode form are both kept unchanged. Raises
    SourceError if the folder does not exist, a folder in it cannot be read, or `limits.listed` is exceeded.
    """
    limits = limits or Limits()
    with wrap_source_errors(url):
        fs, path = filesystem_of(url)
        if not is_there(fs, partial(fs.isdir, path)):
            raise SourceError(
                f"{quoted(url, 500)}: no such folder" if not fs.exists(path) else f"{quoted(url, 500)} is a file, not a folder"
            )
        if isinstance(fs, LocalFileSystem):
            files = dict(_walk(path, limits))
        else:
            start = len(path.rstrip("/")) + 1
            listed = retried(fs, partial(fs.find, path, detail=True, **strict(fs)))
            files = {
                name[start:]: _found(fs, info)
                for name, info in listed.items()
                if _is_file(info) and not any(part.startswith(".") for part in name[start:].split("/"))
            }
    names: dict[str, str] = {}
    for name in sorted(files):
        composed = unicodedata.normalize("NFC", name)
        names[name if composed != name and (composed in files or composed in names) else composed] = name
    return {name: files[names[name]] for name in sorted(names)}


def _walk(root: str, limits: Limits) -> Iterator[tuple[str, Found]]:
    """Files below a local folder as (relative path, file)."""
    top = os.path.realpath(root)
    ends = _identities(top)
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [("", root, ends)]
    seen = 0
    while pending:
        below, folder, above = pending.pop()
        with wrap_source_errors(folder), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                seen += 1
                if seen > limits.listed:
                    raise SourceError(
                        f"{quoted(root, 500)} contains more than {limits.listed} files (`limits.listed`); does it contain circular links?"
                    )
                name = f"{below}{entry.name}"
                try:
                    status = entry.stat()
                except OSError:
                    if not entry.is_symlink():
                        raise
                    yield name, Found(entry.path, 0, "dangling")
                    continue
                if stat.S_ISDIR(status.st_mode):
                    identity = (status.st_dev, status.st_ino)
                    if not entry.is_symlink():
                        pending.append((f"{name}/", entry.path, above | {identity}))
                    elif identity not in above:
                        pending.append((f"{name}/", entry.path, above | _identities(os.path.realpath(entry.path))))
                elif stat.S_ISREG(status.st_mode):
                    yield name, Found(entry.path, status.st_size, stamp_of({"size": status.st_size, "mtime": status.st_mtime}))


def _identities(path: str) -> frozenset[tuple[int, int]]:
    """Device and inode of a real folder and of all its parents."""
    found = set()
    while True:
        status = os.stat(path)
        found.add((status.st_dev, status.st_ino))
        if path == os.path.dirname(path):
            return frozenset(found)
        path = os.path.dirname(path)


def listing_stamp(files: dict[str, Found]) -> str:
    """The stamp of a folder's listing; it changes when a file is added, removed, renamed or rewritten."""
    digest = blake2b(digest_size=16)
    for name, file in files.items():
        digest.update(f"{name}\0{file.size}\0{file.stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
