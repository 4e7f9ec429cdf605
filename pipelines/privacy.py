"""Removes locations from text for pages: paths and URLs reveal machines and users, and may contain credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas import files
from schemas.corpus import Corpus
from schemas.manifest import StageManifest

_LOCATION = re.compile(
    r"""(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://[^\s'"<>]*|(?<![\w.~])~?/[^\s'"<>/][^\s'"<>]*|(?<![A-Za-z])[A-Za-z]:\\[^\s'"<>]*|\\\\[^\s'"<>]+"""
)


class Scrubber:
    """Reduces locations to their last component. folders: known locations, removed first since they may contain spaces."""

    def __init__(self, folders: Iterable[str] = ()):
        self._folders = sorted({folder.rstrip("/") for folder in folders if len(folder.rstrip("/")) > 1}, key=lambda one: (-len(one), one))

    def __call__(self, text: str) -> str:
        """`text` without folders, hosts, credentials and queries of the locations in it."""
        for folder in self._folders:
            text = text.replace(f"{folder}/", "").replace(folder, last_name(folder))
        return _LOCATION.sub(lambda found: last_name(found[0]), text)

    def value(self, value: Any) -> Any:
        """A JSON-like value with every string in it, keys included, scrubbed."""
        if isinstance(value, Mapping):
            return {self(str(key)): self.value(held) for key, held in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(held) for held in value]
        return self(value) if isinstance(value, str) else value


def last_name(location: str) -> str:
    """The last component of a path or URL, without credentials, query and fragment."""
    path = location.partition("://")[2] if "://" in location else location
    if "://" in location:
        path = re.split(r"[?#]", path, maxsplit=1)[0]
        path = path.rpartition("@")[2] if "/" not in path.rpartition("@")[2] or "@" in path.partition("/")[0] else path
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def scrubber_of(corpora: Iterable[Corpus], manifests: Iterable[StageManifest]) -> Scrubber:
    """A scrubber that knows the corpora's own locations and those of their inputs."""
    folders = set()
    for url in [corpus.url for corpus in corpora]:
        path = files.local_path(url) if files.is_local(url) else url
        folders |= {held for own in (url, path) for held in (own, own.rstrip("/").rpartition("/")[0])}
    for manifest in manifests:
        for text in _strings(manifest.ingredients):
            if text.startswith("/") or "://" in text:
                folders |= {text.rpartition("/")[0]}
                folders |= set() if any(sign in text for sign in "*?[") else {text}
    return Scrubber(folder for folder in folders if folder.count("/") > 1)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield from (str(key), *_strings(held))
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _strings(held)
