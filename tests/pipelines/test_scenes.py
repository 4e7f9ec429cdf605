"""The job that writes a collection of scenes."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines import scenes as job
from pipelines.scenes import make_scenes
from schemas.errors import ConfigError
from transforms.scenes import CaptionGraph, Scene, collections, is_true, parse, sample_scene
from transforms.scenes.collections import ShardTask, write_shard
from transforms.scenes.world import KINDS

ROOT = Path(__file__).resolve().parents[2]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes")
    summary = make_scenes(out, 40, 7, shard_size=16, texts=100)
    assert summary | {"seconds": 0} == {"scenes": 40, "captions": 200, "texts": 100, "shards": 5, "skipped": 0, "seconds": 0}
    return out


def test_the_files_are_coco_and_agree_with_the_truth(made: Path) -> None:
    seen: set[int] = set()
    for shard in ("00000", "00001", "00002"):
        captions = json.loads((made / f"captions-{shard}.json").read_text())
        instances = json.loads((made / f"instances-{shard}.json").read_text())
        lines = [json.loads(line) for line in (made / f"truth-{shard}.jsonl").read_text().splitlines()]
        assert captions["images"] == instances["images"] and [image["id"] for image in captions["images"]] == [
            line["index"] for line in lines
        ]
        names = {category["id"]: category["name"] for category in instances["categories"]}
        assert sorted(names.values()) == sorted(KINDS)
        for image, line in zip(captions["images"], lines, strict=True):
            scene = Scene.from_json(line)
            assert scene == sample_scene(7, image["id"]) and image["file_name"] == line["file_name"]
            with Image.open(made / "images" / image["file_name"]) as picture:
                assert picture.format == "JPEG" and picture.size == (image["width"], image["height"])
            said = [item["caption"] for item in captions["annotations"] if item["image_id"] == image["id"]]
            assert said == [caption["text"] for caption in line["captions"]] and len(said) == 5
            for caption in line["captions"]:
                graph = CaptionGraph.from_json(caption["graph"])
                assert parse(caption["text"]) == graph and is_true(graph, scene)
            boxes = [(names[i["category_id"]], *i["bbox"]) for i in instances["annotations"] if i["image_id"] == image["id"]]
            assert boxes == [(o.kind, o.box[0], o.box[1], o.box[2] - o.box[0], o.box[3] - o.box[1]) for o in scene.objects]
        ids = [item["id"] for item in captions["annotations"]]
        assert len(set(ids)) == len(ids) and not seen & set(ids) and min(ids) >= 1
        seen |= set(ids)
    assert len((made / "texts-00000.txt").read_text().splitlines()) + len((made / "texts-00001.txt").read_text().splitlines()) == 100


def test_two_workers_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path, 40, 7, shard_size=16, texts=100, workers=2)
    assert digests(tmp_path) == digests(made)


def test_shard_size_and_start_do_not_change_a_scene(made: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "big", 64, 7, shard_size=100)
    make_scenes(tmp_path / "late", 8, 7, shard_size=4, start_index=10)
    whole, late = digests(made), digests(tmp_path / "late")

    def by_scene(found: dict[str, str]) -> dict[str, str]:
        return {Path(name).name: digest for name, digest in found.items() if name.endswith(".jpg")}

    assert by_scene(whole).items() <= by_scene(digests(tmp_path / "big")).items()
    assert by_scene(late).items() <= by_scene(whole).items() and len(by_scene(late)) == 8

    def lines(folder: Path) -> dict[int, dict]:
        rows = [json.loads(line) for path in folder.glob("truth-*.jsonl") for line in path.read_text().splitlines()]
        return {row["index"]: {key: value for key, value in row.items() if key != "file_name"} for row in rows}

    assert lines(tmp_path / "late").items() <= lines(made).items() and sorted(lines(tmp_path / "late")) == list(range(10, 18))


def test_finished_shards_are_skipped_and_damaged_ones_made_again(tmp_path: Path) -> None:
    make_scenes(tmp_path, 12, 7, shard_size=4, pixels=False)
    before = digests(tmp_path)
    assert make_scenes(tmp_path, 12, 7, shard_size=4, pixels=False)["skipped"] == 3
    (tmp_path / "captions-00001.json").unlink()
    (tmp_path / "done-00002.json").write_text("{")
    assert make_scenes(tmp_path, 12, 7, shard_size=4, pixels=False)["skipped"] == 1
    assert digests(tmp_path) == before
    assert make_scenes(tmp_path, 12, 8, shard_size=4, pixels=False)["skipped"] == 0
    assert digests(tmp_path) != before


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    make_scenes(tmp_path / "whole", 12, 7, shard_size=4)
    script = (
        "import os, sys\nfrom transforms.scenes import collections as c\nkept = c.render\n"
        "def render(scene):\n    if scene.index == 6:\n        os._exit(9)\n    return kept(scene)\n"
        "c.render = render\nfor shard in range(3):\n"
        "    c.write_shard(c.ShardTask(sys.argv[1], 'scenes', shard, 4 * shard, 4 * shard + 4, 7))\n"
    )
    out = tmp_path / "killed"
    assert subprocess.run([sys.executable, "-c", script, str(out)], cwd=ROOT, check=False).returncode == 9
    assert list(out.rglob(f"{collections.TEMPORARY}*")), "the kill left something half written"
    assert make_scenes(out, 12, 7, shard_size=4)["skipped"] == 1
    assert digests(out) == digests(tmp_path / "whole")


def test_a_second_copy_of_a_task_is_harmless(tmp_path: Path) -> None:
    task = ShardTask(str(tmp_path), "scenes", 0, 0, 3, 7)
    write_shard(task)
    before = digests(tmp_path)
    task.marker.unlink()
    write_shard(task)
    assert digests(tmp_path) == before and not list(tmp_path.rglob(f"{collections.TEMPORARY}*"))
    assert write_shard(task)["skipped"] == 1


def test_collections_without_pixels_or_captions(tmp_path: Path) -> None:
    assert make_scenes(tmp_path / "words", 3, 7, pixels=False)["captions"] == 15
    assert not (tmp_path / "words" / "images").exists()
    assert make_scenes(tmp_path / "images", 3, 7, captions=False)["captions"] == 0
    assert not list((tmp_path / "images").glob("captions-*")) and len(list((tmp_path / "images").rglob("*.jpg"))) == 3
    assert make_scenes(tmp_path / "nothing", 0, 7)["shards"] == 0


@pytest.mark.parametrize("bad", [{"count": -1}, {"shard_size": 0}, {"texts": -1}, {"start_index": -2}, {"workers": 0}])
def test_bad_numbers_are_named_before_any_work(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_scenes(tmp_path / "out", **{"count": 1, "seed": 7, **bad})
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    args = parser.parse_args(
        [str(tmp_path), "--count", "4", "--seed", "2", "--no-pixels", "--texts", "5", "--start-index", "3", "--workers", "1"]
    )
    assert job.main(args) == 0
    assert json.loads(capsys.readouterr().out)["scenes"] == 4
    args.count = -4
    assert job.main(args) == 2 and "count" in capsys.readouterr().err


def test_tasks_come_with_the_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    given = [str(tmp_path / "out"), "--count", "10", "--seed", "2", "--no-pixels", "--shard-size", "5", "--start-index", "20"]
    assert job.main(parser.parse_args([*given, "--tasks"])) == 0
    made = digests(tmp_path / "out")
    assert sum(name.startswith("tasks/") and "vcr1images" not in name for name in made) == 17 and "tasks/nlvr2/images.json" in made
    for split, shown in (("train2014", range(20, 28)), ("val2014", range(28, 30))):
        held = json.loads((tmp_path / "out" / "tasks" / "coco_captions" / f"captions_{split}.json").read_text())
        assert [image["id"] for image in held["images"]] == list(shown)
    for folder, name in (("vqa", "v2_mscoco_val2014_annotations.json"), ("vcr/vcr1images/scenes", "20.json")):
        stale = tmp_path / "out" / "tasks" / folder / f"{collections.TEMPORARY}{name}-1-2"
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.write_text("{")
    assert job.main(parser.parse_args([*given, "--tasks", "--unseen", "2"])) == 0 and digests(tmp_path / "out") == made
    assert job.main(parser.parse_args([*given, "--tasks", "--unseen", "10"])) == 2 and "unseen" in capsys.readouterr().err
    assert job.main(parser.parse_args([*given, "--unseen", "1"])) == 2 and "--tasks" in capsys.readouterr().err
    (tmp_path / "out" / "tasks" / "nlvr2" / "dev.json").unlink()
    (tmp_path / "out" / "tasks" / "nlvr2" / "dev.json").mkdir()
    with pytest.raises(ConfigError, match=r"dev.json is not what `cmcl scenes --tasks` writes there: remove it"):
        make_scenes(tmp_path / "out", 10, 2, pixels=False, shard_size=5, start_index=20, unseen=2)


def test_memory_does_not_grow_with_the_number_of_scenes(tmp_path: Path) -> None:
    script = (
        "import resource, sys\nfrom transforms.scenes.collections import ShardTask, write_shard\n"
        "for shard in range(12):\n"
        "    write_shard(ShardTask(sys.argv[1], 'scenes', shard, 500 * shard, 500 * shard + 500, 1, pixels=False))\n"
        "    if shard in (1, 11):\n        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True)
    few, many = map(int, ran.stdout.split())
    assert many - few < 4_000, f"{few} kB after 1,000 scenes, {many} kB after 6,000"
