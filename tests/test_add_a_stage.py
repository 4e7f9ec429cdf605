"""docs/add-a-stage.md, followed literally in a copy of the project: the stage runs, and only one existing file changes."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/add-a-stage.md").read_text(encoding="utf-8")
NEW = ["schemas/text_quality.py", "transforms/text_quality.py", "tests/transforms/test_text_quality.py", "docs/text_quality.md"]
# One process for all commands: what each prints, or its exit status where that is not 0.
COMMANDS = """
import contextlib, io, json, sys
from pipelines.cli import main
said = []
for command in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(command)
    said.append([status, out.getvalue()])
print(json.dumps(said))
"""


def blocks(language="python"):
    """The page's fenced blocks, each with the line before it."""
    return re.findall(rf"([^\n]*)\n\n```{language}\n(.*?)```\n", PAGE, re.DOTALL)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def follow_the_page(copy):
    """Does what the page says."""
    for before, text in [*blocks(), *blocks("markdown")]:
        if path := re.fullmatch(r"`([\w/.]+)`:", before):
            (copy / path[1]).write_text(text, encoding="utf-8")
    ((_, imported),) = [
        block for block in blocks() if block[1].startswith("from transforms.text_quality import") and "\n    " not in block[1]
    ]
    ((_, entry),) = [block for block in blocks() if block[1].startswith("    Entry(")]
    table = copy / "pipelines/stages.py"
    text = table.read_text(encoding="utf-8")
    end = text.index("\n\n\n@dataclass") + 1  # of the imports
    text = text[:end] + imported + text[end:]
    end = text.index('    Entry("",')
    table.write_text(text[:end] + entry + text[end:], encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project without its models, and its files before and after."""
    copy = tmp_path_factory.mktemp("project")
    for room in ("schemas", "transforms", "pipelines", "tests", "docs"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("embedded", "__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    before = digests(copy)
    follow_the_page(copy)
    python(copy, "-m", "pipelines.readme")
    return copy, before, digests(copy)


def python(copy, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_table_of_stages_is_the_only_existing_file_that_changes(project):
    _, before, after = project
    assert sorted(set(after) - set(before)) == sorted(NEW)
    assert [name for name in before if after.get(name) != before[name]] == ["pipelines/stages.py"]


def test_its_own_test_and_that_of_the_settings_pass(project):
    out = python(
        project[0], "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/transforms/test_text_quality.py", "tests/test_readme.py"
    )
    assert " passed" in out and "skipped" not in out
    assert (
        "| `run` | 2 | number of words in the n-grams whose repetition is measured |" in (project[0] / "docs/text_quality.md").read_text()
    )


def test_every_command_knows_the_stage(project, tmp_path):
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(f"{n}.jpg,A dog and a dog and {n} cats\n" for n in range(20)))
    config = tmp_path / "config.yaml"
    values = {
        "corpus": "corpus",
        "partitions": 3,
        "pixels": False,
        "tfidf": None,
        "text_quality": {},
        "pairs": [{"format": "csv", "name": "x", "captions": "captions.csv"}],
    }
    config.write_text(json.dumps(values))  # JSON is YAML
    path = str(config)
    commands = [
        ["run", path, "--quiet"],
        ["status", path],
        ["verify", path],
        ["hash", path],
        ["show", path],
        ["status", path, "--set", "text_quality.run=3"],
        ["run", path, "--quiet", "--set", "text_quality.run=3"],
        ["hash", path],
        ["run", path, "--set", "text_quality.ruin=3"],
        ["run", path, "--quiet", "--set", "text_quality=null"],
    ]
    said = json.loads(python(project[0], "-c", COMMANDS, json.dumps(commands)).splitlines()[-1])
    assert [status for status, _ in said] == [0] * 8 + [1, 0], said
    run, status, verify, hashed, shown, stale, again, rehashed, wrong, without = (text for _, text in said)
    assert re.search(r"^text_quality +3 tasks.*20 rows in; 20 text_quality", run, re.MULTILINE)
    assert re.search(r"^text_quality +current +20 +20 ", status, re.MULTILINE)
    assert "all references resolve" in verify
    assert [line.split()[1] for line in hashed.splitlines() if "text_quality" in line] == [
        "text_quality/text_quality",
        "text_quality/rejects",
    ]
    assert re.search(r"^text_quality: words 8, letters 0\.\d+, repeated 0\.\d+$", shown, re.MULTILINE)
    assert "settings.run: 2 -> 3" in stale and re.search(r"^pairs +current", stale, re.MULTILINE)
    assert "up to date: pairs, examples" in again
    assert [line for line in hashed.splitlines() if line not in rehashed.splitlines()] == [
        line for line in hashed.splitlines() if line.endswith(("text_quality/text_quality", "  corpus"))
    ]
    assert "text_quality.ruin: unknown key; did you mean 'run'?" in wrong
    assert "left alone: text_quality" in without
