"""Regions and swaps as stages of a whole corpus."""

import json

import pytest

from pipelines.build import stages_of
from pipelines.plan import plan
from pipelines.run import plan_of, run
from pipelines.verify import verify
from schemas.corpus import Corpus, open_corpus
from schemas.errors import ConfigError
from schemas.regions import RegionFile
from tests.pipelines.conftest import make_config

FULL = {"regions": {}, "swaps": {"per_kind": 4, "min_count": 2}}


@pytest.fixture(scope="module")
def corpus(scene_files, tmp_path_factory):
    pytest.importorskip("torch", reason="the embedded detector needs torch: pip install 'cmcl[regions]'")
    place = tmp_path_factory.mktemp("full") / "c"
    run(make_config(scene_files, place, **FULL))
    return place


def test_examples_point_at_the_regions_of_their_image(corpus):
    found, _ = open_corpus(str(corpus))
    seen = 0
    for partition in range(found.partitions):
        with RegionFile(found.table_url("regions", "regions", partition)) as regions:
            for example in found.open("examples", "examples", partition).read().to_pylist():
                here = regions[example["region_row"]]
                assert (here.image_id, here.width) == (example["image_id"], example["image"]["width"])
                seen += 1
    assert seen == found.manifest("pairs").counts.rows_out["pairs"]
    assert verify(*open_corpus(str(corpus))) == []


def test_examples_hold_the_negatives_of_every_level(corpus):
    found, _ = open_corpus(str(corpus))
    levels = {
        (negative["level"], negative["kind"])
        for partition in range(found.partitions)
        for example in found.open("examples", "examples", partition).read()["negatives"].to_pylist()
        for negative in example
    }
    assert {("sentence", "tfidf"), ("word", "object"), ("word", "attribute"), ("phrase", "count")} <= levels


def test_regions_guard_the_swaps(corpus):
    reasons = open_corpus(str(corpus))[0].manifest("swaps").counts.reasons
    assert reasons["in_labels"] > 0 and reasons["in_sibling"] > 0


def test_a_change_of_the_swaps_reruns_them_alone(corpus, scene_files):
    changed = make_config(scene_files, corpus, regions={}, swaps={"per_kind": 3, "min_count": 2})
    assert [state.stage.name for state in plan_of(changed)[1] if state.must_run] == ["swaps", "examples"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"regions": {}, "pixels": False}, "regions requires pixels: true"),
        ({"regions": {}, "region_files": {"format": "bottom_up", "files": ["x.tsv"]}}, "mutually exclusive"),
        ({"regions": {"detector": "yolo"}}, "detector 'yolo' is not one of"),
        ({"swaps": {"kinds": ["object", "colour"]}}, "unknown kinds ['colour']"),
    ],
)
def test_wrong_settings_are_named(scene_files, tmp_path, changes, text):
    with pytest.raises(ConfigError) as caught:
        make_config(scene_files, tmp_path, **changes)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"swaps": {"parser": "spacy:en_core_web_nowhere"}}, {"region_files": {"format": "bottom_up", "files": ["/nowhere.tsv"]}}]
)
def test_missing_models_and_files_are_named_before_any_work(scene_files, tmp_path, changes):
    config = make_config(scene_files, tmp_path / "c", **changes)
    with pytest.raises(ConfigError, match="nowhere"):
        run(config)
    assert not (tmp_path / "c/pairs").exists()


def test_own_region_files_serve_as_well(scene_files, tmp_path):
    """Regions exported to UNITER's npz format, and imported as a user's own files."""
    from transforms.regions.files.export import export_npz

    pytest.importorskip("torch")
    run(make_config(scene_files, tmp_path / "c", regions={}, tfidf=None))
    found, _ = open_corpus(str(tmp_path / "c"))
    assert export_npz(found, "regions", str(tmp_path / "npz"), "{key}.npz") == 40
    own = make_config(
        scene_files,
        tmp_path / "own",
        tfidf=None,
        images=[],
        region_files={"format": "uniter_npz", "files": [str(tmp_path / "npz")], "key": "{key}.npz"},
    )
    run(own)
    assert Corpus(own.corpus, 4).manifest("regions").counts.rows_out == {"regions": 40}
    assert {state.state for state in plan(Corpus(own.corpus, 4), stages_of(own), 0)} == {"current"}
    assert json.dumps(verify(*open_corpus(own.corpus))) == "[]"


def test_examples_hold_positives(scene_files, tmp_path):
    pytest.importorskip("ctranslate2", reason="back-translation requires its extra: pip install 'cmcl[translate]'")
    run(make_config(scene_files, tmp_path / "c", tfidf=None, back_translation={"pivots": ["de"]}))
    found, _ = open_corpus(str(tmp_path / "c"))
    made = found.manifest("back_translation").counts
    positives = [
        positive
        for partition in range(found.partitions)
        for own in found.open("examples", "examples", partition).read()["positives"].to_pylist()
        for positive in own
    ]
    assert len(positives) == made.rows_out["rewrites"] > 0
    assert {(positive["level"], positive["kind"]) for positive in positives} <= {
        ("sentence", "back_translation"),
        ("sentence", "rewording"),
    }
    assert verify(*open_corpus(str(tmp_path / "c"))) == []
