"""MLM, MRM, ITM, WRA and sequence to sequence against their formulas in NumPy, and their gradients by finite differences."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import ot
import pytest
import torch

from model.batch import IGNORED
from model.objectives.base import Objective, Views
from model.objectives.itm import Itm
from model.objectives.mlm import Mlm, MlmSettings
from model.objectives.mrm import Mrc, MrcKl, Mrfr, MrmSettings
from model.objectives.seq2seq import Seq2seq
from model.objectives.wra import Wra, WraSettings, ipot, transport_cost
from schemas.errors import ConfigError
from tests.model.batches import alone, facts, in_double, network, pairs


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1, keepdims=True)) - scores.max(-1, keepdims=True)


def _views(batch: Any) -> Views:
    return Views(network(dtype=torch.float64), in_double(batch))


def assert_gradient(objective: Objective, batch: Any, **settings: Any) -> None:
    """The gradient along random directions, against central differences."""
    model, batch = network(dtype=torch.float64, **settings), in_double(batch)
    objective.loss(Views(model, batch)).backward()
    torch.manual_seed(1)
    touched = [parameter for parameter in model.parameters() if parameter.grad is not None]
    for _ in range(3):
        direction = [torch.randn_like(parameter) for parameter in touched]
        expected = sum(float((parameter.grad * step).sum()) for parameter, step in zip(touched, direction, strict=True))
        values, width = [], 1e-6
        for sign in (1, -1):
            with torch.no_grad():
                for parameter, step in zip(touched, direction, strict=True):
                    parameter.add_(step, alpha=sign * width)
                values.append(float(objective.loss(Views(model, batch))))
                for parameter, step in zip(touched, direction, strict=True):
                    parameter.sub_(step, alpha=sign * width)
        assert (values[0] - values[1]) / (2 * width) == pytest.approx(expected, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("batch", [pairs(), alone()], ids=["pairs", "texts"])
def test_mlm_is_the_cross_entropy_of_the_chosen_tokens(batch: Any, joint: bool) -> None:
    views, objective = _views(batch), Mlm(MlmSettings(joint=joint))
    states = views.own(mask_images=joint, mask_texts=True).tokens
    scores = views.network.token_scores(states).detach().numpy()
    labels = batch.texts.labels[:3].numpy()
    expected = [-_log_softmax(scores[cell])[labels[cell]] for cell in zip(*np.nonzero(labels != IGNORED), strict=True)]
    assert len(expected) == int(objective.count(batch)) >= 3
    assert float(objective.loss(views)) == pytest.approx(sum(expected))


@pytest.mark.parametrize("reduction", ["paper", "uniter"])
@pytest.mark.parametrize("batch", [pairs(), alone(stream="images")], ids=["pairs", "images"])
def test_mrm_is_a_sum_over_hidden_regions(batch: Any, reduction: Any) -> None:
    settings, views = MrmSettings(reduction=reduction), _views(batch)
    hidden = batch.images.hidden[:3].numpy()
    states = views.own(mask_images=True).regions
    assert states is not None
    features = views.network.region_features(states).detach().numpy()[hidden]
    scores = views.network.classes(states).detach().numpy()[hidden]  # type: ignore[misc]
    target, labels = batch.images.features[:3].double().numpy()[hidden], batch.images.soft_labels.double().numpy()
    parts = (12, 7) if reduction == "uniter" else (1, 1)
    assert float(Mrfr(settings).loss(views)) == pytest.approx(((features - target) ** 2).sum() / parts[0])
    divergence = (labels * (np.log(labels) - _log_softmax(scores))).sum()
    assert float(MrcKl(settings).loss(views)) == pytest.approx(divergence / parts[1])
    top = labels[:, 1:].argmax(1) + 1
    assert float(Mrc(settings).loss(views)) == pytest.approx(-_log_softmax(scores)[np.arange(len(top)), top].sum())
    assert int(Mrfr(settings).count(batch)) == hidden.sum() >= 3


def test_itm_is_binary_cross_entropy() -> None:
    batch = pairs(seed=1)
    views = _views(batch)
    scores = views.network.match(views.mismatched().cls).detach().numpy()
    truth = batch.mismatch.labels.numpy()  # type: ignore[union-attr]
    assert set(truth) == {0, 1}
    odds = 1 / (1 + np.exp(-scores))
    assert float(Itm(Itm.settings_type()).loss(views)) == pytest.approx(-(truth * np.log(odds) + (1 - truth) * np.log(1 - odds)).sum())


def test_wra_is_matched_minus_mismatched_cost() -> None:
    batch = pairs(seed=1)
    views = _views(batch)
    states, truth = views.mismatched(), batch.mismatch.labels.numpy()  # type: ignore[union-attr]
    costs = transport_cost(states.tokens, states.regions, states.tokens_valid, states.regions_valid).detach().numpy()  # type: ignore[arg-type]
    assert float(Wra(WraSettings()).loss(views)) == pytest.approx(costs[truth == 1].sum() - costs[truth == 0].sum())


def test_captions_are_encoded_at_their_own_length_although_companions_are_longer() -> None:
    """In float64: the same loss with and without the companions' padding."""
    batch = in_double(pairs(positives=1, negatives=2))
    assert batch.texts is not None
    longest = int(batch.texts.lengths[: len(batch)].max())
    model, losses = network(dtype=torch.float64), []
    ids, masked, labels = (
        torch.nn.functional.pad(cells, (0, 6), value=value)  # type: ignore[arg-type]
        for cells, value in ((batch.texts.ids, 1), (batch.texts.masked, 1), (batch.texts.labels, IGNORED))
    )
    texts = dataclasses.replace(batch.texts, ids=ids, masked=masked, labels=labels, full=False)
    for one in (batch, dataclasses.replace(batch, texts=texts), dataclasses.replace(batch, texts=texts, own=(longest, False))):
        views = Views(model, one)
        losses.append(float(Mlm(MlmSettings()).loss(views)))
        assert one.own[0] is None or views.own(mask_texts=True).tokens.shape[1] == longest  # type: ignore[union-attr]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


def test_ipot_is_the_recurrence_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    cost = rng.random((4, 3))
    kernel, sigma, plan = np.exp(-cost / 0.5), np.ones(3) / 3, np.ones((4, 3))
    for _ in range(50):
        scaled = kernel * plan
        delta = 1 / (4 * scaled @ sigma)
        sigma = 1 / (3 * scaled.T @ delta)
        plan = np.diag(delta) @ scaled @ np.diag(sigma)
    found = ipot(torch.tensor(cost)[None], torch.ones(1, 4).double(), torch.ones(1, 3).double(), 0.5, 50)[0].numpy()
    assert np.allclose(found, plan, atol=1e-12)


def test_transport_comes_near_the_exact_optimum_whatever_the_padding() -> None:
    rng = np.random.default_rng(1)
    sizes = [(6, 5), (3, 2), (1, 5), (6, 1)]
    words, regions = rng.normal(size=(4, 6, 8)), rng.normal(size=(4, 5, 8))
    valid = [torch.tensor([[place < size[side] for place in range((6, 5)[side])] for size in sizes]) for side in (0, 1)]
    found = transport_cost(torch.tensor(words), torch.tensor(regions), *valid, 0.5, 3000).numpy()  # type: ignore[misc]
    quick = transport_cost(torch.tensor(words), torch.tensor(regions), *valid).numpy()  # type: ignore[misc]
    for row, (n, m) in enumerate(sizes):
        left, right = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (words[row, :n], regions[row, :m]))
        exact = ot.emd2(np.ones(n) / n, np.ones(m) / m, 1 - left @ right.T)
        assert found[row] == pytest.approx(exact, abs=2e-3)
        assert exact - 1e-3 <= quick[row] <= exact + 0.05


def test_transport_ends_with_the_words_as_in_uniter() -> None:
    """Every word is transported as a whole even after one iteration; the regions' sums come out in the limit."""
    torch.manual_seed(0)
    words, regions = torch.randn(1, 4, 6, dtype=torch.float64), torch.randn(1, 3, 6, dtype=torch.float64)
    cost = 1 - (words / words.norm(dim=-1, keepdim=True)) @ (regions / regions.norm(dim=-1, keepdim=True)).transpose(1, 2)
    kernel = torch.exp(-cost[0] / 0.5)
    delta = 1 / (3 * kernel.T @ torch.full((4,), 0.25).double())  # of the regions
    plan = kernel * delta / (4 * kernel @ delta)[:, None]
    assert torch.allclose(plan.sum(1), torch.full((4,), 0.25).double())
    assert float(transport_cost(words, regions, None, None, iterations=1)) == pytest.approx(float((plan * cost[0]).sum()))


def test_a_step_that_underflows_is_refused() -> None:
    with pytest.raises(ValueError, match="beta"):
        WraSettings(beta=0.01)
    cost = torch.tensor([[[2.0, 2.0], [0.0, 2.0]]])  # the smallest step still transports everything, in float32
    ones = torch.ones(1, 2)
    assert torch.allclose(ipot(cost, ones, ones, 0.05, 50).sum((1, 2)), torch.ones(1))


def test_seq2seq_is_the_cross_entropy_of_what_was_cut_out() -> None:
    batch = alone()
    views, fragments = _views(batch), batch.fragments
    assert fragments is not None
    scores = views.network.token_scores(views.network.body.generate(fragments)).detach().numpy()
    expected, count = 0.0, 0
    for row in range(3):
        source, length = int(fragments.sources[row]), int(fragments.lengths[row])
        follows = [*fragments.ids[row, source:length].tolist(), 2] if length > source else []
        for place, token in enumerate(follows):
            expected, count = expected - _log_softmax(scores[row, source - 1 + place])[token], count + 1
    objective = Seq2seq(Seq2seq.settings_type())
    assert float(objective.loss(views)) == pytest.approx(expected) and int(objective.count(batch)) == count > 3


@pytest.mark.parametrize(
    "objective, batch",
    [
        (Mlm(MlmSettings(joint=True)), pairs()),
        (Mrfr(MrmSettings(joint=True)), pairs()),
        (Mrc(MrmSettings()), pairs()),
        (MrcKl(MrmSettings()), alone(stream="images")),
        (Itm(Itm.settings_type()), pairs(1)),
        (Seq2seq(Seq2seq.settings_type()), alone()),
    ],
    ids=["mlm", "mrfr", "mrc", "mrc_kl", "itm", "seq2seq"],
)
def test_gradients(objective: Objective, batch: Any) -> None:
    assert_gradient(objective, batch, region_mask="learned")


def test_wra_gradient_holds_the_plan_fixed() -> None:
    """d cost / d state = sum T dC, with the plan as it is: the plan's own change is left out on purpose."""
    torch.manual_seed(0)
    words, regions = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True), torch.randn(2, 3, 6, dtype=torch.float64)
    transport_cost(words, regions, None, None).sum().backward()
    unit = [torch.nn.functional.normalize(part, dim=-1) for part in (words.detach(), regions)]
    plan = ipot(1 - unit[1] @ unit[0].transpose(1, 2), torch.ones(2, 3).double(), torch.ones(2, 4).double(), 0.5, 50).transpose(1, 2)

    def fixed(given: torch.Tensor) -> torch.Tensor:
        return ((1 - torch.nn.functional.normalize(given, dim=-1) @ unit[1].transpose(1, 2)) * plan).sum()

    step = torch.randn_like(words) * 1e-6
    with torch.no_grad():
        change = fixed(words + step) - fixed(words - step)
    assert float((words.grad * step).sum() * 2) == pytest.approx(float(change), rel=1e-4)


@pytest.mark.parametrize("kind", [Mrc, MrcKl])
def test_objectives_without_their_data_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match=f"objectives.{kind.name}: requires soft labels"):
        kind(MrmSettings()).check(facts(classes=0))
    with pytest.raises(ConfigError, match="objectives.seq2seq: requires texts"):
        Seq2seq(Seq2seq.settings_type()).check(facts(rows={"pairs": 5}))
