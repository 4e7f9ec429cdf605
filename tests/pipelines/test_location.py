"""No command changes or removes any existing file, except the corpus's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as law
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.demo import write_settings
from pipelines.verify import verify
from schemas.corpus import is_own_name, open_corpus
from schemas.errors import ConfigError
from tests.pipelines.conftest import hash_of

REPOSITORY = Path(__file__).parents[2]
CAPTIONS = "image,caption\n" + "".join(f"{n}.jpg,a {colour} dog {verb} near the {place}\n" for n, (colour, verb, place) in enumerate(
    (c, v, p) for c in ("red", "old") for v in ("runs", "sits") for p in ("lake", "road")))  # fmt: skip


def config(base: Path, corpus: Path | str, **changes: Any) -> str:
    """Writes a configuration with captions only; returns its path."""
    (base / "in").mkdir(exist_ok=True)
    captions = base / "in/captions.csv"
    if not captions.exists():
        captions.write_text(CAPTIONS)
    values = {
        "corpus": str(corpus),
        "partitions": 2,
        "pixels": False,
        "tfidf": {"k": 2},
        "pairs": [{"format": "csv", "name": "n", "captions": str(captions)}],
        **changes,
    }
    path = base / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def snapshot(*folders: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below the folders: kind, inode, and content or link target; of files also the modification time."""
    return {str(path): _state(path) for folder in folders for path in [folder, *contents(folder)]}


def contents(folder: Path) -> Iterator[Path]:
    for root, names, found in os.walk(folder):
        yield from (Path(root, name) for name in (*names, *found))


def _state(path: Path) -> tuple[Any, ...]:
    stat = path.lstat()
    if path.is_symlink():
        return "link", stat.st_ino, os.readlink(path)
    if path.is_dir():
        return "folder", stat.st_ino
    if not path.is_file():
        return "other", stat.st_ino
    content = path.read_bytes()
    if path.name == ".lock" and content.startswith(b"cmcl "):
        return "lock", stat.st_ino  # the corpus's own file, to which every run writes its process id
    return "file", stat.st_ino, stat.st_mtime_ns, content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in two partitions, in a folder with its inputs."""
    base = tmp_path_factory.mktemp("place")
    assert main(["run", config(base, base / "c"), "--quiet"]) == 0
    return base


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """A copy of the corpus that the test may modify; `tmp_path/config.yaml` is its configuration."""
    shutil.copytree(made / "in", tmp_path / "in", copy_function=shutil.copy2)
    config(tmp_path, tmp_path / "c")
    return Path(shutil.copytree(made / "c", tmp_path / "c"))


# Names that a corpus itself uses, and similar names.
FOLDERS = ("", "images/", "texts/", "pairs/", "tfidf/", "examples/", "photos/")
NAMES = (
    "corpus.json",
    ".lock",
    ".tmp-x",
    ".tmp-corpus.json-x",
    ".tmp-pairs-00000-of-00004.arrow-0123",
    "task-00001.json",
    "manifest.json",
    "pairs-00000-of-00004.arrow",
    "rejects-00001-of-00002.arrow",
    "a.jpg",
    "captions-00000.json",
    "done-00000.json",
    "config.yaml",
)
CONTENTS = (b"", b"mine", b"{}", b"[]", b"12345\n", b'{"format": 1}', b'{"stage": "pairs"}')
# Foreign files next to those of a real corpus, with other names.
STRAY = ("notes.txt", ".tmp-x", ".tmp-pairs-00000-of-00002.arrow-xyz", "task-00001.json.bak", "pairs-00000-of-00099.arrow",
         "task-00077.json", "data-00000-of-00004.arrow", "photo.jpg", "manifest.json~", ".making-00000-1-1")  # fmt: skip
TREES = st.lists(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.sampled_from(CONTENTS), st.booleans()), min_size=1, max_size=6
)
# The tables of the stages whose folders get foreign files.
OWN_TABLES = {"pairs": ("images", "pairs"), "tfidf": ("rewrites",), "examples": ("examples",)}
STRAYS = st.lists(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(STRAY), st.sampled_from(CONTENTS), st.booleans()), max_size=5)


def plant(root: Path, tree: list[tuple[str, str, bytes, bool]], outside: Path) -> None:
    """Creates files in a folder; some are links to a file elsewhere."""
    for folder, name, content, link in tree:
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            continue
        if link:
            path.symlink_to(outside / "precious.txt")
        else:
            path.write_bytes(content)


def elsewhere(base: Path) -> Path:
    outside = base / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    return outside


@given(tree=TREES, command=st.sampled_from(["run", "status", "repair", "scenes", "demo"]), below=st.sampled_from(["", "images", "pairs"]))
@law(max_examples=60)
def test_a_folder_that_is_not_a_corpus_is_left_as_it_is(tree: list[tuple[str, str, bytes, bool]], command: str, below: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        outside, root = elsewhere(base), base / "mine"
        plant(root / below, tree, outside)
        path = config(base, root)
        before = snapshot(base)
        if command == "demo":
            if (root / "config.yaml").exists():
                with pytest.raises(ConfigError):
                    write_settings(str(root))
                assert snapshot(base) == before
            return
        arguments = {
            "run": ["run", path, "--quiet"],
            "status": ["status", path],
            "repair": ["verify", str(root), "--repair"],
            "scenes": ["scenes", str(root), "--count", "2", "--seed", "1", "--no-pixels"],
        }[command]
        assert main(arguments) == 1
        assert snapshot(base) == before


def strewn(made: Path, strays: list[tuple[str, str, bytes, bool]], partitions: int, k: int | None, repair: bool) -> None:
    """Creates foreign files in a copy of a corpus, runs commands on it, and checks that all of them are unchanged."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        outside = elsewhere(base)
        root = Path(shutil.copytree(made / "c", base / "c"))
        own = set(snapshot(root))
        plant(root, strays, outside)
        path = config(base, root, partitions=partitions, tfidf=k and {"k": k})
        before = {path: state for path, state in snapshot(base).items() if path not in own}
        if repair:
            damaged = root / "pairs/pairs-00000-of-00002.arrow"
            damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
            assert main(["verify", str(root), "--repair"]) == 1
        status = main(["run", path, "--quiet"])
        after = snapshot(base)
        assert {path: after.get(path) for path in before} == before
        if status:  # refused: a link has the name of one of a stage's files, or others have put files in a new stage's folder
            linked = any(link and is_own_name(name, OWN_TABLES.get(folder.strip("/"), ())) for folder, name, _, link in strays)
            assert linked or (k and any(folder.strip("/") == "tfidf" for folder, *_ in strays))
            return
        findings = verify(*open_corpus(str(root)))
        assert all(finding.foreign for finding in findings), findings
        inside = {f"{folder}{name}" for folder, name, _, _ in strays if folder.strip("/") in ("pairs", "examples")}
        assert inside - {"pairs/task-00077.json", "examples/task-00077.json"} <= {finding.text.partition(": ")[0] for finding in findings}


SIZES = {"partitions": st.sampled_from([1, 2, 3]), "k": st.sampled_from([None, 1, 2]), "repair": st.booleans()}


@given(strays=STRAYS, **SIZES)
@law(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_foreign_files_in_a_corpus_are_kept(
    made: Path, strays: list[tuple[str, str, bytes, bool]], partitions: int, k: int | None, repair: bool
) -> None:
    strewn(made, strays, partitions, k, repair)


@pytest.mark.slow
@given(strays=STRAYS, **SIZES)
@law(max_examples=16, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_foreign_files_in_a_corpus_are_kept_with_more_examples(
    made: Path, strays: list[tuple[str, str, bytes, bool]], partitions: int, k: int | None, repair: bool
) -> None:
    strewn(made, strays, partitions, k, repair)


def refused(base: Path, capsys: pytest.CaptureFixture[str], *said: str, path: str | None = None) -> None:
    """Checks that a run is refused with a one-line error and changes nothing."""
    before = snapshot(base)
    assert main(["run", path or str(base / "config.yaml"), "--quiet"]) == 1
    assert snapshot(base) == before
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(text in error for text in said), error


@pytest.mark.parametrize(
    "name",
    [
        "corpus.json",
        ".lock",
        "pairs",
        "tfidf",
        "pairs/manifest.json",
        "pairs/task-00000.json",
        "pairs/pairs-00000-of-00002.arrow",
        "examples/rejects-00001-of-00002.arrow",
    ],
)
@pytest.mark.parametrize("leads", ["elsewhere", "nowhere"])
def test_links_are_named_and_not_followed(corpus: Path, name: str, leads: str, capsys: pytest.CaptureFixture[str]) -> None:
    moved = corpus.parent / "moved"
    shutil.move(corpus / name, moved)
    (corpus / name).symlink_to(moved if leads == "elsewhere" else corpus.parent / "nowhere")
    config(corpus.parent, corpus, tfidf={"k": 1}, seed=4)
    refused(corpus.parent, capsys, str(corpus / name), "is a link")
    if leads == "elsewhere" and name.startswith("pairs"):
        kept = snapshot(moved)
        assert main(["verify", str(corpus), "--repair"]) == 1
        assert snapshot(moved) == kept


def test_a_lock_that_has_another_name_is_not_written_to(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / ".lock").unlink()
    (corpus.parent / "mine.txt").write_text("mine")
    os.link(corpus.parent / "mine.txt", corpus / ".lock")
    refused(corpus.parent, capsys, str(corpus / ".lock"), "hard link")


def test_the_folder_of_a_corpus_may_be_a_link(corpus: Path) -> None:
    link = corpus.parent / "link"
    link.symlink_to(corpus)
    assert main(["run", config(corpus.parent, link), "--quiet"]) == 0
    assert link.is_symlink() and verify(*open_corpus(str(corpus))) == []


def test_a_stage_does_not_take_a_folder_of_yours(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "texts").mkdir()
    (corpus / "texts/diary.txt").write_text("dear diary")
    (corpus.parent / "in/story.txt").write_text("Once upon a time there was a dog.\n")
    texts = [{"format": "text", "name": "stories", "files": str(corpus.parent / "in/story.txt")}]
    config(corpus.parent, corpus, texts=texts)
    refused(corpus.parent, capsys, str(corpus / "texts/diary.txt"), "stage texts")
    (corpus / "texts/diary.txt").unlink()
    assert main(["run", str(corpus.parent / "config.yaml"), "--quiet"]) == 0
    for held in ([], texts):  # a stage that is removed and added again gets its folder back, although the index no longer named it
        assert main(["run", config(corpus.parent, corpus, texts=held), "--quiet"]) == 0


@pytest.mark.parametrize("names", [["../outside"], ["/outside"], [""], ["pairs", 3], "pairs"])
def test_an_index_that_leads_out_of_the_corpus_is_none(corpus: Path, names: Any) -> None:
    outside = corpus.parent / "outside"
    shutil.copytree(corpus / "pairs", outside)
    stages = [{"stage": name, "tables": ["pairs"], "main": "pairs", "hashed": []} for name in names]
    (corpus / "corpus.json").write_text(
        yaml.safe_dump({"format": 1, "partitions": 2, "seed": 0, "stages": stages}, default_flow_style=True)
    )
    before = snapshot(outside)
    assert main(["verify", str(corpus), "--repair"]) == 1
    assert snapshot(outside) == before


@pytest.mark.parametrize(
    ("place", "captions"),
    [
        ("data/c", "data/c/captions.csv"),
        ("data/c", "data/c/pairs/*.csv"),
        ("data/c", "data/**/*.json"),
        ("data/c", "data/*/corpus.json"),
        ("data/c", "data/**"),
        ("data/c", "link/c/captions.csv"),
        ("link/c", "data/c/captions.csv"),
        ("data/c/", "data/x/../c/captions.csv"),
        ("data/c", ["in/captions.csv", "data/*/*/manifest.json"]),
        ("data/c", "file://{base}/data/c/captions.csv"),
        ("file://{base}/data/c", "{base}/data/c/captions.csv"),
        ("data/c", "zip://*.csv::file://{base}/data/c/x.zip"),
        ("memory://bucket/c", "memory://bucket/c/captions.csv"),
        ("memory://bucket/c/", "memory://bucket//c/in/*.csv"),
        ("memory://bucket/c", "memory://bucket/**/*.json"),
    ],
)
def test_inputs_in_the_corpus_are_refused(
    tmp_path: Path, place: str, captions: str | list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    given = [name.format(base=tmp_path) for name in ([captions] if isinstance(captions, str) else captions)]
    path = config(tmp_path, place.format(base=tmp_path), pairs=[{"format": "csv", "name": "n", "captions": given}])
    refused(tmp_path, capsys, "pairs.0.captions", "is inside", path=path)


@pytest.mark.parametrize("place", ["data/c", "data/deep/er/c", "data", "link/c", "data/x/../c"])
@pytest.mark.parametrize("key", ["pairs", "images", "region_files"])
def test_a_corpus_in_a_folder_that_is_read_is_refused(tmp_path: Path, place: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data/x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    pairs = {"format": "csv", "name": "n", "captions": "in/captions.csv"}
    changes: dict[str, Any] = {
        "pairs": {"pairs": [{**pairs, "images": "data"}]},
        "region_files": {"region_files": {"format": "uniter_npz", "files": ["data/"], "key": "{key}"}},
        "images": {"images": [{"format": "folder", "name": "photos", "images": "data/"}]},
    }[key]
    if place == "data":
        (tmp_path / "data/x").rmdir()
    config(tmp_path, place, **changes)
    refused(tmp_path, capsys, key, "is inside")


def test_exclusion_lists_count_as_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config(tmp_path, "c", exclude={"files": ["c/ids.txt"]})
    refused(tmp_path, capsys, "exclude.files", "is inside")


@pytest.mark.parametrize("place", ["c/sub", "c/pairs/sub", "c/pairs", "link/deep/er", "c/x/../pairs"])
@pytest.mark.parametrize("index", [True, False])
def test_a_corpus_in_another_is_refused(corpus: Path, place: str, index: bool, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus.parent / "link").symlink_to(corpus / "pairs")
    if not index:
        if place == "c/sub":
            pytest.skip("nothing says that this is a corpus")
        (corpus / "corpus.json").unlink()
    config(corpus.parent, place)
    refused(corpus.parent, capsys)
    before = snapshot(corpus)
    assert main(["scenes", str(corpus.parent / place), "--count", "1", "--seed", "1"]) == 1
    assert snapshot(corpus) == before


@pytest.mark.parametrize(
    "place",
    [
        "/dev/null",
        "/dev/null/x",
        "/dev/full",
        "/proc",
        "/proc/nowhere",
        "/",
        "x" * 300,
        "file",
        "file/x",
        "fifo",
        "dangling",
        "loop",
        "loop/x",
        "~nosuchuser/x",
        "~nosuchuser",
        "zip://x",
        "http://localhost:1/x",
    ],
)
def test_locations_that_cannot_hold_a_corpus_are_named(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    if place == "fifo":
        os.mkfifo(tmp_path / "fifo")
    path = config(tmp_path, place)
    before = snapshot(tmp_path)
    assert main(["run", path, "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and place in error, error
    assert any(cure in error for cure in ("name another folder", "name one that", "write the full path", "read-only")), error
    assert snapshot(tmp_path) == before


def test_a_lost_index_is_made_again_and_a_foreign_one_is_not(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hash_of(corpus)
    (corpus / "corpus.json").write_text("{")
    (corpus / "notes.txt").write_text("mine")
    refused(corpus.parent, capsys, str(corpus / "notes.txt"))
    (corpus / "notes.txt").unlink()
    assert main(["run", str(corpus.parent / "config.yaml"), "--quiet"]) == 0
    assert hash_of(corpus) == before
