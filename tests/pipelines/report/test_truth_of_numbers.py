"""Every number of a report is the manifests' and that of a recount: a corpus with a row of every kind, and all of COCO's captions."""

from __future__ import annotations

import pytest

from pipelines.config import parse_config
from pipelines.run import run
from tests.pipelines.report.help import report, small
from tests.pipelines.report.recount import check_charts, check_counts, check_facets

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


def test_of_a_corpus_with_every_kind_of_table(tmp_path):
    captions = tuple(f"{'Two dogs' if at % 3 else 'A black dog'} and {at} balls of {'red ' * (at % 7)}wool." for at in range(60))
    corpus = small(tmp_path, captions, 3)
    held = report(corpus, tmp_path / "r")
    check_counts(corpus.url, held)
    check_facets(corpus.url, held)
    check_charts(corpus.url, held)


@pytest.mark.slow
def test_of_coco(tmp_path, shared_data):
    source = {"format": "coco", "name": "coco", "captions": str(shared_data / "coco_val2017" / "captions_val2017.json")}
    run(parse_config({"corpus": str(tmp_path / "c"), "pixels": False, "pairs": [source], "partitions": 3, "tfidf": {"k": 3}}, "/"))
    held = report(tmp_path / "c", tmp_path / "r")
    assert held.data("meta.js")["total"] == 25_007 and "25,014" in held.page("index.html").text
    check_counts(tmp_path / "c", held)
    check_facets(tmp_path / "c", held)
    check_charts(tmp_path / "c", held)
