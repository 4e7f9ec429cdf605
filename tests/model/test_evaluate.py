"""Evaluation of a checkpoint on a corpus: what is counted, and that scores are those of the network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.training_corpus import Sizes, write_corpus
from model import checkpoint
from model.evaluate import CorpusPairs, both_ways, evaluate, negative_accuracy, retrieve
from model.metrics import ranks
from model.scoring import Scorer, load_network, trained_head
from model.trials import CorpusImages, cropped, measure, read_trials, right, stem
from schemas.errors import ConfigError, SourceError


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
    found = retrieve(both_ways(gallery, gallery.separate_scores(), "contrast", joint.size), gallery.own)
    assert np.array_equal(found.image_to_text, ranks(joint, gallery.own)) and np.array_equal(
        found.text_to_image, ranks(joint.T, gallery.own.T)
    )


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
    assert retrieve(both_ways(pairs.gallery, pairs.gallery.separate_scores()), pairs.gallery.own).recall()["text_to_image"]["R@5"] == 0


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


def test_the_head_is_the_one_that_was_trained(run: str) -> None:
    _, held = load_network(run)

    def head(**settings: Any) -> str:
        return trained_head(dataclasses.replace(held, state={"settings": {**held.state["settings"], **settings}}))

    assert head() == "match" and head(objectives={"itm": None}) == "contrast"
    assert head(task="retrieval", retrieval={"score": "contrast"}) == "contrast"


FILES = {
    "sugarcrepe": {"0": {"filename": "0000007.jpg", "caption": "w1 w2", "negative_caption": "w2 w1"},
                   "1": {"filename": "absent.jpg", "caption": "w1", "negative_caption": "w2"},
                   "2": {"filename": "3.jpg", "caption": "w1", "negative_caption": "w2"}},
    "aro": [{"image_path": "8.jpg", "bbox_x": 0, "bbox_y": 0, "bbox_w": 100, "bbox_h": 100, "true_caption": "w1 w5", "false_caption": "w5 w1"},
            {"image_path": "8.jpg", "bbox_x": 9000, "bbox_y": 0, "bbox_w": 10, "bbox_h": 10, "true_caption": "w1", "false_caption": "w5"}],
    "winoground": [{"id": 7, "image_0": "9.png", "image_1": "10.png", "caption_0": "w3 w4", "caption_1": "w4 w3", "collapsed_tag": "Object"}],
    "karpathy": {"images": [{"filename": f"00000{number}.jpg", "split": "test" if number < 18 else "train",
                             "sentences": [{"raw": f"w{number} w9"}, {"raw": f" w{number} w8 "}]} for number in range(6, 22)]},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_public_sets_become_trials_and_are_measured(name: str, scorer: Scorer, corpus: str, tmp_path: Path) -> None:
    path = tmp_path / "replace_att.json"
    path.write_text(json.dumps(FILES[name]))
    trials = read_trials(name, str(path))
    report = measure(scorer, trials, corpus, "match", rerank=3)
    if name == "sugarcrepe":
        assert trials["captions"].to_pylist()[0] == ["w1 w2", "w2 w1"] and trials["kind"].to_pylist() == ["replace_att"] * 3
        assert report["skipped"] == {"the corpus has several images of that name": 1, "the corpus has no such image": 1}
        assert report["sugarcrepe"]["replace_att"]["trials"] == 1 and report["sugarcrepe"]["replace_att"]["joint"]["accuracy"] in (0, 1)
    elif name == "aro":
        assert trials["box"].to_pylist()[0] == [0, 0, 100, 100] and report["skipped"] == {"the image has no regions": 1}
        assert report["aro"]["replace_att"]["trials"] == 1 and report["aro"]["replace_att"]["joint"]["accuracy"] in (0, 1)
    elif name == "winoground":
        assert set(report["winoground"]["Object"]["joint"]) == {"text", "image", "group"}
    else:
        assert trials.num_rows == 12 and trials["captions"].to_pylist()[0] == ["w6 w9", "w6 w8"]
        assert set(report["karpathy"]["test"]) == {"trials", "separate", "reranked"} and not report["skipped"]


def test_winoground_is_read_from_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(json.dumps({**FILES["winoground"][0], "id": number}) for number in range(3)))  # type: ignore[index]
    assert read_trials("winoground", str(path))["trial_id"].to_pylist() == [f"winoground/Object/{number}" for number in range(3)]


def test_scores_answer_a_trial_as_winoground_says() -> None:
    assert right(np.array([[2, 1], [1, 2]]), "group") == {"text": True, "image": True, "group": True}
    assert right(np.array([[2, 1], [4, 5]]), "group") == {"text": True, "image": False, "group": False}
    assert right(np.array([[2, 4], [1, 5]]), "group") == {"text": False, "image": True, "group": False}
    assert right(np.array([[1, 1], [1, 1]]), "group") == {"text": False, "image": False, "group": False}
    assert right(np.array([[1, 1]]), "choice") == {"accuracy": False} and right(np.array([[1, 0, 0.5]]), "choice") == {"accuracy": True}


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("sugarcrepe", '{"0": {"filename": "x"}}', "entry 0 has no key 'caption'"),
        ("aro", '{"a": 1}', "entry 0 has another format"),
        ("winoground", "[", "is not JSON"),
        ("karpathy", '{"images": []}', "has no entries of the split 'test'"),
    ],
)
def test_files_of_another_form_are_named(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(SourceError, match=words):
        read_trials(name, str(tmp_path / "x.json"))


def test_images_are_found_by_what_is_left_of_their_names(corpus: str) -> None:
    assert stem("COCO/000000000139.jpg") == stem("coco/139") == stem("COCO_val2014_000000000139.jpg") == "139" and stem("0.jpg") == "0"
    images = CorpusImages(corpus)
    found = images.find("00007.jpg", None)
    assert not isinstance(found, str) and found.image_id == "pair/7"
    assert images.find("3.jpg", None) == "the corpus has several images of that name"  # pair/3 and alone/3


def test_a_crop_keeps_what_is_centred_in_it(corpus: str) -> None:
    images = CorpusImages(corpus)
    regions = next(one for name in range(6, 24) if not isinstance(one := images.find(str(name), None), str))
    box = [10.0, 20.0, 50.0, 40.0]
    part = cropped(regions, box)
    centres = (regions.boxes[:, :2] + regions.boxes[:, 2:]) / 2
    inside = (centres[:, 0] >= 10) & (centres[:, 0] < 60) & (centres[:, 1] >= 20) & (centres[:, 1] < 60)
    assert len(part.boxes) == inside.sum() and np.array_equal(part.features, regions.features[inside])
    assert (part.boxes >= 0).all() and (part.boxes <= [50, 40, 50, 40]).all() and (part.width, part.height) == (50, 40)
