"""Inputs that users really have, each with the expected values from the format's reference or from other readers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipelines.config import load_config
from pipelines.run import run
from schemas.corpus import Corpus
from schemas.manifest import StageManifest

# Case and configuration: by stage, rows of the tables and rows left out.
EXPECTED = {
    ("01-exclude-by-file-name", "c"): {"pairs": 3, "excluded": 2}, ("01-exclude-by-file-name", "c2"): {"pairs": 4, "excluded": 1},
    ("01-exclude-by-file-name", "c3"): {"pairs": 4, "excluded": 1}, ("01-exclude-by-file-name", "c4"): {"pairs": 1, "excluded": 1},
    ("01-exclude-by-file-name", "c5"): {"pairs": 1, "excluded": 1},
    ("02-flickr-token-caption-numbers", "c"): {"images": 2, "pairs": 10},
    ("02-flickr-token-caption-numbers", "c2"): {"images": 2, "pairs": 10},
    ("03-webdataset-txt-of-several-captions", "c"): {"images": 2, "pairs": 6},
    ("04-zip-of-several-files", "c"): {"pairs": 4}, ("04-zip-of-several-files", "c2"): {"texts": 2},
    ("04-zip-of-several-files", "c3"): {"pairs": 2},
    ("13-blank-rows-of-text-tables", "c"): {"texts": 24, "excluded": 12},
    ("13-blank-rows-of-text-tables", "c2"): {"texts": 24, "excluded": 12},
    ("13-blank-rows-of-text-tables", "c3"): {"texts": 24, "excluded": 12},
    ("14-parquet-of-view-and-dictionary-types", "c"): {"texts": 2}, ("14-parquet-of-view-and-dictionary-types", "c2"): {"texts": 2},
    ("14-parquet-of-view-and-dictionary-types", "c3"): {"pairs": 2},
    ("14-parquet-of-view-and-dictionary-types", "c4"): {"pairs": 2},
    ("15-linked-folders-of-images", "c"): {"pairs": 2, "of images": 2},
    ("16-img2dataset-failed-downloads", "c"): {"pairs": 13, "excluded": 7},
    ("18-tars-one-after-another", "c"): {"pairs": 4},
    ("19-csv-with-carriage-returns-alone", "c"): {"pairs": 2}, ("19-csv-with-carriage-returns-alone", "c2"): {"pairs": 2},
    ("22-names-in-decomposed-letters", "c"): {"pairs": 1},
}  # fmt: skip


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of one case folder."""
    place = Path(os.environ.get("CMCL_CASES") or Path(__file__).parents[2] / ".." / "shared" / "cases") / request.param
    if not place.is_dir():
        pytest.skip(f"no case at {place} (set CMCL_CASES to the folder of cases)")
    copy = tmp_path / request.param
    copy.mkdir()
    for folder, _, names in os.walk(place):  # not copytree, which copies permissions: the cases are read-only
        (copy / os.path.relpath(folder, place)).mkdir(exist_ok=True)
        for name in names:
            shutil.copyfile(f"{folder}/{name}", copy / os.path.relpath(folder, place) / name)
    if request.param.startswith("15"):
        for link, target in (("img/linked", "../elsewhere"), ("pool/linked", "../elsewhere"), ("pool/loop", "..")):
            os.symlink(target, copy / link)
    return copy


def made(case: Path, name: str, *overrides: str) -> tuple[Corpus, dict[str, StageManifest]]:
    """The corpus built from one configuration of a case, and its manifests."""
    config = load_config(str(case / f"{name}.yaml"), overrides)
    report = run(config)
    return Corpus(config.corpus, config.partitions), {manifest.stage: manifest for manifest in report.ran}


@pytest.mark.parametrize(("case", "name", "expected"), [(case, name, value) for (case, name), value in EXPECTED.items()], indirect=["case"])
def test_cases(case: Path, name: str, expected: dict[str, int]):
    _, stages = made(case, name, "tfidf=null", "partitions=1")
    counts = stages["texts" if "texts" in expected else "pairs"].counts
    found = {
        **stages["pairs"].counts.rows_out,
        **counts.rows_out,
        "excluded": counts.excluded,
        "of images": stages["images"].counts.rows_out["images"] if "images" in stages else 0,
    }
    assert {key: found[key] for key in expected} == expected
    assert counts.rejected == stages["pairs"].counts.rejected == 0
    if "exclude" in case.name:
        (book,) = stages["pairs"].extra["exclusions"].values()
        assert book["matched"] == book["images"] == expected["excluded"] <= book["entries"]


@pytest.mark.parametrize("case", ["02-flickr-token-caption-numbers"], indirect=True)
def test_no_caption_is_a_negative_of_its_own_image(case: Path):
    corpus, _ = made(case, "c")
    image = {row["pair_id"]: row["image_id"] for part in range(2) for row in corpus.open("pairs", "pairs", part).read().to_pylist()}
    rewrites = [row for part in range(2) for row in corpus.open("tfidf", "rewrites", part).read().to_pylist()]
    assert rewrites and all(image[row["pair_id"]] != image[row["origin"]] for row in rewrites)


@pytest.mark.parametrize("case", ["17-one-caption-many-times"], indirect=True)
def test_rejects_grow_with_captions_not_with_pairs_of_copies(case: Path):
    _, stages = made(case, "c")
    assert stages["tfidf"].counts.rows_in == 1150 and stages["tfidf"].counts.dropped <= 1150
