"""Files of a collection of scenes: one shard at a time, each file written under a temporary name and renamed when complete.

Layout of the output folder; SHARD has five or more digits, SCENE nine:

    images/SHARD/SCENE.jpg     the pictures
    captions-SHARD.json        COCO captions: images, annotations {id, image_id, caption}
    instances-SHARD.json       COCO instances: bbox xywh in pixels, category_id, categories; `attributes` is an extra field
    tasks/                     questions and the like, with `--tasks` (`transforms/scenes/task_files.py`)
    truth-SHARD.jsonl          one scene per line: `Scene.to_json`, its file name, and its captions with their graphs
    texts-SHARD.txt            sentences without a scene, one per line
    done-SHARD.json, texts-done-SHARD.json   contents of a completed shard, written last; a shard without it is made again
    .made-by-cmcl              marks the folder as output of `cmcl scenes`, which writes to no other non-empty folder

An image's id is its scene's index; caption ids start at 5 x index + 1, object ids at 8 x index + 1.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import files
from schemas.errors import ConfigError
from schemas.own_folder import claim_folder
from transforms.scenes.draw import encode, render
from transforms.scenes.language import CAPTIONS, captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.texts import sentence
from transforms.scenes.world import KINDS

FORMAT = 1  # increment when the same seed gives other bytes, so that completed shards are made again
TEMPORARY = ".making-"
_SHARD = re.compile(r"\d{5,}")
_PICTURE = re.compile(r"\d{9,}\.jpg")
_OWN_NAME = re.compile(r"(?:texts-)?done-\d{5,}\.json|texts-\d{5,}\.txt|truth-\d{5,}\.jsonl|(?:captions|instances)-\d{5,}\.json")
_HALF = re.compile(re.escape(TEMPORARY) + r"(.+)-\d+-\d+", re.DOTALL)  # as `_aside` names it
CATEGORY = {name: at for at, name in enumerate(KINDS, start=1)}
_INFO = {"description": "synthetic scenes with known truth", "version": str(FORMAT), "contributor": "cmcl"}
_LICENCES = [{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard: scenes or sentences `start` to `stop` (exclusive) of a seed; `kind` is "scenes" or "texts"."""

    out: str
    kind: str
    shard: int
    start: int
    stop: int
    seed: int
    pixels: bool = True
    captions: bool = True

    @property
    def name(self) -> str:
        """The shard's number as in file names."""
        return f"{self.shard:05d}"

    @property
    def marker(self) -> Path:
        """The file that marks the shard as complete."""
        return Path(self.out, f"done-{self.name}.json" if self.kind == "scenes" else f"texts-done-{self.name}.json")

    def settings(self) -> dict[str, Any]:
        """Everything that determines the shard's bytes."""
        shared = {"format": FORMAT, "kind": self.kind, "seed": self.seed, "start": self.start, "stop": self.stop}
        return shared if self.kind == "texts" else {**shared, "pixels": self.pixels, "captions": self.captions}


def shard_tasks(
    out: str, count: int, seed: int, *, pixels: bool, captions: bool, shard_size: int, texts: int, start_index: int
) -> list[ShardTask]:
    """The tasks for scenes and sentences from `start_index`; shard boundaries are multiples of the shard size."""
    tasks = [
        ShardTask(out, "scenes", shard, start, stop, seed, pixels, captions)
        for shard, start, stop in _ranges(start_index, start_index + count, shard_size)
    ]
    # Sentences are cheap, so their shards are larger.
    lines = _ranges(start_index, start_index + texts, shard_size * CAPTIONS)
    return tasks + [ShardTask(out, "texts", shard, start, stop, seed) for shard, start, stop in lines]


def _ranges(start: int, stop: int, size: int) -> Iterator[tuple[int, int, int]]:
    for shard in range(start // size, -(-stop // size)):
        low, high = max(start, shard * size), min(stop, (shard + 1) * size)
        if low < high:
            yield shard, low, high


def finished(task: ShardTask) -> dict[str, Any] | None:
    """The summary of a shard already complete with the same settings, or None if it has to be made."""
    try:
        record = json.loads(task.marker.read_text("utf-8"))
        if record["settings"] != task.settings():
            return None
        for name, size in record["files"].items():
            if (Path(task.out) / name).stat().st_size != size:
                return None
        return dict(record["summary"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no marker, a truncated one or a missing file: the shard is made again


def claim(out: str) -> None:
    """Marks `out` as a folder of scenes. Raises ConfigError if it contains anything that `cmcl scenes` did not write."""
    claim_folder(out, "cmcl scenes", _was_made)


def _was_made(out: Path) -> bool:
    """Whether an earlier release made this collection, that is, it has the record of a completed shard."""
    for path in sorted(out.glob("*done-*.json")):
        if _OWN_NAME.fullmatch(path.name) and not path.is_symlink():
            try:
                return set(json.loads(path.read_text("utf-8"))) == {"settings", "summary", "files"}
            except (OSError, ValueError, TypeError):
                continue
    return False


def check_replaceable(task: ShardTask) -> None:
    """Raises ConfigError if the shard would overwrite something else: a link, a folder, pictures of the user's."""
    out = Path(task.out)
    names = (
        [f"texts-{task.name}.txt"]
        if task.kind == "texts"
        else [f"{kind}-{task.name}.{end}" for kind, end in (("truth", "jsonl"), ("instances", "json"), ("captions", "json"))]
    )
    for path in (task.marker, *(out / name for name in names)):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise ConfigError(f"{path} is not a regular file, but `cmcl scenes` writes one there: remove it")
    for folder in (out / "images", out / "images" / task.name):
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            raise ConfigError(f"{folder} is not a folder, but `cmcl scenes` writes one there: remove it")
    foreign = [entry.name for entry in files.entries(str(out / "images" / task.name)) if not _is_picture(entry)]
    if foreign:
        raise ConfigError(
            f"{out / 'images' / task.name / foreign[0]} was not written by `cmcl scenes`, which replaces that folder: move it elsewhere"
        )


def _is_picture(entry: files.Entry) -> bool:
    return entry.kind == "file" and bool(_PICTURE.fullmatch(entry.name))


def _remove_pictures(folder: Path) -> None:
    """Removes a folder of pictures; files of others are kept, and so is the folder then."""
    for entry in files.entries(str(folder)):
        if _is_picture(entry):
            (folder / entry.name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def clear_stale(out: str) -> int:
    """Removes files that killed runs left incomplete; returns their number. Not safe while another run writes there."""
    removed = 0
    for entry in files.entries(out):
        found = _HALF.fullmatch(entry.name)
        if entry.kind == "file" and found and _OWN_NAME.fullmatch(found[1]):
            Path(out, entry.name).unlink(missing_ok=True)
            removed += 1
    tasks = Path(out, "tasks")
    for folder in (*tasks.glob("*/"), *tasks.glob("vcr/vcr1images/*/")):
        linked = any(one.is_symlink() for one in (folder, *folder.parents) if one.is_relative_to(tasks))
        for entry in files.entries(str(folder)) if not linked else ():
            if entry.kind == "file" and _HALF.fullmatch(entry.name):
                Path(folder, entry.name).unlink(missing_ok=True)
                removed += 1
    images = Path(out, "images")
    for entry in files.entries(str(images)) if not images.is_symlink() else ():
        found = _HALF.fullmatch(entry.name)
        if entry.kind == "folder" and found and _SHARD.fullmatch(found[1]):
            _remove_pictures(images / entry.name)
            removed += 1
    return removed


def write_shard(task: ShardTask) -> dict[str, Any]:
    """Makes one shard unless it is complete; returns its summary: scenes, captions, texts, skipped (0 or 1), milliseconds."""
    begun = time.monotonic()
    existing = finished(task)
    if existing is not None:
        return {**existing, "skipped": 1, "milliseconds": 0}
    task.marker.unlink(missing_ok=True)
    Path(task.out).mkdir(parents=True, exist_ok=True)
    files, summary = _write_texts(task) if task.kind == "texts" else _write_scenes(task)
    sizes = {name: (Path(task.out) / name).stat().st_size for name in sorted(files)}
    record = {"settings": task.settings(), "summary": summary, "files": sizes}
    write_file(task.marker, lambda path: path.write_text(json.dumps(record, indent=1) + "\n", "utf-8"))
    return {**summary, "skipped": 0, "milliseconds": round((time.monotonic() - begun) * 1000)}


def _aside(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{time.monotonic_ns()}")


def write_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Writes a file under a temporary name, then renames it."""
    aside = _aside(path)
    try:
        fill(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _dump(path: Path, value: Any) -> None:
    write_file(path, lambda aside: aside.write_text(json.dumps(value, separators=(",", ":")) + "\n", "utf-8"))


def _write_texts(task: ShardTask) -> tuple[list[str], dict[str, int]]:
    name = f"texts-{task.name}.txt"
    lines = "".join(f"{sentence(task.seed, index)}\n" for index in range(task.start, task.stop))
    write_file(Path(task.out) / name, lambda path: path.write_text(lines, "utf-8"))
    return [name], {"scenes": 0, "captions": 0, "texts": task.stop - task.start}


def _write_scenes(task: ShardTask) -> tuple[list[str], dict[str, int]]:
    out, files = Path(task.out), [f"truth-{task.name}.jsonl", f"instances-{task.name}.json"]
    images: list[dict[str, Any]] = []
    spoken: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    folder = _aside(out / "images" / task.name)
    if task.pixels:
        folder.mkdir(parents=True)

    def lines(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            for index in range(task.start, task.stop):
                scene = sample_scene(task.seed, index)
                made = captions(scene, task.seed) if task.captions else []
                file_name = f"{task.name}/{index:09d}.jpg"
                line = {**scene.to_json(), "file_name": file_name, "captions": [caption.to_json() for caption in made]}
                stream.write(json.dumps(line, separators=(",", ":")) + "\n")
                images.append({"id": index, "file_name": file_name, "width": scene.width, "height": scene.height, "license": 1})
                first = CAPTIONS * index + 1
                spoken.extend({"id": first + at, "image_id": index, "caption": caption.text} for at, caption in enumerate(made))
                found.extend(_instances(scene))
                if task.pixels:
                    (folder / f"{index:09d}.jpg").write_bytes(encode(render(scene)))

    try:
        write_file(out / files[0], lines)
        if task.pixels:
            _move_folder(folder, out / "images" / task.name)
            files += [f"images/{image['file_name']}" for image in images]
    finally:
        _remove_pictures(folder)
    head = {"info": _INFO, "licenses": _LICENCES, "images": images}
    _dump(out / files[1], {**head, "annotations": found, "categories": _categories()})
    if task.captions:
        files.append(f"captions-{task.name}.json")
        _dump(out / files[-1], {**head, "annotations": spoken})
    return files, {"scenes": len(images), "captions": len(spoken), "texts": 0}


def _move_folder(folder: Path, target: Path) -> None:
    """Renames a complete folder, replacing an older one; a second copy of the task may have written the same bytes first."""
    for attempt in range(5):
        old = _aside(target)
        try:
            if target.exists():
                os.rename(target, old)
            os.rename(folder, target)
            return
        except OSError:
            if attempt == 4:
                raise
        finally:
            _remove_pictures(old)


def _categories() -> list[dict[str, Any]]:
    return [{"id": at, "name": name, "supercategory": (KINDS[name].over or (name,))[0]} for name, at in CATEGORY.items()]


def _instances(scene: Scene) -> Iterator[dict[str, Any]]:
    for item in scene.objects:
        x1, y1, x2, y2 = item.box
        yield {
            "id": 8 * scene.index + item.index + 1, "image_id": scene.index, "category_id": CATEGORY[item.kind],
            "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
                "attributes": sorted(item.attributes),
        }  # fmt: skip
