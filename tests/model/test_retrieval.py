"""Fine-tuning for retrieval: UNITER's triplets and UNIMO's circle loss against their formulas."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from model.batch import Known
from model.objectives.base import Views
from model.tasks.retrieval import Retrieval, RetrievalSettings, circle_loss
from schemas.errors import ConfigError
from tests.model.batches import facts, in_double, network, pairs
from tests.model.test_objectives import assert_gradient


def _scores(model: Any, batch: Any, head: str) -> np.ndarray:
    """The score of every image with every caption, one sequence at a time: sigmoid of the matching head's logit, or the cosine."""
    body, count = model.body, len(batch)
    embedded, found = body.embed(batch), np.zeros((count, count))
    for image in range(count):
        for text in range(count):
            states = body.encode(embedded, torch.tensor([image]), torch.tensor([text]))
            value = (
                torch.sigmoid(model.match(states.cls))
                if head == "match"
                else torch.cosine_similarity(model.contrast.image(states.img).relu(), model.contrast.text(states.cls).relu())
            )
            found[image, text] = value.item()
    return found


@pytest.mark.parametrize("head", ["match", "contrast"])
@pytest.mark.parametrize("hardest", [1, 2, 31])
def test_triplets_are_the_hardest_of_the_batch(head: Any, hardest: int) -> None:
    batch, settings = (
        in_double(pairs(count=5, positives=0, negatives=0, matches=0)),
        RetrievalSettings(score=head, hardest=hardest, anchors=2),
    )
    model = network(dtype=torch.float64)
    scores, expected = _scores(model, batch, head), 0.0
    for anchor in np.random.default_rng(batch.seed).permutation(5)[:2].tolist():
        for row in (scores[anchor], scores[:, anchor]):
            others = np.sort(np.delete(row, anchor))[::-1][:hardest]
            expected += np.maximum(0, 0.2 + others - row[anchor]).mean()
    objective = Retrieval(settings)
    assert float(objective.loss(Views(model, batch)).detach()) == pytest.approx(expected) and int(objective.count(batch)) == 4


def test_circle_loss_is_that_of_unimo() -> None:
    """Half the loss among captions and half of that among images, each with one logarithm."""
    batch, settings = in_double(pairs(count=4, positives=0, negatives=0, matches=0)), RetrievalSettings(loss="circle")
    model = network(dtype=torch.float64)
    scores, expected = _scores(model, batch, "match"), 0.0
    for pair in range(4):
        right = scores[pair, pair]
        for others in (np.delete(scores[pair], pair), np.delete(scores[:, pair], pair)):
            pull, push = max(0, 1.2 - right), np.maximum(0, others + 0.2)
            expected += np.log(1 + np.exp(push * (others - 0.2)).sum() * np.exp(-pull * (right - 0.8))) / 2
    objective = Retrieval(settings)
    mean = float(objective.loss(Views(model, batch)).detach()) / int(objective.count(batch))
    assert mean == pytest.approx(expected / 4) and int(objective.count(batch)) == 8


def test_circle_takes_as_many_others_as_it_is_told() -> None:
    batch, objective = in_double(pairs(count=6, positives=0, negatives=0, matches=0)), Retrieval(RetrievalSettings(loss="circle", random=2))
    images, texts, wrong = objective._others(batch)
    assert images.shape == texts.shape == wrong.shape == (12, 2) and bool(wrong.all())
    own = objective._order(batch)
    assert torch.equal(images[:6], own[:, None].expand(6, 2)) and torch.equal(texts[6:], own[:, None].expand(6, 2))


def test_circle_loss_leaves_out_what_may_be_true() -> None:
    right, others, wrong = torch.tensor([0.4]), torch.tensor([[0.9, 0.3]]), torch.tensor([[False, True]])
    assert circle_loss(right, others, wrong, 0.2, 1.0)[0] == circle_loss(right, others[:, 1:], wrong[:, 1:], 0.2, 1.0)[0]


@pytest.mark.parametrize("loss", ["triplet", "circle"])
def test_known_pairs_are_not_told_apart(loss: Any) -> None:
    batch = in_double(pairs(count=3, positives=0, negatives=0, matches=0))
    assert batch.texts is not None and batch.images is not None
    everything = Known(batch.texts.keys.repeat(3), torch.arange(3).repeat_interleave(3))
    same = dataclasses.replace(batch, known_texts=everything)
    objective = Retrieval(RetrievalSettings(loss=loss, **({"anchors": 3} if loss == "triplet" else {})))
    assert int(objective.count(batch)) == 6 and int(objective.count(same)) == 0
    part = dataclasses.replace(batch, known_texts=Known(batch.texts.keys[[0, 1, 2]], torch.tensor([0, 0, 0])))
    model = network(dtype=torch.float64)
    value = objective.loss(Views(model, part))
    value.backward()
    assert torch.isfinite(value) and all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_gradient_of_the_circle_holds_its_weights_fixed() -> None:
    """As in the paper's code, the weights of pull and push are not differentiated."""
    right, others = torch.tensor([0.4], dtype=torch.float64, requires_grad=True), torch.tensor([[0.6, 0.3]], dtype=torch.float64)
    circle_loss(right, others, torch.ones(1, 2, dtype=torch.bool), 0.2, 1.0).sum().backward()
    push = (others + 0.2) * (others - 0.2)
    inner = push.logsumexp(1) - 0.8 * (right.detach() - 0.8)
    assert float(right.grad) == pytest.approx(float(torch.sigmoid(inner) * -0.8))  # type: ignore[arg-type]


def test_anchors_differ_from_step_to_step_although_the_batch_is_the_same() -> None:
    batch, objective = pairs(count=5, positives=0, negatives=0, matches=0), Retrieval(RetrievalSettings())
    drawn = {int(objective._order(dataclasses.replace(batch, seed=seed))[0]) for seed in range(40)}
    assert drawn == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": 399}, "retrieval.pool: 399, but a batch has 63 other pairs per process: raise data.batch.pairs, or lower pool"),
        ({"loss": "circle", "random": 70}, "retrieval.random: 70, but a batch has 63 other pairs"),
    ],
)
def test_more_others_than_a_batch_has_are_refused(settings: dict[str, Any], message: str) -> None:
    Retrieval(RetrievalSettings()).check(facts(batch=64))
    with pytest.raises(ConfigError, match=message):
        Retrieval(RetrievalSettings(**settings)).check(facts(batch=64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "circle", "hardest": 3}, "hardest: does not apply to loss: circle"),
        ({"scale": 2.0}, "scale: does not apply to loss: triplet"),
        ({"hardest": 31, "pool": 7}, "hardest: 31 cannot be chosen from pool: 7"),
    ],
)
def test_settings_that_have_no_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrievalSettings(**settings)


def test_gradient_of_triplets() -> None:
    assert_gradient(Retrieval(RetrievalSettings(anchors=2, hardest=2)), pairs(count=4, positives=0, negatives=0, matches=0))
