"""Commands that fill a folder only touch files that they wrote themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.demo import write_settings
from pipelines.scenes import make_scenes
from pipelines.verify import verify
from schemas.corpus import open_corpus
from schemas.errors import CmclError, ConfigError
from schemas.own_folder import claim_folder
from tests.pipelines.test_location import config, snapshot

REPOSITORY = Path(__file__).parents[2]


def test_a_folder_is_claimed_once_and_by_one(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a", "one")
    (tmp_path / "a/b").write_text("made")
    claim_folder(tmp_path / "a", "one")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("mine")
    before = snapshot(tmp_path)
    for folder, maker in (("a", "another"), ("file", "one"), ("full", "one"), (".", "one")):
        with pytest.raises(ConfigError, match="name a new or empty folder"):
            claim_folder(tmp_path / folder, maker)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("change", ["picture", "link", "folder", "mark"])
def test_scenes_replace_nothing_of_yours(tmp_path: Path, change: str) -> None:
    out = tmp_path / "scenes"
    arguments = ["scenes", str(out), "--count", "3", "--seed", "1", "--shard-size", "2"]
    assert main(arguments) == 0 and main(arguments) == 0
    (tmp_path / "precious.txt").write_text("precious")
    (out / "notes.txt").write_text("mine")
    if change == "picture":
        (out / "images/00000/me.jpg").write_bytes(b"me")
    elif change == "link":
        (out / "captions-00000.json").unlink()
        (out / "captions-00000.json").symlink_to(tmp_path / "precious.txt")
    elif change == "folder":
        shutil.move(out / "images", tmp_path / "elsewhere")
        (out / "images").symlink_to(tmp_path / "elsewhere")
    else:
        (out / ".made-by-cmcl").write_text("somebody else\n")
    before = snapshot(tmp_path)
    with pytest.raises(CmclError):
        make_scenes(out, 3, 2, shard_size=2)
    assert snapshot(tmp_path) == before


def test_scenes_of_an_earlier_release_are_continued(tmp_path: Path) -> None:
    arguments = ["scenes", str(tmp_path / "s"), "--count", "3", "--seed", "1", "--no-pixels"]
    assert main(arguments) == 0
    (tmp_path / "s/.made-by-cmcl").unlink()
    assert main(arguments) == 0 and (tmp_path / "s/.made-by-cmcl").is_file()


def test_the_demo_keeps_a_configuration_of_yours(tmp_path: Path) -> None:
    path = Path(write_settings(str(tmp_path / "demo")))
    assert write_settings(str(tmp_path / "demo")) == str(path)
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(ConfigError, match="config.yaml"):
        write_settings(str(tmp_path / "demo"))
    assert path.read_text().endswith("# mine\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/train.yaml").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="train.yaml"):
        write_settings(str(tmp_path / "other"))
    assert snapshot(tmp_path) == before


def test_cleaning_up_removes_no_folder_that_was_named(tmp_path: Path) -> None:
    if not shutil.which("make"):
        pytest.skip("there is no make")
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("mine", "demo", "tools"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    subprocess.run(
        ["make", "clean", "DEMO=mine", "VENV=tools", f"TOOLS={tmp_path / 'mine'}"], cwd=tmp_path, check=True, capture_output=True
    )
    assert all((tmp_path / name / "a.txt").exists() for name in ("mine", "demo", "tools"))


def test_another_number_of_partitions_leaves_none_of_the_old_files(tmp_path: Path) -> None:
    corpus = tmp_path / "c"
    for partitions in (2, 3, 1):
        assert main(["run", config(tmp_path, corpus, partitions=partitions), "--quiet"]) == 0
        assert verify(*open_corpus(str(corpus))) == []
        assert not [path for path in corpus.glob("pairs/*.arrow") if not path.name.endswith(f"-of-{partitions:05}.arrow")]
        assert len(list(corpus.glob("pairs/task-*.json"))) == partitions


def test_what_a_killed_run_left_of_a_stage_is_removed_with_it(tmp_path: Path) -> None:
    """A stage that finished no task, and is then taken out of the configuration."""
    corpus = tmp_path / "corpus"
    assert main(["run", config(tmp_path, corpus), "--quiet"]) == 0
    half = corpus / "tfidf_vectors"
    (half / "manifest.json").unlink()
    for record in half.glob("task-*.json"):
        record.unlink()
    (half / ".tmp-rejects-00000-of-00002.arrow-2ca26ecdc8ed").write_bytes(b"half")
    yours = corpus / "tfidf_counts"
    for file in yours.iterdir():
        file.unlink()
    (yours / "notes.txt").write_text("mine")
    assert main(["run", config(tmp_path, corpus, tfidf=None), "--quiet"]) == 0
    assert not half.exists() and (yours / "notes.txt").read_text() == "mine"
    assert [finding.text for finding in verify(*open_corpus(str(corpus)))] == ["tfidf_counts: not a folder of the corpus"]
