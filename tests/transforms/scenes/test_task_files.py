"""Scenes as downstream tasks: answers are true, every text has its answers equally often, and the text alone does not tell."""

from __future__ import annotations

import json
import pickle
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from transforms.scenes import CaptionGraph, Mention, Scene, judge, parse, sample_scene
from transforms.scenes.questions import Asked, balanced, referring
from transforms.scenes.rng import Rng
from transforms.scenes.task_files import task_files
from transforms.scenes.truth import TRUE, UNCLEAR, relation_grade
from transforms.scenes.world import NOUNS, NUMBERS

SEED, SCENES, UNSEEN = 11, 200, 60


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return task_files(SEED, 0, SCENES, UNSEEN)


def _vqa(files: dict[str, bytes], split: str) -> list[tuple[str, str, int, str]]:
    """Text, answer, scene and kind."""
    asked = json.loads(files[f"tasks/vqa/v2_OpenEnded_mscoco_{split}_questions.json"])["questions"]
    told = json.loads(files[f"tasks/vqa/v2_mscoco_{split}_annotations.json"])["annotations"]
    assert [(one["question_id"], one["image_id"]) for one in asked] == [(one["question_id"], one["image_id"]) for one in told]
    assert len({one["question_id"] for one in asked}) == len(asked)
    return [
        (one["question"], other["multiple_choice_answer"], one["image_id"], other["question_type"])
        for one, other in zip(asked, told, strict=True)
    ]


def _rows(files: dict[str, bytes], task: str, seen: bool) -> list[tuple[str, str, Any, str]]:
    if task == "vqa":
        return _vqa(files, "train2014" if seen else "val2014")
    if task == "snli_ve":
        name = f"tasks/snli_ve/snli_ve_{'train' if seen else 'dev'}.jsonl"
        return [(one["sentence2"], one["gold_label"], int(one["Flickr30K_ID"]), "") for one in map(json.loads, files[name].splitlines())]
    shown = json.loads(files["tasks/nlvr2/images.json"])
    found = map(json.loads, files[f"tasks/nlvr2/{'train' if seen else 'dev'}.json"].splitlines())
    bases = ((one, one["identifier"].rpartition("-")[0]) for one in found)
    return [(one["sentence"], one["label"], (int(shown[f"{base}-img0"]), int(shown[f"{base}-img1"])), "") for one, base in bases]


@pytest.mark.parametrize("task", ["vqa", "snli_ve", "nlvr2"])
def test_the_text_alone_does_not_tell(files: dict[str, bytes], task: str) -> None:
    train, unseen = (_rows(files, task, seen) for seen in (True, False))
    for rows in (train, unseen):
        answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for text, answer, _, _ in rows:
            answers[text][answer] += 1
        assert all(len(own) > 1 and len(set(own.values())) == 1 for own in answers.values())
    chance = np.mean([1 / len(answers[text]) for text, *_ in unseen])
    blind = make_pipeline(CountVectorizer(ngram_range=(1, 3)), LogisticRegression(max_iter=200))
    blind.fit([text for text, *_ in train], [answer for _, answer, *_ in train])
    right = np.mean(blind.predict([text for text, *_ in unseen]) == np.array([answer for _, answer, *_ in unseen]))
    assert len(train) > 120 and len(unseen) > 50 and right <= chance + 1e-9
    assert max(scene if isinstance(scene, int) else max(scene) for *_, scene, _ in train) < SCENES - UNSEEN
    assert min(scene if isinstance(scene, int) else min(scene) for *_, scene, _ in unseen) >= SCENES - UNSEEN


def test_answers_to_questions_are_true(files: dict[str, bytes]) -> None:
    plurals = {plural: noun for noun, plural in NOUNS.items()}
    kinds: Counter[str] = Counter()
    for text, answer, index, kind in _vqa(files, "val2014"):
        scene = sample_scene(SEED, index)
        kinds[kind] += 1
        if kind == "existence":
            assert judge(parse(text.removeprefix("Is there ").removesuffix("?")), scene) == ("true" if answer == "yes" else "false")
        elif kind == "number":
            noun = plurals[text.removeprefix("How many ").removesuffix(" are there?")]
            assert judge(CaptionGraph((Mention(noun, (), int(answer)),)), scene) == "true"
        elif kind == "colour":
            (item,) = (one for one in scene.objects if one.kind == text.removesuffix("?").removesuffix("'s shirt").split()[-1])
            assert item.colour == answer
        else:
            graph = parse(text.removeprefix("Is ").removesuffix("?"))
            ((_, predicate, _),) = graph.relations
            ends = [next(one.index for one in scene.objects if one.kind == mention.noun) for mention in graph.objects]
            grade = relation_grade(scene, ends[0], predicate, ends[1])
            assert grade != UNCLEAR and (grade == TRUE) == (answer == "yes")
    assert set(kinds) == {"existence", "number", "colour", "position"} and min(kinds.values()) > 10


def test_hypotheses_and_statements_are_what_their_labels_say(files: dict[str, bytes]) -> None:
    verdicts = {"true": "entailment", "unclear": "neutral", "false": "contradiction"}
    for text, label, index, _ in _rows(files, "snli_ve", False):
        assert verdicts[judge(parse(text), sample_scene(SEED, index))] == label
    for text, label, indexes, _ in _rows(files, "nlvr2", False):
        left, right = (sample_scene(SEED, index) for index in indexes)
        if text.startswith(("Both images show a", "Exactly one")):
            graph = parse(text.partition(" show")[2].removeprefix("s ").strip())
            shown = [judge(graph, scene) for scene in (left, right)]
            assert set(shown) <= {"true", "false"}
            assert (shown.count("true") == (2 if text.startswith("Both") else 1)) == (label == "True")
        else:
            noun = next(noun for noun, plural in NOUNS.items() if f" {plural}" in text)
            first, second = (_count(sample_scene(SEED, index), noun) for index in indexes)
            if text.startswith("There are exactly"):
                assert (first + second == NUMBERS.index(text.split()[3])) == (label == "True")
            else:
                assert (first > second if text.startswith("The left") else first == second) == (label == "True")


def _count(scene: Scene, noun: str) -> int:
    return next(number for number in range(9) if judge(CaptionGraph((Mention(noun, (), number),)), scene) == "true")


def test_referring_expressions_describe_one_object(files: dict[str, bytes]) -> None:
    refs = pickle.loads(files["tasks/refcoco/refs(unc).p"])  # noqa: S301 - made above
    boxes = {one["id"]: one for one in json.loads(files["tasks/refcoco/instances.json"])["annotations"]}
    mdetr = json.loads(files["tasks/refexp/finetune_refcoco_val.json"])
    own = [ref for ref in refs if ref["split"] == "val"]
    assert len(own) == len(mdetr["images"]) > 80 and len({ref["ref_id"] for ref in refs}) == len(refs)
    for ref, image, found in zip(own, mdetr["images"], mdetr["annotations"], strict=True):
        scene = sample_scene(SEED, ref["image_id"])
        assert image["caption"] == ref["sentences"][0]["sent"] and found["bbox"] == boxes[ref["ann_id"]]["bbox"]
        (item,) = (one for one in scene.objects if [*one.box[:2], one.box[2] - one.box[0], one.box[3] - one.box[1]] == found["bbox"])
        assert referring(scene, item) == image["caption"]
        graph = parse("one " + image["caption"])
        assert judge(graph, scene) == "true"


def test_choices_are_true_of_the_scene_and_right_once_a_group(files: dict[str, bytes]) -> None:
    found = {split: [json.loads(line) for line in files[f"tasks/vcr/{split}.jsonl"].splitlines()] for split in ("train", "val")}
    assert len(found["train"]) > 100 and len(found["val"]) >= 20
    for split, rows in found.items():
        texts: Counter[tuple[str, frozenset[str], str]] = Counter()
        sides: Counter[str] = Counter()
        for row in rows:
            scene = sample_scene(SEED, int(row["img_fn"].removeprefix("scenes/").removesuffix(".jpg")))
            assert (scene.index < SCENES - UNSEEN) == (split == "train")
            kinds, metadata = row["objects"], json.loads(files[f"tasks/vcr/vcr1images/{row['metadata_fn']}"])
            assert kinds == [item.kind for item in scene.objects] == metadata["names"]
            assert metadata["boxes"] == [[*item.box, 1.0] for item in scene.objects] and metadata["width"] == scene.width
            nouns = [choice[1] for choice in row["answer_choices"]]
            shown = [place for place, noun in enumerate(nouns) if judge(parse(f"a {noun}"), scene) == "true"]
            assert shown == [row["answer_label"]] and len(set(nouns)) == 4
            for place, (found_at, first, _, one, _, second, _, other) in enumerate(row["rationale_choices"]):
                assert kinds[found_at[0]] == nouns[row["answer_label"]]
                grades = [relation_grade(scene, found_at[0], f"{side} of", to[0]) for side, to in ((first, one), (second, other))]
                assert (grades == [TRUE, TRUE]) == (place == row["rationale_label"]) and UNCLEAR not in grades
                sides[f"{first} {second}"] += place == row["rationale_label"]
            texts[kinds[row["question"][3][0]], frozenset(nouns), nouns[row["answer_label"]]] += 1
        for kind, nouns, _ in texts:  # the text and its answers are the same with each answer right
            assert len({texts[kind, nouns, noun] for noun in nouns}) == 1
        assert len(sides) == 4 and len(set(sides.values())) == 1


def test_files_depend_on_the_scenes_alone(files: dict[str, bytes]) -> None:
    again = task_files(SEED, 0, 30, 10)
    assert again == task_files(SEED, 0, 30, 10)
    assert {name for name in files if "vcr1images" not in name} == {name for name in again if "vcr1images" not in name}
    captions = json.loads(again["tasks/coco_captions/captions_val2014.json"])
    assert [one["id"] for one in captions["images"]] == list(range(20, 30)) and len(captions["annotations"]) == 50


def test_balancing_keeps_as_many_of_each_answer() -> None:
    found = [Asked("", "a", answer, (number,)) for answer, count in (("x", 9), ("y", 5), ("z", 1)) for number in range(count)]
    chosen = balanced([*found, Asked("", "b", "x", (0,))], Rng(0, "", ""), 4, 100)
    assert Counter((one.text, one.answer) for one in chosen) == {("a", "x"): 4, ("a", "y"): 4}
    assert Counter(one.answer for one in balanced(found, Rng(0, "", ""), 4, 100, answers=3)) == {"x": 1, "y": 1, "z": 1}
    assert not balanced(found, Rng(0, "", ""), 4, 100, answers=4) and not balanced(found, Rng(0, "", ""), 4, 0)


def test_frequent_texts_come_first_and_training_has_more_of_them(files: dict[str, bytes]) -> None:
    found = [Asked("", text, answer, (at,)) for text, count in (("a", 2), ("b", 5), ("c", 3)) for answer in "xy" for at in range(count)]
    assert Counter(one.text for one in balanced(found, Rng(0, "", ""), 4, 9)) == {"b": 8, "c": 6}
    texts = [Counter(text for text, _, _, kind in _vqa(files, split) if kind == "existence") for split in ("train2014", "val2014")]
    assert texts[0].total() > 3 * (SCENES - UNSEEN) > texts[1].total() and sum(texts[1][text] for text in texts[0]) > texts[1].total() / 2
