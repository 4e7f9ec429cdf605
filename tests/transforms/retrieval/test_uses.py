"""How often an item is used: the figures in the manifest, and the limit."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from pipelines.verify import corpus_hash, verify
from schemas.corpus import open_corpus
from schemas.ids import placements
from tests.transforms.retrieval.help import made, rows, write_inputs

COUNT = 24


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"), pairs=16, alone=COUNT)


def images(inputs, place, partitions=3, **settings):
    return made(inputs, place, partitions=partitions, retrieval={"texts": None, "images": {"floor": 0.0, **settings}})


def test_the_share_of_the_collection_that_is_used_and_the_most_used_item_are_in_the_manifest(inputs, tmp_path):
    corpus = images(inputs, tmp_path / "c", k=3)
    uses = Counter(match["matched_id"] for match in rows(corpus, "image_matches", "matches"))
    extra = corpus.manifest("image_uses").extra
    assert (extra["collection"], extra["used"], extra["share_used"]) == (COUNT, len(uses), round(len(uses) / COUNT, 6))
    assert uses[extra["most_used"]] == extra["most_uses"] == max(uses.values()) > 1
    assert images(inputs, tmp_path / "d", partitions=5, k=3).manifest("image_uses").extra == extra


def test_no_item_is_in_more_lists_than_allowed_and_the_best_queries_have_it(inputs, tmp_path):
    corpus, limit = images(inputs, tmp_path / "c", k=3, max_uses=2, depth=COUNT), 2
    matches = rows(corpus, "image_matches", "matches")
    uses = Counter(match["matched_id"] for match in matches)
    assert max(uses.values()) == limit == corpus.manifest("image_uses").extra["most_uses"]
    wanted = defaultdict(list)
    held = [row["id"] for row in rows(corpus, "image_vectors", "vectors")]
    for row in rows(corpus, "image_neighbours", "neighbours"):
        for position, score in zip(row["positions"], row["scores"], strict=True):
            wanted[held[position]].append((-score, int(placements([row["id"]])[0]), row["id"]))
    for match in matches:
        assert match["query_id"] in [query for _, _, query in sorted(wanted[match["matched_id"]])[:limit]]
    reasons = Counter(row["reason"] for row in rows(corpus, "image_matches", "rejects"))
    counts = corpus.manifest("image_matches").counts
    assert reasons["overused"] > 0 and counts.numbers["short_by_max_uses"] > 0
    assert verify(*open_corpus(corpus.url)) == []
    assert corpus_hash(*open_corpus(corpus.url)) == corpus_hash(
        *open_corpus(images(inputs, tmp_path / "d", partitions=5, k=3, max_uses=2, depth=COUNT).url)
    )


def test_a_limit_that_nothing_reaches_changes_nothing(inputs, tmp_path):
    free, limited = images(inputs, tmp_path / "a", k=3), images(inputs, tmp_path / "b", k=3, max_uses=16)
    assert rows(free, "image_matches", "matches") == rows(limited, "image_matches", "matches")
    assert limited.manifest("image_caps").extra == {"max_uses": 16, "items_capped": 0}


def test_queries_with_equal_scores_are_told_apart_by_placement():
    from transforms.retrieval.settings import ImageRetrieval, RetrievalParams, RetrievalSettings
    from transforms.retrieval.use_stages import ImageCaps

    own = RetrievalSettings(texts=None, images=ImageRetrieval(max_uses=2))
    stage = ImageCaps(RetrievalParams(retrieval=own))
    rng = np.random.default_rng(0)
    wanted = (rng.integers(0, 5, 200), rng.integers(0, 3, 200) * 100, rng.permutation(200))
    whole = stage.combine([wanted])
    for cut in (1, 50, 120):
        parts = [tuple(values[:cut] for values in wanted), tuple(values[cut:] for values in wanted)]
        again = stage.combine([stage.combine([part]) for part in parts])
        assert all(np.array_equal(one, other) for one, other in zip(whole, again, strict=True))
    for item in range(5):
        mine = sorted(zip(-wanted[1][wanted[0] == item], wanted[2][wanted[0] == item], strict=True))[:3]
        assert [(-score, query) for score, query in zip(whole[1][whole[0] == item], whole[2][whole[0] == item], strict=True)] == mine
