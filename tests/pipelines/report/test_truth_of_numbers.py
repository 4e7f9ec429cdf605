"""Every number of a report is the manifests' and that of a recount: a corpus with a row of every kind, and all of COCO's captions."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.config import parse_config
from pipelines.run import run
from tests.forge import forge_table
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


def test_of_regions_without_confidence_and_classes(tmp_path):
    corpus = small(tmp_path)
    forge = {"confidence": pa.list_(pa.float32()), "class": pa.list_(pa.int32())}
    for part in range(2):
        for name, kind in forge.items():
            forge_table(corpus, "regions", "regions", part, lambda rows, name=name, kind=kind: _without(rows, name, kind))
    held = report(corpus, tmp_path / "r")
    check_counts(corpus.url, held)
    check_charts(corpus.url, held)
    assert "2 regions of 1 images" in held.page("index.html").text and "Confidence of regions" not in held.page("index.html").text
    assert held.data("000/piece-000000.js")["pairs"]


def _without(rows, name, kind):
    """A table whose lists in a column hold nulls."""
    lists = pa.array([[None] * len(boxes) for boxes in rows["boxes"].to_pylist()], kind)
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), lists.cast(rows.schema.field(at).type))


@pytest.mark.slow
def test_of_coco(tmp_path, shared_data):
    source = {"format": "coco", "name": "coco", "captions": str(shared_data / "coco_val2017" / "captions_val2017.json")}
    run(parse_config({"corpus": str(tmp_path / "c"), "pixels": False, "pairs": [source], "partitions": 3, "tfidf": {"k": 3}}, "/"))
    held = report(tmp_path / "c", tmp_path / "r")
    assert held.data("meta.js")["total"] == 25_007 and "25,014" in held.page("index.html").text
    check_counts(tmp_path / "c", held)
    check_facets(tmp_path / "c", held)
    check_charts(tmp_path / "c", held)
