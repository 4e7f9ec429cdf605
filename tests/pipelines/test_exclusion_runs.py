"""Exclusion lists in a run: matches are reported, a list without matches fails the run; lowered limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config import Config, parse_config
from pipelines.run import plan_of, run
from pipelines.status import print_status
from schemas.corpus import Corpus
from schemas.errors import ConfigError, RejectLimitError, SourceError
from tests.transforms.ingest.source_help import encoded


def config(folder: Path, exclude: dict, **changes) -> Config:
    rows = "".join(f"val2014/COCO_val2014_{number:012d}.jpg,A photo of number {number} and more\n" for number in (42, 73, 139))
    (folder / "c.csv").write_text("image,caption\n" + rows)
    return parse_config(
        {
            "corpus": "corpus",
            "partitions": 2,
            "pixels": False,
            "tfidf": None,
            "exclude": exclude,
            "pairs": [{"format": "csv", "name": "x", "captions": "c.csv"}],
            **changes,
        },
        str(folder),
    )


def test_a_list_that_matches_nothing_fails_the_run(tmp_path: Path):
    (tmp_path / "test.txt").write_text("nobody.jpg\n")
    wrong = config(tmp_path, {"files": ["test.txt"]})
    for _ in range(2):  # and the next run fails as well
        with pytest.raises(RejectLimitError, match=r"test\.txt matches no image"):
            run(wrong)
    assert plan_of(wrong)[1][0].state == "failed"
    assert run(config(tmp_path, {"files": ["test.txt"], "allow_unmatched": True})).ran
    assert not Corpus(wrong.corpus, 2).manifest("pairs").failed


def test_of_two_lists_the_one_that_matches_nothing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "good.txt").write_text("COCO_val2014_000000000042.jpg\nCOCO_val2014_000000000777.jpg\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "b.jpg").write_bytes(encoded())
    photos = [{"format": "folder", "name": "photos", "images": "photos"}]
    with pytest.raises(RejectLimitError, match=r"exclude\.ids matches no image"):
        run(config(tmp_path, {"files": ["good.txt"], "ids": ["none.jpg"]}, images=photos))
    fine = config(tmp_path, {"files": ["good.txt"], "ids": ["b.jpg"]}, images=photos)  # each matches in one of the two stages
    run(fine)
    print_status(plan_of(fine)[1])
    assert "good.txt: 1 of 2 entries matched, 1 images left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "exclude",
    [
        {"files": [{"file": "k.json", "split": ["test", "val"]}]},
        {"files": [{"file": "k.json", "split": "test"}], "ids": ["x/val2014/73"]},
        {"files": [{"file": "t.csv", "column": "photo"}]},
    ],
)
def test_parts_of_files(exclude: dict, tmp_path: Path):
    images = [
        {"filepath": "val2014", "filename": f"COCO_val2014_{number:012d}.jpg", "imgid": i, "split": split, "sentences": []}
        for i, (number, split) in enumerate([(42, "test"), (73, "val"), (139, "train")])
    ]
    (tmp_path / "k.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    (tmp_path / "t.csv").write_text("n,photo\n139,COCO_val2014_000000000042.jpg\n42,000000000073.jpg\n")
    exclude = {name: [json.loads(json.dumps(one)) for one in values] for name, values in exclude.items()}
    if "ids" in exclude:
        exclude["ids"] = ["val2014/COCO_val2014_000000000073"]
    report = run(config(tmp_path, exclude))
    assert report.ran[0].counts.excluded == 2


def test_lists_of_several_splits_must_be_chosen_from(tmp_path: Path):
    (tmp_path / "k.json").write_text(json.dumps([{"image": "a.jpg", "split": "test"}, {"image": "b.jpg", "split": "train"}]))
    with pytest.raises(SourceError, match="splits test, train; select those"):
        run(config(tmp_path, {"files": ["k.json"]}))
    with pytest.raises(SourceError, match="no split 'dev'"):
        run(config(tmp_path, {"files": [{"file": "k.json", "split": "dev"}]}))
    with pytest.raises(ConfigError, match="exclude"):
        config(tmp_path, {"files": [{"file": "k.json", "splits": "dev"}]})


def test_a_lowered_limit_fails_a_finished_stage(tmp_path: Path):
    lenient = config(tmp_path, {}, max_rejected=1.0, captions={"max_words": 3})
    run(lenient)
    assert not plan_of(lenient)[1][0].must_run
    strict = config(tmp_path, {}, max_rejected=0.1, captions={"max_words": 3})
    assert plan_of(strict)[1][0].state == "failed"
    with pytest.raises(RejectLimitError, match="more than max_rejected allows"):
        run(strict)
    run(lenient)
    assert not plan_of(lenient)[1][0].must_run
