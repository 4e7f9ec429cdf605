"""Evaluation of a checkpoint on a corpus: what is counted, and that scores are those of the network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.training_corpus import Sizes, write_corpus
from model import checkpoint
from model.evaluate import CorpusPairs, _true_of, both_ways, evaluate, negative_accuracy, ranks_of, recall_of
from model.metrics import ranks
from model.scoring import Gallery, Scorer, joint_head, load_network, trained_heads, trains_separate
from schemas.errors import ConfigError


@pytest.fixture(scope="module")
def scorer(run: str, corpus: str) -> Scorer:
    return Scorer(*load_network(run), corpus)


def test_the_report_counts_what_the_corpus_has(run: str, corpus: str) -> None:
    report, arrays = evaluate(run, corpus, rerank=4, hidden=True, truth={})
    assert report["images"] == 23 and report["captions"] == len(arrays["owners"]) == 24 // 3 * 6 - 1
    assert report["skipped"] == {"the image has no regions": 1, "the caption is too long": 0} and report["head"] == "match"
    assert sum(found["negatives"] for found in report["negatives"].values()) == report["captions"] * 6
    assert set(report["recall"]) == {"separate", "reranked"} and set(report["negatives_image_hidden"]) == set(report["negatives"])
    assert report["ceiling"]["text_to_image"] == {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0}
    assert report["chance"]["text_to_image"] == pytest.approx({"R@1": 1 / 23, "R@5": 5 / 23, "R@10": 10 / 23})
    assert report["chance"]["image_to_text"]["R@1"] == pytest.approx(1 / 23)  # the mean of an image's captions over all captions
    for part in ("negatives", "negatives_image_hidden"):
        for kind, held in report[part].items():
            for how in ("separate", "joint"):
                shares = arrays.pop(f"{part} {kind} {how}")
                assert len(shares) == 23 and shares.mean() == pytest.approx(held[how])
    for name, found in arrays.items():
        if name != "owners":
            assert found.min() >= 1 and len(found) == (47 if name.endswith("text_to_image") else 23)


def test_reranking_everything_is_the_order_of_joint_scores(run: str, few: str) -> None:
    gallery = CorpusPairs(Scorer(*load_network(run), few)).gallery
    every = np.array([(image, text) for image in range(len(gallery)) for text in range(len(gallery.owners))])
    joint = gallery.joint_scores(every, "contrast").reshape(len(gallery), -1)
    found = ranks_of(both_ways(gallery, "contrast", None), gallery.own)["reranked"]
    assert np.array_equal(found["image_to_text"], ranks(joint, gallery.own))
    assert np.array_equal(found["text_to_image"], ranks(joint.T, gallery.own.T))


@pytest.mark.parametrize("count", [1, 2, None])
def test_only_the_candidates_are_scored_jointly_each_once_and_reranked(scorer: Scorer, count: int | None) -> None:
    rng, asked = np.random.default_rng(0), []
    apart, joint = rng.random((3, 5)).astype(np.float32), rng.random((3, 5)).astype(np.float32)

    class Known(Gallery):
        def separate_scores(self) -> np.ndarray:
            return apart

        def joint_scores(self, pairs: np.ndarray, head: str) -> np.ndarray:
            asked.extend(map(tuple, pairs.tolist()))
            return joint[pairs[:, 0], pairs[:, 1]]

    gallery = Known(scorer, np.array([0, 0, 1, 1, 2]), lambda _: pytest.fail("read"), lambda _: pytest.fail("read"))
    sides = both_ways(gallery, "match", count)
    assert np.array_equal(sides["separate"][0], apart.T) and np.array_equal(sides["separate"][1], apart)
    needed = set()
    for side, by_joint, way in ((sides["reranked"][0], joint.T, apart.T), (sides["reranked"][1], joint, apart)):
        for query, scores in enumerate(side):
            first = np.argsort(-way[query])[:count]
            needed |= {(int(one), query) if way is not apart else (query, int(one)) for one in first}
            order = [*first[np.argsort(-by_joint[query, first])], *np.argsort(-way[query])[len(first) :]]
            assert np.argsort(-scores).tolist() == order
    assert len(asked) == len(set(asked)) and set(asked) == needed and (count or len(asked) == 15)


def test_scores_do_not_hang_on_what_is_scored_together(scorer: Scorer) -> None:
    gallery = CorpusPairs(scorer).gallery
    whole = gallery.joint_scores(np.array([(image, text) for image in range(6) for text in range(12)]), "match")
    single = [gallery.joint_scores(np.array([pair]), "match")[0] for pair in ((0, 0), (3, 7), (5, 11))]
    assert np.allclose(whole[[0, 3 * 12 + 7, 5 * 12 + 11]], single, atol=1e-5)
    apart = gallery.separate_scores()
    one = scorer.separate(scorer.project_images([gallery.regions(3)]), scorer.project_texts([gallery.tokens(7)]))
    assert apart[3, 7] == pytest.approx(one[0, 0], abs=1e-5)


def test_truth_makes_more_captions_right(run: str, few: str) -> None:
    pairs = CorpusPairs(Scorer(*load_network(run), few))
    ids = [pairs.pair(caption).pair_id for caption in range(len(pairs.rows))]
    everything = {one: set(ids) for one in ids}
    report, _ = evaluate(run, few, rerank=0, truth=everything, negatives=False)
    assert "negatives" not in report
    assert report["recall_of_all_true"]["separate"]["text_to_image"]["R@1"] == 1.0 and "reranked" not in report["recall"]
    assert report["ceiling"]["text_to_image"]["R@1"] == pytest.approx(1 / 8)
    assert report["chance_of_all_true"]["text_to_image"]["R@1"] == 1.0


def test_true_images_are_named_by_any_of_their_pairs(run: str, corpus: str) -> None:
    pairs = CorpusPairs(Scorer(*load_network(run), corpus))
    columns, shards = pairs.shards.pairs.columns, pairs.shards
    whole = [shards.pairs_at(np.array([row]))[0].pair_id for row in range(shards.pairs.rows)]
    first = pairs.rows[np.flatnonzero(np.bincount(pairs.gallery.owners)[pairs.gallery.owners] == 3)[0]]
    other = next(row for row in pairs.rows if columns["image"][row] != columns["image"][first])
    columns["length"] = columns["length"].copy()
    columns["length"][first] = 1000  # left out, but its image has other captions
    few = CorpusPairs(pairs.gallery.scorer)
    true = _true_of(few, {whole[other]: {whole[first], "elsewhere"}, "foreign": {whole[first]}})
    image = np.flatnonzero(few.images == columns["image"][first])[0]
    assert first not in few.rows and np.argwhere(true).tolist() == [[image, np.flatnonzero(few.rows == other)[0]]]


def test_a_truth_file_about_other_pairs_is_refused(run: str, few: str) -> None:
    own = CorpusPairs(Scorer(*load_network(run), few)).pair(0).pair_id
    for truth in ({"nonsense": {"other"}}, {own: {"other"}}, {"nonsense": {own}}):
        with pytest.raises(ConfigError, match="truth: none of its 1 pairs, with their images, is in"):
            evaluate(run, few, rerank=0, truth=truth, negatives=False)
    report, _ = evaluate(run, few, rerank=0, truth={own: set()}, negatives=False)
    assert report["recall"] == report["recall_of_all_true"] and report["head"] is None


def test_constant_scores_tell_nothing_from_anything(run: str, few: str) -> None:
    import torch

    network, held = load_network(run)
    with torch.no_grad():
        for name in ("contrast.image", "contrast.text", "match.out"):
            module = network.get_submodule(name)
            module.weight.zero_()
            module.bias.fill_(1.0)
    pairs = CorpusPairs(Scorer(network, held, few))
    found, _ = negative_accuracy(pairs, "match")
    assert list(found) == ["negatives"] and all(kind["separate"] == kind["joint"] == 0 for kind in found["negatives"].values())
    assert all("joint" not in kind for kind in negative_accuracy(pairs, None)[0]["negatives"].values())
    assert recall_of(ranks_of(both_ways(pairs.gallery), pairs.gallery.own))["separate"]["text_to_image"]["R@5"] == 0


def test_another_tokenizer_or_width_is_refused(run: str, corpus: str, tmp_path: Path) -> None:
    wide = write_corpus(str(tmp_path / "wide"), Sizes(images=6, captions=1, alone=1, texts=1, partitions=1, features=9)).url
    with pytest.raises(ConfigError, match="are 9 wide, but .* expects 8"):
        evaluate(run, wide)
    network, held = load_network(run)
    facts = {**held.state["facts"], "vocabulary": {**held.state["facts"]["vocabulary"], "sha256": "f" * 64}}
    with pytest.raises(ConfigError, match=r"the tokenizer of .* is not the one that .* \(ffffffffffff\)"):
        Scorer(network, dataclasses.replace(held, state={**held.state, "facts": facts}), corpus)
    with pytest.raises(checkpoint.CheckpointError, match="is not a complete checkpoint"):
        evaluate(str(tmp_path), corpus)


def test_what_nothing_trained_is_warned_of(run: str, caplog: pytest.LogCaptureFixture) -> None:
    held = load_network(run)[1]
    joint, separate = {"encoding": "joint"}, {"encoding": "separate"}

    def given(task: str = "pretrain", itm: Any = None, cmcl: Any = None, score: str = "match", **data: int) -> checkpoint.Checkpoint:
        data = {"matched_images": 0, "matched_texts": 0, **data}
        settings = {"task": task, "objectives": {"itm": itm, "cmcl": cmcl}, "retrieval": {"score": score}, "data": data}
        return dataclasses.replace(held, state={"settings": settings})

    for one, heads, alone in (
        (given(itm={}), ["match"], False),
        (given(cmcl=joint), ["contrast"], False),
        (given(itm={}, cmcl=joint, matched_texts=1), ["match", "contrast"], True),
        (given(cmcl=separate), [], True),
        (given(task="retrieval", score="contrast"), ["contrast"], False),
        (given(task="retrieval", cmcl=separate), ["match"], False),
    ):
        assert trained_heads(one) == heads and trains_separate(one) is alone
        for given_head, rerank, chosen in ((None, 0, None), (None, None, (heads or ["contrast"])[0]), ("match", 32, "match")):
            caplog.clear()
            assert joint_head(one, given_head, rerank) == chosen
            said = [record.message.partition(": nothing trained ")[2][:8] for record in caplog.records]
            assert said == ([] if alone else ["separate"]) + (["the head"] if chosen and chosen not in heads else [])
