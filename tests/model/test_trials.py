"""Public test sets: what their files become, which images and captions are found, and what known scores of them come to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.training_corpus import Sizes, write_corpus
from model.scoring import Scorer, load_network
from model.trials import CorpusImages, cropped, measure, read_trials, right, stem
from pipelines.cli import main
from schemas.errors import SourceError
from schemas.regions import Regions


@pytest.fixture(scope="module")
def scorer(run: str, corpus: str) -> Scorer:
    return Scorer(*load_network(run), corpus)


class Known:
    """A scorer with given scores of image numbers and captions, and room for three words."""

    def __init__(self, separate: Callable[[int, str], float], joint: Callable[[int, str], float] | None = None):
        self.tokenizer, self._texts, self._separate, self._joint = self, [], separate, joint

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        self._texts += texts
        return [np.full(len(text.split()), len(self._texts) - len(texts) + at) for at, text in enumerate(texts)]

    def fits(self, lengths: np.ndarray) -> np.ndarray:
        return lengths <= 3

    def project_images(self, regions: Sequence[Regions]) -> torch.Tensor:
        return torch.tensor([int(stem(one.image_id)) for one in regions])

    def project_texts(self, tokens: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.tensor([int(one[0]) for one in tokens])

    def separate(self, images: torch.Tensor, texts: torch.Tensor) -> np.ndarray:
        return np.array([[self._separate(image, self._texts[text]) for text in texts.tolist()] for image in images.tolist()])

    def joint(self, regions: Sequence[Regions], tokens: Sequence[np.ndarray], pairs: np.ndarray, head: str) -> np.ndarray:
        assert self._joint and head == "match", "joint sequences are scored"
        images, texts = self.project_images(regions).tolist(), self.project_texts(tokens).tolist()
        return np.array([self._joint(images[image], self._texts[texts[text]]) for image, text in pairs.tolist()])


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., pa.Table]:
    def trials(name: str, content: Any, split: str = "test", file: str = "replace_att.json") -> pa.Table:
        path = tmp_path / file
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return read_trials(name, str(path), split)

    return trials


def sugarcrepe(*entries: tuple[Any, str, str]) -> dict[str, Any]:
    return {str(at): {"filename": name, "caption": true, "negative_caption": false} for at, (name, true, false) in enumerate(entries)}


def aro(name: Any, true: str = "w1", false: str = "w2", **others: Any) -> dict[str, Any]:
    return {
        "image_path": name,
        "bbox_x": 0,
        "bbox_y": 0,
        "bbox_w": 9999,
        "bbox_h": 9999,
        "true_caption": true,
        "false_caption": false,
        **others,
    }


def winoground(first: int, second: int, **others: Any) -> dict[str, Any]:
    return {"id": first, "image_0": f"{first}.png", "image_1": f"{second}.png", "caption_0": "a b", "caption_1": "b a", **others}


def karpathy(captions: dict[str, list[str]], split: str = "test") -> list[dict[str, Any]]:
    return [{"filename": name, "split": split, "sentences": [{"raw": one} for one in own]} for name, own in captions.items()]


def test_a_choice_is_right_when_the_first_caption_scores_highest(read: Callable[..., pa.Table], corpus: str) -> None:
    trials = read("sugarcrepe", sugarcrepe(*((f"{number}.jpg", "a  b ", "b a") for number in range(6, 10)), ("absent.jpg", "a", "b"),
                                           ("3.jpg", "a", "b"), ("10.jpg", "a", "b c d e")))  # fmt: skip
    assert trials["captions"].to_pylist()[0] == ["a b", "b a"] and set(trials["kind"].to_pylist()) == {"replace_att"}
    first = {"a b": 1, "b a": 0}
    known = Known(lambda image, text: first[text] if image == 7 else 0, lambda image, text: first[text] * (8 - image))
    report = measure(known, trials, corpus, "match")  # type: ignore[arg-type]
    assert report["sugarcrepe"] == {"replace_att": {"trials": 4, "separate": {"accuracy": 0.25}, "joint": {"accuracy": 0.5}}}
    assert report["skipped"] == {
        "the corpus has no such image": 1,
        "the corpus has several images of that name": 1,
        "a caption is too long": 1,
    }
    for head, rerank in (("match", 0), (None, 32)):
        report = measure(Known(lambda image, text: first[text]), trials, corpus, head, rerank)  # type: ignore[arg-type]
        assert report["sugarcrepe"]["replace_att"] == {"trials": 4, "separate": {"accuracy": 1.0}}


def test_winogrounds_scores_are_of_all_trials_and_by_tag(read: Callable[..., pa.Table], corpus: str) -> None:
    pairs = [(6, 7), (8, 9), (10, 11), (12, 13)]
    trials = read("winoground", [winoground(*pair, collapsed_tag="Object" if pair[0] < 12 else "Relation") for pair in pairs])
    table = {
        6: (2, 1), 7: (1, 2),  # both right
        8: (2, 1), 9: (4, 5),  # text
        10: (2, 1), 11: (4, 5),  # text
        12: (2, 4), 13: (1, 5),  # image
    }  # fmt: skip
    known = Known(lambda image, text: table[image][text == "b a"], lambda image, text: table[image][text == "b a"] * (image < 12))
    report = measure(known, trials, corpus, "match")["winoground"]["all"]  # type: ignore[arg-type]
    assert report["trials"] == 4 and report["separate"] == {"text": 0.75, "image": 0.5, "group": 0.25}
    assert report["joint"] == {"text": 0.75, "image": 0.25, "group": 0.25}
    assert report["groups"]["Object"]["trials"] == 3
    assert report["groups"]["Object"]["separate"] == pytest.approx({"text": 1, "image": 1 / 3, "group": 1 / 3})
    assert report["groups"]["Relation"]["separate"] == {"text": 0, "image": 1, "group": 0} and "macro" not in report["separate"]


def test_karpathys_captions_belong_to_their_images(read: Callable[..., pa.Table], corpus: str) -> None:
    own = {f"{number}.jpg": [f"w{number} a", f"w{number} b c d", f" w{number}  b "] for number in range(6, 18)}
    content = {"images": [*karpathy({"99.jpg": ["w"]}, "train"), *karpathy(own), *karpathy({"22.jpg": [], "21.jpg": ["a b c d"]})]}
    content["images"] += karpathy({"COCO_val2014_000006.jpg": ["w6 z"]})  # the first image again
    trials = read("karpathy", content)
    assert set(trials["kind"].to_pylist()) == {"replace_att test"} and trials["captions"][0].as_py()[2] == "w6 b"

    def score(image: int, text: str) -> float:
        return -abs(image - int(text.split()[0][1:])) + image / 100

    report = measure(Known(score, lambda image, text: -score(image, text)), trials, corpus, "match", 2)  # type: ignore[arg-type]
    assert report["skipped"] == {"only this caption of an image is too long": 12, "the image has no caption that fits": 2}
    found = report["karpathy"]["replace_att test"]
    assert found["trials"] == 12
    assert found["separate"] == {side: {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0} for side in ("text_to_image", "image_to_text")}
    assert found["reranked"]["text_to_image"] == {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0}
    assert found["reranked"]["image_to_text"]["R@1"] == 1.0  # both candidates are the image's own
    known = Known(score)
    assert "reranked" not in measure(known, trials, corpus, "match", 0)["karpathy"]["replace_att test"]  # type: ignore[arg-type]


def test_aros_mean_over_relations_and_pairs_of_attributes(read: Callable[..., pa.Table], corpus: str) -> None:
    def scores(entries: list[dict[str, Any]]) -> dict[str, Any]:
        known = Known(lambda image, text: {"good": 2, "bad": 1, "worse": 0}[text])
        return measure(known, read("aro", entries), corpus, None)["aro"]["replace_att"]  # type: ignore[arg-type]

    relations = [*[aro("7.jpg", "good", "bad", relation_name="on")] * 3, aro("7.jpg", "worse", "bad", relation_name="near")]
    found = scores(relations)
    assert found["separate"] == {"accuracy": 0.75, "macro": 0.5}
    assert {name: held["separate"]["accuracy"] for name, held in found["groups"].items()} == {"near": 0.0, "on": 1.0}
    pairs = [
        *[aro("7.jpg", "good", "bad", attributes=["red", "old"])] * 25,
        *[aro("7.jpg", "worse", "bad", attributes=["old", "red"])] * 24,
    ]
    found = scores(pairs)
    assert found["trials"] == 49 and found["separate"] == {"accuracy": pytest.approx(25 / 49), "macro": 1.0}
    assert list(found["groups"]) == ["red old"]
    assert scores([aro("7.jpg", "good", "bad")]) == {"trials": 1, "separate": {"accuracy": 1.0}}


def test_trials_scored_together_are_answered_as_each_alone(read: Callable[..., pa.Table], scorer: Scorer, corpus: str) -> None:
    rng = np.random.default_rng(0)
    words = [[" ".join(f"w{one}" for one in rng.integers(0, 900, rng.integers(2, 12))) for _ in "ab"] for _ in range(70)]
    box = {"bbox_x": 5, "bbox_y": 5, "bbox_w": 400, "bbox_h": 400}
    entries = [aro(f"{6 + number % 17}.jpg", *own, relation_name=str(number), **box) for number, own in enumerate(words)]
    groups = measure(scorer, read("aro", entries), corpus, "match")["aro"]["replace_att"]["groups"]
    images, answers = CorpusImages(corpus), []
    for number, own in enumerate(words):
        regions = images.find(f"{6 + number % 17}.jpg", [5.0, 5.0, 400.0, 400.0])
        if isinstance(regions, str):
            continue
        tokens, both = scorer.tokenizer.encode(own), np.array([[0, 0], [0, 1]])
        apart = scorer.separate(scorer.project_images([regions]), scorer.project_texts(tokens))[0]
        together = scorer.joint([regions], tokens, both, "match")
        for way, scores in (("separate", apart), ("joint", together)):
            if abs(scores[0] - scores[1]) > 1e-6:  # else rounding decides
                assert groups[str(number)][way] == {"accuracy": scores[0] > scores[1]}
                answers.append(scores[0] > scores[1])
    assert len(answers) > 64 and 0.2 < np.mean(answers) < 0.8


def test_files_are_read_with_a_byte_order_mark_and_as_lines(read: Callable[..., pa.Table]) -> None:
    assert read("sugarcrepe", b"\xef\xbb\xbf" + json.dumps(sugarcrepe(("7.jpg", "a", "b"))).encode()).num_rows == 1
    entry = winoground(6, 7)
    assert read("winoground", (json.dumps(entry) + "\r\n").encode())["trial_id"].to_pylist() == ["winoground/all/0"]
    lines = "\n".join(json.dumps({**entry, "caption_0": "a\u2028b"}, ensure_ascii=False) for _ in range(3)) + "\n\n"
    assert read("winoground", lines.encode())["captions"].to_pylist() == [["a b", "b a"]] * 3
    with pytest.raises(SourceError, match=r"replace_att.json: line 2 is not JSON"):
        read("winoground", (json.dumps(entry) + '\n{"id": ').encode())


SENTENCES = [{"raw": "a"}]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("sugarcrepe", {"x": {"filename": "x"}}, "entry x has no key 'caption'"),
        ("sugarcrepe", sugarcrepe(("1.jpg", "a", "b"), (7, "a", "b")), "entry 1 has another format .filename is no text: 7"),
        ("sugarcrepe", sugarcrepe(("1.jpg", None, "b")), "entry 0 has another format .caption is no text: None"),  # type: ignore[arg-type]
        ("sugarcrepe", sugarcrepe(("1.jpg", ["a"], "b")), "entry 0 .*caption is no text: .'a'."),  # type: ignore[arg-type]
        ("sugarcrepe", sugarcrepe(("1.jpg", "a", "b \ud800")), r"entry 0 .*negative_caption is no text: 'b \\ud800'"),
        ("sugarcrepe", [1], "has another format; sugarcrepe was expected"),
        ("aro", {"a": 1}, "entry 0 has no key 'image_path'"),
        ("aro", [3], "entry 0 has another format"),
        ("aro", [aro("1.jpg"), aro(8)], "entry 1 has another format .image_path is no text: 8"),
        ("aro", [aro("1.jpg", bbox_w=None)], "entry 0 has another format"),
        ("aro", [{"image_path": "1.jpg", "bbox_x": 1}], "entry 0 has no key 'bbox_y'"),
        ("aro", [aro("1.jpg", attributes=["red"])], "entry 0 has another format"),
        ("aro", [aro("1.jpg", attributes=["red", 4])], "entry 0 has another format"),
        ("winoground", b"[", "is not JSON"),
        ("karpathy", [], "has no entries"),
        ("karpathy", {"images": []}, "has no entries of the split 'test'"),
        ("karpathy", {}, "has another format; karpathy was expected"),
        ("karpathy", {"images": [{"filename": "a", "split": "train"}] * 3 + [{"filename": "b", "split": "test"}]}, "entry 3 has no key 'sent"),
        ("karpathy", {"images": [{"filename": "a", "split": "test", "sentences": [{"raw": 1}]}]}, "entry 0 .*raw is no text: 1"),
    ],
)  # fmt: skip
def test_files_of_another_form_are_named(name: str, content: Any, words: str, read: Callable[..., pa.Table]) -> None:
    with pytest.raises(SourceError, match=words):
        read(name, content)


def test_scores_answer_a_trial_as_winoground_says() -> None:
    assert right(np.array([[2, 1], [1, 2]]), "group") == {"text": True, "image": True, "group": True}
    assert right(np.array([[2, 1], [4, 5]]), "group") == {"text": True, "image": False, "group": False}
    assert right(np.array([[2, 4], [1, 5]]), "group") == {"text": False, "image": True, "group": False}
    assert right(np.array([[1, 1], [1, 1]]), "group") == {"text": False, "image": False, "group": False}
    assert right(np.array([[1, 1]]), "choice") == {"accuracy": False} and right(np.array([[1, 0, 0.5]]), "choice") == {"accuracy": True}


def test_images_are_found_by_what_is_left_of_their_names(corpus: str) -> None:
    assert stem("COCO/000000000139.jpg") == stem("coco/139") == stem("COCO_val2014_000000000139.jpg") == "139" and stem("0.jpg") == "0"
    images = CorpusImages(corpus)
    found = images.find("00007.jpg", None)
    assert not isinstance(found, str) and found.image_id == "pair/7"
    assert images.find("3.jpg", None) == "the corpus has several images of that name"  # pair/3 and alone/3
    for name in ("alone/3", "alone/3.jpg", "pair/3.jpg"):
        found = images.find(name, None)
        assert not isinstance(found, str) and found.image_id == name.removesuffix(".jpg")


def test_a_crop_keeps_what_is_centred_in_it(corpus: str) -> None:
    images = CorpusImages(corpus)
    regions = next(one for name in range(6, 24) if not isinstance(one := images.find(str(name), None), str))
    box = [10.0, 20.0, 50.0, 40.0]
    part = cropped(regions, box)
    centres = (regions.boxes[:, :2] + regions.boxes[:, 2:]) / 2
    inside = (centres[:, 0] >= 10) & (centres[:, 0] < 60) & (centres[:, 1] >= 20) & (centres[:, 1] < 60)
    assert len(part.boxes) == inside.sum() and np.array_equal(part.features, regions.features[inside])
    assert (part.boxes >= 0).all() and (part.boxes <= [50, 40, 50, 40]).all() and (part.width, part.height) == (50, 40)
    assert images.find(regions.image_id, [9000.0, 0.0, 10.0, 10.0]) == "the image has no regions"


def test_the_command_measures_public_sets_alone(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_corpus(str(tmp_path / "photos"), Sizes(images=0, alone=12, texts=3, partitions=1)).url
    files = {"examples.jsonl": winoground(1, 2), "a/dataset_coco.json": {"images": karpathy({"1.jpg": ["w1"], "2.jpg": ["w2", "w3"]})},
             "b/dataset_coco.json": {"images": karpathy({"3.jpg": ["w1"], "4.jpg": ["w2"]}, "val")},
             "swap.json": sugarcrepe(("77.jpg", "a", "b"))}  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    wino, first, second, swap = (f"--trials={kind}={tmp_path / name}" for kind, name in zip(
        ("winoground", "karpathy", "karpathy", "sugarcrepe"), files, strict=True))  # fmt: skip
    assert main(["evaluate", run, photos, wino, first, swap, "--output", str(tmp_path / "report.json")]) == 0
    said, report = capsys.readouterr().out, json.loads((tmp_path / "report.json").read_text())
    assert report.keys() == {"checkpoint", "step", "corpus", "head", "trials"} and report["head"] == "match"
    assert report["trials"]["karpathy"].keys() == {"dataset_coco test"} and report["trials"]["sugarcrepe"] == {"swap": {"trials": 0}}
    for line in ("winoground all joint: {", "karpathy dataset_coco test reranked: {", "sugarcrepe swap nothing: left of 0",
                 "  left out: the corpus has no such image: 1"):  # fmt: skip
        assert f"\n{line}" in said
    for options, words in (
        ([first, first], "another file has the set karpathy and the kind 'dataset_coco test' as well"),
        ([first, "--hidden"], "--hidden: does not apply to --trials"),
        ([first, "--no-negatives"], "--no-negatives: does not apply to --trials"),
        ([first, "--truth", "x"], "--truth: does not apply to --trials"),
        ([first, second], "has no entries of the split 'test'"),
    ):
        assert main(["evaluate", run, photos, *options]) == 1
        assert words in capsys.readouterr().err
    assert main(["evaluate", run, photos, second, "--split", "val", "--rerank", "0"]) == 0
    assert "reranked" not in capsys.readouterr().out
