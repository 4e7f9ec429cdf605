import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main
from tests.pipelines.conftest import settings
from tests.transforms.ingest.source_help import encoded

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def job(scene_files, tmp_path_factory):
    """A configuration whose corpus has been built."""
    folder = tmp_path_factory.mktemp("cli")
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(settings(scene_files, folder / "c")))
    assert main(["run", str(path), "--quiet"]) == 0
    return path


def test_the_package_installs_the_command():
    entry = (REPOSITORY / "setup.py").read_text()
    assert "cmcl = pipelines.cli:main" in entry
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in ("run", "status", "verify", "show", "hash", "scenes"))


def test_run_reports_built_and_up_to_date_stages(job, capsys):
    assert main(["run", str(job), "--set", "tfidf.k=3", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "up to date: pairs, images, texts, tfidf_counts, tfidf_vocabulary, tfidf_vectors" in out
    assert main(["run", str(job), "--quiet"]) == 0


def test_status_before_after_and_when_stale(job, scene_files, tmp_path, capsys):
    fresh = tmp_path / "fresh.yaml"
    fresh.write_text(yaml.safe_dump(settings(scene_files, tmp_path / "none")))
    assert main(["status", str(fresh)]) == 0
    assert capsys.readouterr().out.count("missing") == 8
    assert not (tmp_path / "none").exists()
    assert main(["status", str(job), "--set", "tfidf.ceiling=0.5"]) == 0
    out = capsys.readouterr().out
    assert "settings.ceiling: 0.8 -> 0.5" in out and "reads tfidf, which changed" in out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line and not line.startswith(" ")}
    assert lines["pairs"][1:3] == ["current", "200"]
    assert lines["tfidf"][1] == "stale"


def test_show_finds_pairs_by_id_image_and_words(job, capsys):
    assert main(["show", str(job)]) == 0
    first = capsys.readouterr().out
    lines = dict(line.split(None, 1) for line in first.splitlines()[:3])
    pair, image = lines["pair"].split()[0], lines["image"].split(":")[0]
    assert "negatives, sentence level, tfidf:" in first and "cosine" in first and "other captions of the image" in first
    for wanted in (pair, lines["caption"]):
        assert main(["show", str(job), wanted]) == 0
        assert capsys.readouterr().out == first
    assert main(["show", str(job), image]) == 0
    assert f"image   {image}" in capsys.readouterr().out
    assert main(["show", str(job), "no caption has these words"]) == 1
    assert "no pair, image or caption matches" in capsys.readouterr().err


def test_verify_and_hash(job, capsys):
    assert main(["verify", str(job)]) == 0
    assert "all files are intact" in capsys.readouterr().out
    assert main(["hash", str(job.parent / "c")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("  corpus") and any(line.endswith("  tfidf/rewrites") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: configuration not found"),
        (["verify", "/nowhere"], "no corpus at /nowhere"),
        (["show", "/nowhere"], "no corpus at /nowhere"),
        (["status", "nowhere.yaml"], "configuration not found"),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments, text, capsys):
    assert main(arguments) == 1
    assert text in capsys.readouterr().err


def test_bad_usage(job, capsys):
    assert main(["verify", str(job), "--", "--runner=X"]) == 2
    for arguments in (
        ["show", str(job), "--limit", "-3"],
        ["dance"],
        ["run", str(job), "--workers", "0"],
        ["run", str(job), "--workers", "two"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "argument --workers: must be a whole number of at least 1, not two" in capsys.readouterr().err


def test_a_missing_input_is_named_before_any_work(scene_files, tmp_path, capsys):
    values = settings(scene_files, tmp_path / "c")
    values["pairs"][0]["captions"] = str(tmp_path / "nowhere-*.json")
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(values))
    assert main(["run", str(path)]) == 1
    assert "nowhere-*.json matches no file" in capsys.readouterr().err
    assert not (tmp_path / "c/pairs").exists()


def test_a_corpus_of_another_format_is_named(tmp_path, capsys):
    (tmp_path / "corpus.json").write_text('{"format": 99, "partitions": 1, "stages": []}')
    assert main(["verify", str(tmp_path)]) == 1
    assert "is a corpus of format 99; this release reads format 2" in capsys.readouterr().err


def test_names_are_read_alike_in_every_locale(tmp_path: Path):
    """In the C locale, Python assumes ASCII file names unless configured otherwise."""
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "é中.jpg").write_bytes(encoded())
    (tmp_path / "c.csv").write_text("image,caption\né中.jpg,A dog runs\n")
    hashes = []
    for number, more in enumerate(({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"})):
        value = {
            "corpus": f"corpus{number}",
            "partitions": 1,
            "tfidf": None,
            "pairs": [{"format": "csv", "name": "x", "captions": "c.csv", "images": "img"}],
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(value))
        for command in ("run", "hash"):
            done = subprocess.run(
                [sys.executable, "-m", "pipelines.cli", command, str(tmp_path / "c.yaml")],
                env={**os.environ, **more},
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
            )
            assert done.returncode == 0, done.stderr
        hashes.append(done.stdout)
    assert hashes[0] == hashes[1]
