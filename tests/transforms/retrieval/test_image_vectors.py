"""The formula of image vectors."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.regions import Regions
from schemas.rejects import Reason
from transforms.retrieval.image_vectors import ImageSpace, NoVector

RNG = np.random.default_rng(0)


def image(count: int = 5, **instead: np.ndarray | None) -> Regions:
    arrays = {
        "boxes": np.zeros((count, 4), np.float32),
        "features": RNG.random((count, 8)).astype(np.float16),
        "confidence": RNG.random(count).astype(np.float32),
        "soft_labels": RNG.random((count, 6)).astype(np.float16),
        "classes": None,
        "attributes": None,
    }
    return Regions(10, 10, image_id="i", **{**arrays, **instead})


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_the_inner_product_is_the_weighted_mean_of_two_cosines(weight):
    one, other = image(), image(3)

    def cosine(first, second):
        return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))

    visual = cosine(*(np.average(each.features.astype(float), axis=0, weights=each.confidence) for each in (one, other)))
    objects = cosine(*(np.sqrt(each.confidence.astype(float) ** 2 @ each.soft_labels[:, 1:].astype(float)) for each in (one, other)))
    space = ImageSpace(weight)
    first, second = space.vector(one), space.vector(other)
    assert first.dtype == np.float16 and len(first) == 8 * (weight < 1) + 5 * (weight > 0)
    assert np.linalg.norm(first.astype(float)) == pytest.approx(1, abs=1e-3)
    assert float(first.astype(float) @ second.astype(float)) == pytest.approx((1 - weight) * visual + weight * objects, abs=2e-3)


def test_the_background_counts_for_nothing():
    one = image()
    soft = one.soft_labels.copy()
    soft[:, 0] = 100
    assert np.array_equal(ImageSpace(1.0).vector(one), ImageSpace(1.0).vector(image(soft_labels=soft, confidence=one.confidence)))


def test_a_region_of_no_confidence_counts_for_nothing_and_without_confidence_all_count_alike():
    features = np.array([[1, 0], [0, 1]], np.float16)
    sure = np.array([1, 0], np.float32)
    assert ImageSpace(0.0).vector(image(2, features=features, confidence=sure)).tolist() == [1, 0]
    assert ImageSpace(0.0).vector(image(2, features=features, confidence=None)) == pytest.approx([0.5**0.5] * 2, abs=1e-3)
    soft = np.array([[0, 1, 0], [0, 0, 1]], np.float16)
    assert ImageSpace(1.0).vector(image(2, soft_labels=soft, confidence=sure)).tolist() == [1, 0]
    assert ImageSpace(1.0).vector(image(2, soft_labels=soft, confidence=None)) == pytest.approx([0.5**0.5] * 2, abs=1e-3)


def test_components_reduce_the_features_alone():
    vector = ImageSpace(0.5, np.eye(8)[:3]).vector(image())
    assert len(vector) == 3 + 5 and np.linalg.norm(vector.astype(float)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("instead", "reason", "text"),
    [
        ({"features": np.full((5, 8), np.nan, np.float16)}, Reason.BAD_VECTOR, "mean feature is not finite"),
        ({"features": np.full((5, 8), np.inf, np.float16)}, Reason.BAD_VECTOR, "mean feature is not finite"),
        ({"features": np.zeros((5, 8), np.float16)}, Reason.BAD_VECTOR, "mean feature is zero"),
        ({"confidence": np.zeros(5, np.float32)}, Reason.BAD_VECTOR, "mean feature is zero"),
        ({"confidence": np.full(5, np.nan, np.float32)}, Reason.BAD_VECTOR, "mean feature is not finite"),
        ({"soft_labels": np.full((5, 6), np.nan, np.float16)}, Reason.BAD_VECTOR, "count of objects is not finite"),
        ({"soft_labels": np.full((5, 6), -0.5, np.float16)}, Reason.BAD_VECTOR, "soft labels are negative"),
        ({"soft_labels": np.eye(6, dtype=np.float16)[[0] * 5]}, Reason.BAD_VECTOR, "count of objects is zero"),
        ({"soft_labels": None}, Reason.NO_SOFT_LABELS, "no soft labels"),
        ({"features": np.zeros((0, 8), np.float16)}, Reason.REGIONS_MISSING, "no regions"),
    ],
)
def test_what_has_no_vector_is_told_why(instead, reason, text):
    with pytest.raises(NoVector, match=text) as caught:
        ImageSpace(0.5).vector(image(**instead))
    assert caught.value.reason is reason
