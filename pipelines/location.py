"""Where a corpus may be built: in a folder that is absent, empty, or already the corpus's own. Checked before anything is written.

Files that the corpus did not write must never be overwritten or removed. So its folder must contain nothing else at the start, its
stages' folders must be its own, none of its files may be a link, and no input and no other corpus may lie inside or around it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from fsspec.utils import glob_translate

from pipelines.config import KEYS_WITH_PATHS, PATH_KEYS, Config
from schemas import files
from schemas.corpus import CARD, INDEX, LOCK, ROOT_FILES, Corpus, holds_stage, is_card, is_own_name, read_index
from schemas.errors import CmclError, ConfigError, CorpusError
from schemas.own_folder import check_apart_from_corpora
from schemas.retries import is_local_filesystem, is_web
from transforms.core.stage import Stage

_CURE = "a corpus needs a folder that does not exist, is empty, or is already its own: name another folder"
# Names of files that any corpus has, to test whether an input's pattern would match them.
_LIKELY = (INDEX, LOCK, CARD, "pairs", "pairs/manifest.json", "pairs/task-00000.json", "pairs/pairs-00000-of-00016.arrow",
           "pairs/images-00000-of-00016.arrow", "pairs/rejects-00000-of-00016.arrow", "examples/examples-00000-of-00016.arrow")  # fmt: skip
_OURS_TO_LOCK = re.compile(rb"cmcl \d+\n")
_LEASE_KEY = re.compile(rb'"run"\s*:')


def check_location(config: Config) -> None:
    """Raises ConfigError or CorpusError, naming the obstacle, unless a corpus may be built where `config` says. Writes nothing."""
    url = config.corpus
    try:
        fs, _ = files.filesystem(url)
        if is_web(fs):
            raise CorpusError(f"{url}: web servers are read-only: build the corpus on a disk or in an object store")
        if is_local_filesystem(fs):
            _check_folder(files.local_path(url))
        index, held = read_index(url), files.entries(url)
    except CmclError:
        raise
    except Exception as error:  # every store has its own exceptions
        text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise CorpusError(f"{url}: cannot build a corpus there ({text[:200]}); {_CURE}") from error
    _check_own_files(url, held)
    if index is None:
        _check_nothing_else(url, held)
    check_apart_from_corpora(url)
    _check_apart_from_inputs(config)


def check_stages(corpus: Corpus, stages: Sequence[Stage]) -> None:
    """Raises CorpusError, naming the obstacle, unless each stage's folder is absent or its own. Writes nothing.

    A folder is a stage's own if `corpus.json` names it, it is empty, or it contains a record of the stage.
    """
    index = read_index(corpus.url)
    check_links(corpus, {stage.name: list(stage.writes) for stage in stages})
    named = {entry.stage for entry in index.stages} if index else set()
    for stage in stages:
        folder = corpus.folder(stage.name)
        if stage.name in named or holds_stage(folder):
            continue
        foreign = [entry.name for entry in files.entries(folder) if not _is_of_stage(entry, list(stage.writes))]
        if foreign:
            raise CorpusError(
                f"{_first(folder, foreign)} in the folder of the stage {stage.name}, but not part of this corpus: "
                "move it away, or name another folder for the corpus"
            )


def check_links(corpus: Corpus, tables: dict[str, list[str]]) -> None:
    """Raises CorpusError, naming the path, when a stage's folder is not a real folder or one of its files is not a plain file.

    tables: by stage, the tables that it writes.
    """
    root = {entry.name: entry for entry in files.entries(corpus.url)}
    _check_own_files(corpus.url, list(root.values()))
    for stage, names in tables.items():
        folder = corpus.folder(stage)
        if stage in root and root[stage].kind != "folder":
            raise CorpusError(
                f"{folder} is {_KINDS[root[stage].kind]}, but must be the folder of the stage {stage}: remove it, or name "
                "another folder for the corpus"
            )
        for entry in files.entries(folder):
            if entry.kind != "file" and is_own_name(entry.name, names):
                raise CorpusError(f"{files.join(folder, entry.name)} is {_KINDS[entry.kind]}, but must be a plain file: remove it")


_KINDS = {"link": "a link", "folder": "a folder", "other": "a special file", "file": "a file"}


def _check_folder(path: str) -> None:
    """Raises CorpusError unless a local path is a folder, or one can be created there."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise CorpusError(f"{path} is a broken link: create the folder that it points to, or name another folder") from None
        above = os.path.dirname(path)
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            raise CorpusError(f"{above} is not a folder, so {path} cannot be created: {_CURE}") from None
        return
    except (OSError, ValueError) as error:  # name too long, symlink loop, a file in the path, no permission
        raise CorpusError(f"{path}: cannot build a corpus there ({getattr(error, 'strerror', None) or error}); {_CURE}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise CorpusError(f"{path} is not a folder: {_CURE}")


def _check_own_files(url: str, held: Sequence[files.Entry]) -> None:
    for entry in held:
        if entry.name in (INDEX, LOCK) and entry.kind != "file":
            raise CorpusError(f"{files.join(url, entry.name)} is {_KINDS[entry.kind]}, but must be a plain file: remove it")


def _check_nothing_else(url: str, held: Sequence[files.Entry]) -> None:
    """Raises CorpusError when a folder without a `corpus.json` contains anything that no run has written.

    A corpus that has lost its index is recognised by the manifests and records in its stages' folders.
    """
    stages = {entry.name for entry in held if entry.kind == "folder" and holds_stage(files.join(url, entry.name))}
    foreign = [entry.name for entry in held if not _is_own(url, entry, stages)]
    if foreign:
        raise CorpusError(f"{_first(url, foreign)} in the corpus's folder, which has no valid corpus.json: {_CURE}")


def _is_own(url: str, entry: files.Entry, stages: set[str]) -> bool:
    if entry.kind == "file":
        if entry.name == LOCK:
            return _is_own_lock(files.join(url, LOCK))
        if entry.name == CARD:
            return bool(stages) and is_card(files.join(url, CARD))
        return files.is_temporary(entry.name, ROOT_FILES.__contains__) or (entry.name == INDEX and bool(stages))
    return entry.name in stages or (entry.kind == "folder" and bool(stages) and not files.entries(files.join(url, entry.name)))


def _is_of_stage(entry: files.Entry, tables: Sequence[str]) -> bool:
    def is_own(name: str) -> bool:
        return is_own_name(name, tables)

    return entry.kind == "file" and (is_own(entry.name) or files.is_temporary(entry.name, is_own))


def _is_own_lock(url: str) -> bool:
    with files.open_read(url) as file:
        held = file.read(4096)
    lease = held.strip()
    return bool(_OURS_TO_LOCK.fullmatch(held) or lease.startswith(b"{") and lease.endswith(b"}") and _LEASE_KEY.search(lease))


def _first(folder: str, names: Sequence[str]) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{files.join(folder, names[0])}{others} {'are' if others else 'is'}"


def _check_apart_from_inputs(config: Config) -> None:
    """Raises ConfigError when an input lies in the corpus, could match one of its files, or is a folder around it."""
    corpus = _location(config.corpus)
    matches = bool(files.entries(config.corpus))  # an absent or empty folder cannot contain inputs
    for key, url in _inputs(config):
        for found in _locations(url, matches):
            if _is_inside(found, corpus):
                raise ConfigError(
                    f"{key}: {url} is inside the corpus ({config.corpus}), where only runs may write: move the input "
                    "out of it, or build the corpus elsewhere"
                )
            if _is_around(found, corpus, is_folder=key.endswith("images")):
                raise ConfigError(
                    f"corpus: {config.corpus} is inside an input ({key}: {url}), so its files would be read as input: "
                    "name a folder outside it"
                )


def _inputs(config: Config) -> Iterator[tuple[str, str]]:
    """The keys of all inputs, with their paths or URLs."""
    holders = [(f"{kind}.{at}", source) for kind in ("pairs", "images", "texts") for at, source in enumerate(getattr(config, kind))]
    holders += [(name, getattr(config, name)) for name in KEYS_WITH_PATHS]
    for key, holder in holders:
        for name in sorted(PATH_KEYS):
            value = getattr(holder, name, None)
            for given in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []:
                yield f"{key}.{name}", given if isinstance(given, str) else given.file


# The store ("" for this machine) and the path in it, links resolved, without a trailing slash.
_Location = tuple[str, str]
_MAGIC = re.compile(r"[*?[]")


def _location(url: str) -> _Location:
    fs, path = files.filesystem(url)
    if is_local_filesystem(fs):
        return "", os.path.realpath(path)
    return type(fs).__name__, "/" + os.path.normpath(path.strip("/"))


def _locations(url: str, matches: bool) -> Iterator[_Location]:
    """The locations of an input: of each part of a URL chain (zip://a::file://b) and, with `matches`, of each local file it matches.

    Yields nothing for an invalid URL: its source will report what is wrong.
    """
    parts = url.split("::") if "://" in url else [url]
    for part in parts:
        if len(parts) > 1 and "://" not in part:
            continue
        try:
            fs, path = files.filesystem(part)
        except (ImportError, ValueError, OSError):
            continue
        if not _is_pattern(fs, part, path):
            yield _location(part)
            continue
        head = _MAGIC.split(path, maxsplit=1)[0].rpartition("/")[0] or "/"
        tail = path[len(head.rstrip("/")) + 1 :]
        if is_local_filesystem(fs):
            yield "", f"{os.path.realpath(head).rstrip('/')}/{tail}"
            yield from (("", os.path.realpath(found)) for found in (fs.glob(path) if matches else ()))
        else:
            yield type(fs).__name__, re.sub("/+", "/", f"/{head}/{tail}")


def _is_pattern(fs: object, url: str, path: str) -> bool:
    return (
        bool(_MAGIC.search(path))
        and not url.startswith(("http://", "https://"))
        and not (is_local_filesystem(fs) and os.path.lexists(path))
    )


def _is_inside(inner: _Location, outer: _Location) -> bool:
    """Whether a location equals another or lies below it; on this machine also under another name (case, bind mounts)."""
    if inner[0] != outer[0]:
        return False
    if f"{inner[1].rstrip('/')}/".startswith(f"{outer[1].rstrip('/')}/"):
        return True
    if inner[0]:
        return False
    try:
        found = os.stat(outer[1])
        return any(
            os.path.samestat(found, os.stat(path)) for path in (inner[1], *map(str, Path(inner[1]).parents)) if os.path.lexists(path)
        )
    except OSError:
        return False


def _is_around(source: _Location, corpus: _Location, is_folder: bool) -> bool:
    """Whether an input that is a pattern, or a folder that is read recursively, reaches into a corpus."""
    if source[0] != corpus[0]:
        return False
    if _MAGIC.search(source[1]) and (source[0] or not os.path.lexists(source[1])):
        matches = re.compile(glob_translate(source[1]))
        return any(matches.match(f"{corpus[1].rstrip('/')}/{name}") for name in _LIKELY)
    return (is_folder or (not source[0] and os.path.isdir(source[1]))) and _is_inside(corpus, source)
