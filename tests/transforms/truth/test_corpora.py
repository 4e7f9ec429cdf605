"""Captions and ratings as people's CSV files have them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from transforms.truth.corpora import Sample, captions_in, rated, rated_pairs, ratings_in, same_images
from transforms.truth.evidence import MISSING
from transforms.truth.fit import deciles, fit
from transforms.truth.judge import COSINE, SETS
from transforms.truth.trees import FEW_WORDS, MILLION, as_trees

RATINGS = 'image,text,rating\n1.jpg,A dog runs.,1\n1.jpg,A  dog runs.,2.5\n2.jpg,"Two, or three, cats",4\n'


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("image,text,rating", "Image, Text ,RATING"),
        lambda text: text.replace("\n2", "\n\n,,\n2").rstrip("\n"),
        lambda text: text.replace(",1\n", ",1.0\n"),
        lambda text: text.replace(",1\n", ",1,worker 7\n"),
        lambda text: text.replace("rating\n", "rating,note\n"),
        lambda text: text + "2.jpg,,3\n",
    ],
)
def test_ratings_are_read_however_the_file_is_written(tmp_path, change):
    path = tmp_path / "ratings.csv"
    path.write_bytes(change(RATINGS).encode())
    assert ratings_in(path) == {("1.jpg", "A dog runs."): 1.75, ("2.jpg", "Two, or three, cats"): 4.0}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "no column image, text, rating, only none"),
        (b"image;text;rating\n1;a;2\n", "no column image, text, rating"),
        (b"image,text\n1,a\n", "no column rating, only image, text"),
        (b"image,text,rating\n1,a,good\n", "line 2: rating 'good' is not a number from 1 to 4"),
        (b"image,text,rating\n1,a,2\n1,b,nan\n", "line 3: rating 'nan'"),
        (b"image,text,rating\n1,a,5\n", "line 2: rating '5'"),
        (b"image,text,rating\n1,a\n", "line 2: 2 values instead of 3"),
        ("image,text,rating\n1,caf\u00e9,2\n".encode("latin-1"), "cannot be read as CSV in UTF-8"),
    ],
)
def test_ratings_that_cannot_be_read_are_named(tmp_path, content, named):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="ratings.csv") as error:
        ratings_in(path)
    assert named in str(error.value)


def test_captions_are_read_from_csv_and_json_alike(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffimage,caption\r\n7,A  dog.\r\n7, \r\n7,A cat.\r\n".encode())
    notes = [{"image_id": 7, "caption": "A dog."}, {"image_id": 7, "caption": "A  cat.\n"}]
    (tmp_path / "b.json").write_text(json.dumps({"annotations": notes}), encoding="utf-8")
    assert captions_in(tmp_path / "a.csv") == captions_in(tmp_path / "b.json") == {"7": ["A dog.", "A cat."]}


def test_ratings_without_captions_are_named(tmp_path):
    (tmp_path / "r.csv").write_text(RATINGS, encoding="utf-8")
    (tmp_path / "c.csv").write_text("image,caption\n9.jpg,A dog.\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no image of .*r.csv has a caption in .*c.csv.*'1.jpg'.*'9.jpg'"):
        rated_pairs(tmp_path / "r.csv", tmp_path / "c.csv")


def test_rated_images_that_have_no_caption_are_logged(tmp_path, caplog):
    (tmp_path / "r.csv").write_text(RATINGS, encoding="utf-8")
    (tmp_path / "c.csv").write_text("image,caption\n1.jpg,A dog.\n", encoding="utf-8")
    assert len(rated_pairs(tmp_path / "r.csv", tmp_path / "c.csv")[3]) == 1
    assert "1 of 2 rated images have no caption, left out: 2.jpg" in caplog.text


@pytest.mark.parametrize(
    ("name", "captioned", "meant"),
    [
        ("a.jpg", ["a.jpg", "A.png"], "a.jpg"),
        ("a", ["a.jpg", "b.jpg"], "a.jpg"),
        ("images/a.JPG", ["a.jpg"], "a.jpg"),
        ("c:\\photos\\a.jpeg", ["a.jpg"], "a.jpg"),
        ("000000000139.jpg", ["139", "1390"], "139"),
        ("a.v2", ["a.v1"], None),
        ("a", ["x/a.jpg", "y/a.jpg"], None),
    ],
)
def test_an_image_is_found_under_the_names_that_people_give_it(name, captioned, meant):
    assert same_images([name], captioned) == ({name: meant} if meant else {})


def test_numbers_of_captions_are_no_part_of_an_image(tmp_path):
    (tmp_path / "r.csv").write_text("image,text,rating\n1.jpg#0,A cat.,1\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text("image,caption\n1.jpg#0,A dog.\n1.jpg#1,A small dog.\n", encoding="utf-8")
    held, *_ = rated_pairs(tmp_path / "r.csv", tmp_path / "c.csv")
    assert held.texts == ["A dog.", "A small dog.", "A cat."]


@pytest.mark.parametrize("content", ["[1, 2", "[]", '{"annotations": [{"image_id": 1}]}', '{"annotations": 3}'])
def test_json_that_is_not_of_captions_is_named(tmp_path, content):
    (tmp_path / "c.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="c.json is not COCO's JSON of captions"):
        captions_in(tmp_path / "c.json")


def test_boxes_of_rated_images_are_evidence(tmp_path):
    (tmp_path / "r.csv").write_text("image,text,rating\n7,A dog by a cat.,1\n8,A dog.,4\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text("image,caption\n7,A dog.\n8,A small dog.\n", encoding="utf-8")
    boxes = {"categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}], "images": [{"id": 7}, {"id": 9}]}
    boxes["annotations"] = [{"image_id": 7, "category_id": 1}, {"image_id": 9, "category_id": 2}]
    (tmp_path / "b.json").write_text(json.dumps(boxes), encoding="utf-8")
    found = rated(tmp_path / "r.csv", tmp_path / "c.csv", tmp_path / "b.json")
    assert found.evidence["labels_missing"].tolist() == [1, MISSING]  # the second image has no boxes
    assert found.truth.tolist() == [0, 1]
    boxes["images"], boxes["annotations"] = [{"id": 9}], [{"image_id": 9, "category_id": 2}]
    (tmp_path / "b.json").write_text(json.dumps(boxes), encoding="utf-8")
    assert "labels_missing" not in rated(tmp_path / "r.csv", tmp_path / "c.csv", tmp_path / "b.json").evidence


def test_tenths_never_divide_equal_probabilities_and_hold_every_pair():
    chance = [0.1] * 55 + [0.2] * 3 + [0.3] * 7 + [0.5] * 20 + [0.9] * 15
    truth = np.arange(100) % 2
    found = deciles(np.array(chance), truth.astype(float), np.ones(100))
    assert [round(share, 6) for share, _, _ in found] == [0.55, 0.1, 0.2, 0.15]
    assert found[1][1] == pytest.approx((3 * 0.2 + 7 * 0.3) / 10)
    assert sum(share * observed for share, _, observed in found) == pytest.approx(truth.mean())


def test_ratings_correct_estimates_that_are_too_low_and_contradictory_ones_are_refused():
    rng = np.random.default_rng(3)

    def sample(count: int, of) -> Sample:
        cosine = rng.integers(0, 1000, count)
        return Sample({"cosine": cosine.astype(np.int32)}, of(cosine / 1000), np.ones(count), np.arange(count))

    estimated = sample(20_000, lambda cosine: 0.1 * cosine**2)
    rated = sample(2_000, lambda cosine: (rng.random(len(cosine)) < 0.5 * cosine**2).astype(float))
    chances = {}
    for name, given in (("estimated", []), ("rated", [rated])):
        weights, _ = fit([estimated], COSINE, 0, rated=given)
        trees = as_trees(COSINE, weights)
        chances[name] = trees.score({"cosine": np.arange(1000, dtype=np.int32)}) / MILLION
        assert (np.diff(trees.chances) >= 0).all()
    true = 0.5 * (np.arange(1000) / 1000) ** 2
    assert chances["estimated"].mean() == pytest.approx(true.mean() / 5, rel=0.15)
    assert chances["rated"].mean() == pytest.approx(true.mean(), rel=0.15)
    assert np.corrcoef(chances["rated"], true)[0, 1] > 0.85
    odd = np.arange(len(rated.truth)) * 2 + 1  # these images do not fit the trees
    against = Sample(rated.evidence, 1 - np.round(rated.evidence["cosine"] / 1000), rated.weight, odd)
    with pytest.raises(SystemExit, match="not rated higher"):
        fit([estimated], COSINE, 0, rated=[against])


def test_further_scenes_calibrate_corpora_of_few_words_alone():
    rng = np.random.default_rng(4)

    def sample(count: int, share: float, words: int) -> Sample:
        evidence = {name: np.full(count, MISSING, np.int32) for name in SETS["graphs"]}
        evidence["cosine"] = rng.integers(0, 1000, count).astype(np.int32)
        evidence["words"] = np.full(count, words, np.int32)
        truth = (rng.random(count) < share * evidence["cosine"] / 1000).astype(float)
        return Sample(evidence, truth, np.ones(count), np.arange(count))

    given = [sample(4_000, 0.4, FEW_WORDS), sample(4_000, 0.4, FEW_WORDS + 1)]
    further = [sample(20_000, 0.1, FEW_WORDS)]
    plain, _ = fit(given, SETS["graphs"], 0)
    more, _ = fit(given, SETS["graphs"], 0, further=further)
    assert {name: plain[name] for name in plain if name != "few"} == {name: more[name] for name in more if name != "few"}
    trees = as_trees(SETS["graphs"], more)
    assert trees.score(further[0].evidence).mean() / MILLION == pytest.approx(0.05 * 10 / 11 + 0.2 / 11, rel=0.1)
    assert trees.score(given[1].evidence).mean() / MILLION == pytest.approx(0.2, rel=0.1)
