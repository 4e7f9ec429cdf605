import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.lock import corpus_lock
from pipelines.report.build import PAIRS
from pipelines.report.numbers import Histogram
from schemas.errors import ConfigError, CorpusError
from tests.forge import forge_manifest
from tests.pipelines.report.help import Report, report, small

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


# Where a report is written


def test_a_folder_with_other_files_is_refused(tmp_path):
    corpus = small(tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        report(corpus, tmp_path / "r")
    assert os.listdir(tmp_path / "r") == ["thesis.tex"]


def test_a_file_put_into_a_report_is_not_removed(tmp_path):
    corpus = small(tmp_path)
    report(corpus, tmp_path / "r")
    (tmp_path / "r" / "data" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        report(corpus, tmp_path / "r")
    assert (tmp_path / "r" / "data" / "notes.txt").read_text() == "mine"


def test_other_places_are_refused(tmp_path):
    corpus = small(tmp_path)
    with pytest.raises(CorpusError, match="inside another corpus"):
        report(corpus, Path(corpus.url, "report"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        report(corpus, tmp_path / "file")
    assert main(["report", corpus.url, "--out", "s3://bucket/report"]) == 1


def test_a_failure_leaves_the_earlier_report(tmp_path, monkeypatch):
    corpus = small(tmp_path)
    before = report(corpus, tmp_path / "r").files()
    monkeypatch.setattr("pipelines.report.build.write_gallery", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(corpus, tmp_path / "r")
    assert Report(tmp_path / "r", []).files() == before
    assert [name for name in os.listdir(tmp_path) if name.startswith(".tmp")] == []


def test_the_command(tmp_path, capsys):
    corpus = small(tmp_path)
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({"corpus": corpus.url, "pairs": [{"format": "coco", "name": "x", "captions": "x.json"}]})
    )
    assert main(["report", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "r"), "--no-images", "--pairs", "2", "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(tmp_path / "r" / "index.html") and "75 % of the captions (3 of 4) have no positive." in said
    assert main(["report", str(tmp_path / "absent"), "--out", str(tmp_path / "r2")]) == 1
    assert "no corpus at" in capsys.readouterr().err


def test_the_command_writes_the_dataset_card_and_keeps_one_that_may_say_more(tmp_path, capsys):
    corpus = small(tmp_path)
    card, config = Path(corpus.url, "README.md"), tmp_path / "c.yaml"
    told = {"corpus": corpus.url, "pairs": [{"format": "coco", "name": "x", "captions": "x.json"}], "card": {"license": ["cc-by-4.0"]}}
    config.write_text(yaml.safe_dump(told))

    def said(given):
        assert main(["report", str(given), "--out", str(tmp_path / "r"), "--no-images"]) == 0
        return capsys.readouterr().out.splitlines()[-2]

    assert said(corpus.url) == "- the dataset card is README.md in the corpus's folder" and "license" not in card.read_text()
    card.write_text(card.read_text() + "\nMy own words.\n")
    assert said(config) == "- the dataset card is README.md in the corpus's folder"
    text = card.read_text()
    assert "cc-by-4.0" in text and "My own words." in text
    assert "is kept as it is" in said(corpus.url) and card.read_text() == text
    card.write_text("a thesis")
    assert "no dataset card was written" in said(config) and card.read_text() == "a thesis"
    card.unlink()
    with corpus_lock(corpus.url):
        assert "no dataset card was written" in said(corpus.url) and not card.exists()


# Samples and figures


def test_a_sample_has_every_outcome_and_does_not_depend_on_partitions(tmp_path):
    captions = tuple(f"A dog number {at}." for at in range(300))
    one, two = (
        report(small(tmp_path / name, captions, partitions), tmp_path / f"r{name}", pairs=20, seed=3)
        for name, partitions in (("a", 1), ("b", 3))
    )
    meta = one.data("meta.js")
    index = one.data("index-0000.js")
    assert index["ids"] == two.data("index-0000.js")["ids"] and 20 < meta["pairs"] < 80 and meta["total"] == 300
    assert ["kind", "positive: back_translation", 1] in meta["facets"]  # the one pair that has a positive
    assert f"a sample of {meta['pairs']} of 300 pairs (seed 3)" in one.page("gallery.html").text
    assert one.page("index.html").counts["pairs rows_out pairs"] == 300
    assert report(tmp_path / "a" / "corpus", tmp_path / "rc", pairs=20, seed=4).data("index-0000.js")["ids"] != index["ids"]
    assert PAIRS >= 25_014


@given(st.lists(st.floats(-1e6, 1e6) | st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 50))
def test_histograms_count_every_value_whatever_the_order(values, cut):
    one, other = Histogram(), Histogram()
    one.add(np.array(values))
    for start in range(0, len(values), cut):
        other.add(np.array(values[::-1][start : start + cut]))
    assert (one.width, one.bins, one.low, one.high) == (other.width, other.bins, other.low, other.high)
    assert sum(count for _, _, count in one.bars()) == len(values) and len(one.bars()) <= 40


def test_losses_and_ablations(tmp_path):
    corpus = small(tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match=r"no log\.csv or table\.csv"):
        report(corpus, tmp_path / "r", run=str(tmp_path / "run"))
    (tmp_path / "run" / "log.csv").write_text("step,lr,loss,loss/mlm\n10,0.1,3.5,2\n20,0.1,nan,\n30,0.1,2.5,1\n")
    (tmp_path / "run" / "table.csv").write_text(
        "arm,metric,difference,difference_low,difference_high\nfull,R@1,,,\nnone,R@1,-0.02,-0.03,0.01\n"
    )
    text = report(corpus, tmp_path / "r", run=str(tmp_path / "run")).page("index.html").text
    assert "Last value 2.5, at step 30." in text and "Training: loss/mlm" in text and "Ablation: R@1" in text


@pytest.mark.parametrize(
    ("stage", "settings", "said"),
    [
        ("image_matches", {"floor": 0.5, "k": 1000}, "a score of at least 0.5, and among the best 1,000 that the guards left"),
        ("regions", {"threshold": 0.2, "min_regions": 10}, "a confidence above 0.2, or among the 10 most confident of the image"),
        ("regions", {"threshold": None, "files": ["x.tsv"]}, "the imported file has them"),
        ("regions", {"detector": "c7cb"}, "the detector is confident enough of them"),
        ("regions", "of another release", None),
        ("tfidf", {"floor": 0.5, "k": 10}, None),
    ],
)
def test_regions_and_matches_say_why_they_were_kept(tmp_path, stage, settings, said):
    corpus = small(tmp_path)
    forge_manifest(corpus, stage, lambda manifest: manifest.ingredients.update(settings=settings))
    assert report(corpus, tmp_path / "r").data("meta.js")["rules"].get(stage) == said
