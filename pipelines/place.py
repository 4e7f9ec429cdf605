"""Where a corpus may be made: in a place that is absent or empty, or that is its own. Looked at before anything is written.

What the corpus did not write is nobody's to overwrite or remove. So its folder must hold nothing else when it is begun, its stages'
folders must be its own, none of its files may be a link to something elsewhere, and neither an input nor another corpus may lie in it
or around it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from fsspec.utils import glob_translate

from pipelines.config import PLACES, WITH_PLACES, Config
from schemas import files
from schemas.corpus import INDEX, LOCK, Corpus, holds_stage, is_own_name, read_index
from schemas.errors import CmclError, ConfigError, CorpusError
from schemas.own_folder import check_apart_from_corpora
from schemas.retries import is_local_filesystem, is_web
from transforms.core.stage import Stage

_CURE = "a corpus is made in a folder that is absent or empty, or in its own: name another folder"
# Names that any corpus has, to see whether a pattern could take its files for input.
_LIKELY = (INDEX, LOCK, "pairs", "pairs/manifest.json", "pairs/task-00000.json", "pairs/pairs-00000-of-00016.arrow",
           "pairs/images-00000-of-00016.arrow", "pairs/rejects-00000-of-00016.arrow", "examples/examples-00000-of-00016.arrow")
_OURS_TO_LOCK = re.compile(rb"cmcl \d+\n")
_LEASE = re.compile(rb'\s*\{.*"run"\s*:.*\}\s*', re.DOTALL)


def check_place(config: Config) -> None:
    """Raises ConfigError or CorpusError, naming what is in the way, unless a corpus may be made where `config` says. Writes nothing."""
    url = config.corpus
    try:
        fs, _ = files.filesystem(url)
        if is_web(fs):
            raise CorpusError(f"{url}: a web server is for input alone: make the corpus on a disk or in an object store")
        if is_local_filesystem(fs):
            _check_folder(files.local_path(url))
        index, held = read_index(url), files.entries(url)
    except CmclError:
        raise
    except Exception as error:  # every store has errors of its own
        said = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise CorpusError(f"{url}: no corpus can be made there ({said[:200]}); {_CURE}") from error
    _check_own_files(url, held)
    if index is None:
        _check_nothing_else(url, held)
    check_apart_from_corpora(url)
    _check_apart_from_inputs(config)


def check_stages(corpus: Corpus, stages: Sequence[Stage]) -> None:
    """Raises CorpusError, naming what is in the way, unless the folders of the stages are absent or their own. Writes nothing.

    A folder is a stage's when `corpus.json` names it, or it is empty, or it holds a record of the stage.
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
            raise CorpusError(f"{_first(folder, foreign)} in the folder of the stage {stage.name}, which is not of this corpus: "
                              "move it away, or name another folder for the corpus")


def check_links(corpus: Corpus, tables: dict[str, list[str]]) -> None:
    """Raises CorpusError, naming it, when a stage's folder or a file of its own is a link, or no folder or file at all.

    tables: by stage, the tables that it writes.
    """
    root = {entry.name: entry for entry in files.entries(corpus.url)}
    _check_own_files(corpus.url, list(root.values()))
    for stage, names in tables.items():
        folder = corpus.folder(stage)
        if stage in root and root[stage].kind != "folder":
            raise CorpusError(f"{folder} is {_KINDS[root[stage].kind]}, where the stage {stage} has its folder: remove it, or name another "
                              "folder for the corpus")
        for entry in files.entries(folder):
            if entry.kind != "file" and is_own_name(entry.name, names):
                raise CorpusError(f"{files.join(folder, entry.name)} is {_KINDS[entry.kind]}, where the corpus has a file: remove it")


_KINDS = {"link": "a link", "folder": "a folder", "other": "no plain file", "file": "a file"}


def _check_folder(path: str) -> None:
    """Raises CorpusError when a local path cannot be that of a folder."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise CorpusError(f"{path} is a link that leads nowhere: make the folder that it leads to, or name another folder") from None
        above = os.path.dirname(path)
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            raise CorpusError(f"{above} is not a folder, so {path} cannot be one: {_CURE}") from None
        return
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a file for a folder, no permission to look
        raise CorpusError(f"{path}: no corpus can be made there ({getattr(error, 'strerror', None) or error}); {_CURE}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise CorpusError(f"{path} is not a folder: {_CURE}")


def _check_own_files(url: str, held: Sequence[files.Entry]) -> None:
    for entry in held:
        if entry.name in (INDEX, LOCK) and entry.kind != "file":
            raise CorpusError(f"{files.join(url, entry.name)} is {_KINDS[entry.kind]}, where the corpus has a file: remove it")


def _check_nothing_else(url: str, held: Sequence[files.Entry]) -> None:
    """Raises CorpusError when a place without a `corpus.json` holds what no run has written.

    A corpus that has lost its index is known by the manifests and records in the folders of its stages.
    """
    stages = {entry.name for entry in held if entry.kind == "folder" and holds_stage(files.join(url, entry.name))}
    foreign = [entry.name for entry in held if not _is_own(url, entry, stages)]
    if foreign:
        raise CorpusError(f"{_first(url, foreign)} in the folder of the corpus, which has no corpus.json of a corpus: {_CURE}")


def _is_own(url: str, entry: files.Entry, stages: set[str]) -> bool:
    if entry.kind == "file":
        if entry.name == LOCK:
            return _is_own_lock(files.join(url, LOCK))
        return files.is_temporary(entry.name, INDEX.__eq__) or (entry.name == INDEX and bool(stages))
    return entry.name in stages or (entry.kind == "folder" and bool(stages) and not files.entries(files.join(url, entry.name)))


def _is_of_stage(entry: files.Entry, tables: Sequence[str]) -> bool:
    def is_own(name: str) -> bool:
        return is_own_name(name, tables)

    return entry.kind == "file" and (is_own(entry.name) or files.is_temporary(entry.name, is_own))


def _is_own_lock(url: str) -> bool:
    with files.open_read(url) as file:
        held = file.read(4096)
    return bool(_OURS_TO_LOCK.fullmatch(held) or _LEASE.fullmatch(held))


def _first(folder: str, names: Sequence[str]) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{files.join(folder, names[0])}{others} {'are' if others else 'is'}"


def _check_apart_from_inputs(config: Config) -> None:
    """Raises ConfigError when an input lies in the corpus, could come to match a file of it, or is a folder around it."""
    corpus = _location(config.corpus)
    matches = bool(files.entries(config.corpus))  # in a folder that is absent or empty no input can lie
    for key, url in _inputs(config):
        for found in _locations(url, matches):
            if _is_inside(found, corpus):
                raise ConfigError(f"{key}: {url} lies inside of the corpus ({config.corpus}), where only a run writes: move the input out "
                                  "of it, or make the corpus elsewhere")
            if _is_around(found, corpus, is_folder=key.endswith("images")):
                raise ConfigError(f"corpus: {config.corpus} lies inside of an input ({key}: {url}), so that its files would be read as "
                                  "input: name a folder outside of it")


def _inputs(config: Config) -> Iterator[tuple[str, str]]:
    """The paths and URLs of all inputs, with their keys."""
    holders = [(f"{kind}.{at}", source) for kind in ("pairs", "images", "texts") for at, source in enumerate(getattr(config, kind))]
    holders += [(name, getattr(config, name)) for name in WITH_PLACES]
    for key, holder in holders:
        for name in sorted(PLACES):
            value = getattr(holder, name, None)
            for given in [value] if isinstance(value, str) else value or []:
                yield f"{key}.{name}", given if isinstance(given, str) else given.file


# A place: which store it is in ("" for this machine), and its path there, links resolved, without an end slash.
_Location = tuple[str, str]
_MAGIC = re.compile(r"[*?[]")


def _location(url: str) -> _Location:
    fs, path = files.filesystem(url)
    if is_local_filesystem(fs):
        return "", os.path.realpath(path)
    return type(fs).__name__, "/" + os.path.normpath(path.strip("/"))


def _locations(url: str, matches: bool) -> Iterator[_Location]:
    """Where an input lies, and with `matches` each file of this machine that it matches; of a chain of URLs (zip://a::file://b) each
    part. Nothing for a URL that cannot be told: the source will say what is wrong with it.
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
        tail = path[len(head.rstrip("/")) + 1:]
        if is_local_filesystem(fs):
            yield "", f"{os.path.realpath(head).rstrip('/')}/{tail}"
            yield from (("", os.path.realpath(found)) for found in (fs.glob(path) if matches else ()))
        else:
            yield type(fs).__name__, re.sub("/+", "/", f"/{head}/{tail}")


def _is_pattern(fs: object, url: str, path: str) -> bool:
    return bool(_MAGIC.search(path)) and not url.startswith(("http://", "https://")) and not (
        is_local_filesystem(fs) and os.path.lexists(path))


def _is_inside(inner: _Location, outer: _Location) -> bool:
    """Whether a place is another or lies below it. On this machine also when they are told apart by name alone: case, bind mounts."""
    if inner[0] != outer[0]:
        return False
    if f"{inner[1].rstrip('/')}/".startswith(f"{outer[1].rstrip('/')}/"):
        return True
    if inner[0]:
        return False
    try:
        found = os.stat(outer[1])
        return any(os.path.samestat(found, os.stat(place)) for place in (inner[1], *map(str, Path(inner[1]).parents))
                   if os.path.lexists(place))
    except OSError:
        return False


def _is_around(source: _Location, corpus: _Location, is_folder: bool) -> bool:
    """Whether an input that is read with all that is below it, or a pattern, reaches into a corpus."""
    if source[0] != corpus[0]:
        return False
    if _MAGIC.search(source[1]) and (source[0] or not os.path.lexists(source[1])):
        matches = re.compile(glob_translate(source[1]))
        return any(matches.match(f"{corpus[1].rstrip('/')}/{name}") for name in _LIKELY)
    return (is_folder or (not source[0] and os.path.isdir(source[1]))) and _is_inside(corpus, source)
