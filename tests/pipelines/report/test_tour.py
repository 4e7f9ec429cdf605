"""docs/tour.ipynb: stored without outputs, runs from top to bottom, and leaves a corpus with every stage, whose report is true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.report.help import Report
from tests.pipelines.report.recount import check_charts, check_counts, check_facets

TOUR = Path(__file__).parents[3] / "docs" / "tour.ipynb"


def test_it_is_stored_without_outputs():
    held = json.loads(TOUR.read_text(encoding="utf-8"))
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in held["cells"] if cell["cell_type"] == "code")
    assert not any("attachments" in cell for cell in held["cells"])
    assert held["cells"][0]["cell_type"] == "markdown" and len(held["cells"]) > 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_runs(tmp_path):
    for package in ("altair", "vl_convert", "sentence_transformers", "faiss", "ctranslate2", "ipykernel"):
        pytest.importorskip(package)
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    held = nbformat.read(TOUR, as_version=4)
    nbformat.validate(held)
    nbclient.NotebookClient(held, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    corpus, measured = tmp_path / "tour" / "corpus", json.loads((tmp_path / "tour" / "recall.json").read_text())
    found = measured["recall"]["separate"]["text_to_image"]["R@5"]
    assert found > 1.5 * measured["chance"]["text_to_image"]["R@5"]
    said = Report(tmp_path / "tour" / "report", [])
    check_counts(corpus, said)
    check_facets(corpus, said)
    check_charts(corpus, said)
    assert {"outcome", "kind", "why", "refused", "source"} == {group for group, _, _ in said.data("meta.js")["facets"]}
    assert len(said.data("attention.js")["pairs"]) == 24 and "Training: loss" in said.page("index.html").text
