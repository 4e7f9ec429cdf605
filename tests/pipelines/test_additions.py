"""Corpora that grow: what is made again, from a base or with frozen vocabularies, and that the result is that of a fresh run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.config import parse_config
from pipelines.run import RunReport, corpus_of, forecast_of, run
from pipelines.verify import verify
from schemas.errors import ConfigError
from tests.given import scene_pairs

PAIRS = scene_pairs(34)


def settings(folder: Path, name: str, scenes: int, **changes: Any) -> dict[str, Any]:
    """The configuration of the corpus `name` with the first scenes."""
    images = {key for key, _ in PAIRS if int(key) < scenes}
    captions = folder / f"{scenes}.json"
    captions.write_text(
        json.dumps(
            {
                "images": [{"id": int(key), "file_name": f"{key}.jpg"} for key in sorted(images)],
                "annotations": [
                    {"id": number, "image_id": int(key), "caption": caption} for number, (key, caption) in enumerate(PAIRS) if key in images
                ],
            }
        )
    )
    return {
        "corpus": str(folder / name),
        "partitions": 3,
        "seed": 5,
        "pixels": False,
        "max_rejected": 1.0,
        "tfidf": {"k": 5},
        "swaps": {"min_count": 2, "per_kind": 4},
        "pairs": [{"format": "coco", "name": "made", "captions": [str(captions)]}],
        **changes,
    }


def build(folder: Path, name: str, scenes: int, **changes: Any) -> RunReport:
    """Builds or updates the corpus `name`."""
    return run(parse_config(settings(folder, name, scenes, **changes), str(folder)))


def tables(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.arrow"))}


def made(report: RunReport) -> dict[str, int]:
    """Rows made, by stage."""
    return {manifest.stage: manifest.made for manifest in report.ran}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpora `old` (32 scenes) and `fresh` (34)."""
    folder = tmp_path_factory.mktemp("grown")
    build(folder, "old", 32)
    build(folder, "fresh", 34)
    return folder


def test_a_corpus_starts_from_its_base(grown: Path) -> None:
    before = tables(grown / "old")
    report = build(grown, "based", 34, base="old")
    assert tables(grown / "based") == tables(grown / "fresh")
    assert verify(*corpus_of(str(grown / "based"))) == []
    assert 0 < made(report)["graphs"] < 20 < made(report)["swaps"]  # the vocabulary has changed
    assert tables(grown / "old") == before
    again = build(grown, "copied", 32, base="old")
    assert sum(made(again).values()) == 0 and tables(grown / "copied") == before


def test_the_rows_to_make_are_known_before(grown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(grown / "old", tmp_path / "old")
    config = settings(tmp_path, "old", 34)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    assert main(["status", "--why", str(path)]) == 0
    said = capsys.readouterr().out
    assert main(["run", "--dry-run", str(path)]) == 0
    dry = capsys.readouterr().out
    captions, old = (sum(int(key) < scenes for key, _ in PAIRS) for scenes in (34, 32))
    assert f"rows to make: {captions - old} of {captions}" in said and f"rows to make: {captions} of {captions}" in said
    foretold = {work.stage: work for work in forecast_of(parse_config(config, "/"))[1]}
    assert all(work.seconds is not None for work in foretold.values()) and "about" in dry and "unknown" not in dry
    report = made(run(parse_config(config, "/")))
    assert {stage: foretold[stage].rows for stage in ("graphs", "swaps", "tfidf_counts")} == {
        stage: report[stage] for stage in ("graphs", "swaps", "tfidf_counts")
    }
    assert {work.rows for work in forecast_of(parse_config(config, "/"))[1]} == {0}


def test_damaged_tables_of_a_base_are_made(grown: Path, tmp_path: Path) -> None:
    build(tmp_path, "old", 32)
    for path in (tmp_path / "old").rglob("*-00001-of-*.arrow"):
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    build(tmp_path, "based", 32, base="old")
    assert tables(tmp_path / "based") == tables(grown / "old")


def test_a_base_has_the_same_partitions_and_seed(grown: Path) -> None:
    with pytest.raises(ConfigError, match="3 partitions and seed 5"):
        build(grown, "other", 32, base="old", seed=6)


def test_frozen_vocabularies_leave_the_other_rows_alone(grown: Path, tmp_path: Path) -> None:
    old = str(grown / "old")
    build(tmp_path, "grown", 32)
    report = build(tmp_path, "grown", 34, frozen=old)
    assert 0 < made(report)["swaps"] == made(report)["graphs"] < 20
    build(tmp_path, "fresh", 34, frozen=old)
    assert tables(tmp_path / "grown") == tables(tmp_path / "fresh") != tables(grown / "fresh")
    assert verify(*corpus_of(str(tmp_path / "grown"))) == []
    config = parse_config(settings(tmp_path, "grown", 34, frozen="grown"), str(tmp_path))  # its own state
    assert sum(made(run(config)).values()) == 0
    assert run(config).ran == []


def test_frozen_stages_must_be_there_and_alike(grown: Path) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        build(grown, "other", 32, frozen="old", swaps={"min_count": 3, "per_kind": 4})
    with pytest.raises(ConfigError, match="corpus-wide"):
        build(grown, "other", 32, frozen={"swaps": "old"})
    with pytest.raises(ConfigError, match="no corpus at"):
        build(grown, "other", 32, frozen="nowhere")
