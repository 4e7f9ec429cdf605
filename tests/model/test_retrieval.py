"""Fine-tuning for retrieval: UNITER's triplets and UNIMO's circle loss against their formulas."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from model.batch import Known
from model.objectives.base import Views
from model.tasks.retrieval import Retrieval, RetrievalSettings, circle_loss, shuffled
from tests.model.batches import in_double, network, pairs
from tests.model.test_objectives import assert_gradient


def _scores(model: Any, batch: Any, head: str) -> np.ndarray:
    """Sigmoid of the score of every image with every caption, one sequence at a time."""
    body, count = model.body, len(batch)
    embedded, found = body.embed(batch), np.zeros((count, count))
    for image in range(count):
        for text in range(count):
            states = body.encode(embedded, torch.tensor([image]), torch.tensor([text]))
            value = (
                model.match(states.cls)
                if head == "match"
                else model.contrast.pairs(model.contrast.of_images(states.img), model.contrast.of_texts(states.cls))
            )
            found[image, text] = torch.sigmoid(value).item()
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
    for anchor in shuffled(batch)[:2].tolist():
        for row in (scores[anchor], scores[:, anchor]):
            others = np.sort(np.delete(row, anchor))[::-1][:hardest]
            expected += np.maximum(0, 0.2 + others - row[anchor]).mean()
    objective = Retrieval(settings)
    assert float(objective.loss(Views(model, batch)).detach()) == pytest.approx(expected) and int(objective.count(batch)) == 4


def test_circle_loss_is_its_formula() -> None:
    batch, settings = in_double(pairs(count=4, positives=0, negatives=0, matches=0)), RetrievalSettings(loss="circle")
    model = network(dtype=torch.float64)
    scores, expected = _scores(model, batch, "match"), 0.0
    for pair in range(4):
        right, others = scores[pair, pair], np.concatenate([np.delete(scores[pair], pair), np.delete(scores[:, pair], pair)])
        pull, push = max(0, 1.2 - right), np.maximum(0, others + 0.2)
        expected += np.log(1 + np.exp(push * (others - 0.2)).sum() * np.exp(-pull * (right - 0.8)))
    objective = Retrieval(settings)
    assert float(objective.loss(Views(model, batch)).detach()) == pytest.approx(expected) and int(objective.count(batch)) == 4


def test_circle_loss_leaves_out_what_may_be_true() -> None:
    right, others, wrong = torch.tensor([0.4]), torch.tensor([[0.9, 0.3]]), torch.tensor([[False, True]])
    assert circle_loss(right, others, wrong, 0.2, 1.0)[0] == circle_loss(right, others[:, 1:], wrong[:, 1:], 0.2, 1.0)[0]


@pytest.mark.parametrize("loss", ["triplet", "circle"])
def test_known_pairs_are_not_told_apart(loss: Any) -> None:
    batch = in_double(pairs(count=3, positives=0, negatives=0, matches=0))
    assert batch.texts is not None and batch.images is not None
    everything = Known(batch.texts.keys.repeat(3), torch.arange(3).repeat_interleave(3))
    same = dataclasses.replace(batch, known_texts=everything)
    objective = Retrieval(RetrievalSettings(loss=loss, anchors=3))
    assert int(objective.count(batch)) == (6 if loss == "triplet" else 3) and int(objective.count(same)) == 0
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


def test_anchors_are_any_pairs_of_a_batch_in_whichever_order_it_comes() -> None:
    drawn = []
    for seed in range(40):
        batch = pairs(seed=seed, count=5, positives=0, negatives=0, matches=0)
        assert batch.texts is not None
        turned = dataclasses.replace(batch, texts=batch.texts.take(torch.arange(4, -1, -1)))
        order = shuffled(batch)
        assert sorted(order.tolist()) == [0, 1, 2, 3, 4] and torch.equal(4 - shuffled(turned), order)
        drawn.append(int(order[0]))
    assert set(drawn) == {0, 1, 2, 3, 4}


def test_gradient_of_triplets() -> None:
    assert_gradient(Retrieval(RetrievalSettings(anchors=2, hardest=2)), pairs(count=4, positives=0, negatives=0, matches=0))
