"""Cross-modal contrastive learning against its equation in NumPy, in chunks and over false negatives."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.batch import Batch, Known
from model.objectives.base import Views
from model.objectives.cmcl import Cmcl, CmclSettings, in_batch_scores, pairs_of
from model.objectives.contrast import Scores, contrastive_loss, false_negatives
from schemas.errors import ConfigError
from tests.model.batches import facts, in_double, network, pairs
from tests.model.test_objectives import assert_gradient


def _random_scores(seed: int = 0) -> tuple[Scores, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Scores of four pairs in any order, and by pair (values, positive, weights)."""
    rng = np.random.default_rng(seed)
    owners = rng.permutation([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3])
    values, weights = rng.normal(size=11), rng.uniform(0.2, 1, 11)
    positive = np.zeros(11, bool)
    for pair in range(4):
        own = np.flatnonzero(owners == pair)
        positive[own[: max(1, len(own) - 2)]] = True
    by_pair = [(values[owners == pair], positive[owners == pair], weights[owners == pair]) for pair in range(4)]
    return Scores(*map(torch.tensor, (values, owners, positive, weights))), by_pair


@pytest.mark.parametrize("form", ["inside", "outside", "sigmoid"])
@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_the_loss_is_the_equation(form: str, temperature: float) -> None:
    scores, by_pair = _random_scores()
    expected = []
    for values, positive, weights in by_pair:
        masses = weights * np.exp(values / temperature)
        if form == "inside":
            expected.append(-np.log(masses[positive].sum() / masses.sum()))
        elif form == "outside":
            logs = np.log(np.exp(values / temperature) / masses.sum())
            expected.append(-(weights * logs)[positive].sum() / weights[positive].sum())
        else:
            sign = np.where(positive, 1, -1)
            expected.append((weights * np.log1p(np.exp(-sign * (values / temperature - 3)))).sum())
    found = contrastive_loss(
        scores,
        4,
        torch.tensor(temperature),
        torch.tensor(-3.0),
        "sigmoid" if form == "sigmoid" else "softmax",
        "outside" if form == "outside" else "inside",
    )
    assert np.allclose(found.numpy(), expected)


@pytest.mark.parametrize("form", ["inside", "outside"])
def test_a_pair_without_negatives_has_no_loss(form: Any) -> None:
    scores = Scores(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 1]), torch.tensor([True, True, True]), torch.ones(3))
    for loss in ("softmax", "sigmoid"):
        assert contrastive_loss(scores, 2, torch.tensor(0.1), torch.tensor(0.0), loss, form).tolist() == [0, 0]  # type: ignore[arg-type]


def _expected(batch: Batch, settings: CmclSettings, **of_network: Any) -> float:
    """The equation, sequence by sequence."""
    model = network(dtype=torch.float64, **of_network)
    body, head = model.body, model.contrast
    embedded = body.embed(batch, settings.masked, settings.masked)

    def states(image: int | None, text: int | None) -> tuple[Any, Any]:
        given = [None if row is None else torch.tensor([row]) for row in (image, text)]
        made = body.encode(embedded, given[0], given[1])
        return made.img, made.cls

    def score(img: Any, cls: Any) -> float:
        return float(head.pairs(head.of_images(img), head.of_texts(cls)).detach())

    def rewritten(image: int, text: int) -> float:
        return score(*states(image, text)) if settings.encoding == "joint" else score(states(image, None)[0], states(None, text)[1])

    def rows(group: Any, pair: int) -> list[int]:
        return group.rows[group.owners == pair].tolist()

    temperature = 0.07 if settings.temperature == "learned" else settings.temperature
    total = 0.0
    for pair in range(len(batch)):
        img, cls = states(pair, pair) if settings.encoding == "joint" else (states(pair, None)[0], states(None, pair)[1])
        positive = [rewritten(pair, text) for text in [pair, *rows(batch.positives, pair)]]
        positive += [score(states(image, None)[0], cls) for image in rows(batch.matched_images, pair)]
        positive += [score(img, states(None, text)[1]) for text in rows(batch.matched_texts, pair)]
        negative = [rewritten(pair, text) for text in rows(batch.negatives, pair)]
        if settings.in_batch:
            negative += [rewritten(*sides) for other in range(len(batch)) if other != pair for sides in ((pair, other), (other, pair))]
        if settings.in_batch == "companions":
            for other in set(range(len(batch))) - {pair}:
                texts = [text for name in ("positives", "negatives", "matched_texts") for text in rows(getattr(batch, name), other)]
                negative += [rewritten(pair, text) for text in texts]
                negative += [rewritten(image, pair) for image in rows(batch.matched_images, other)]
        masses = [np.exp(np.array(part) / temperature).sum() for part in (positive, negative)]
        total -= np.log(masses[0] / sum(masses))
    return total


def _unweighted(batch: Batch) -> Batch:
    return dataclasses.replace(
        batch,
        **{
            name: dataclasses.replace(getattr(batch, name), weights=torch.ones(len(getattr(batch, name))))
            for name in ("positives", "negatives", "matched_images", "matched_texts")
        },
    )


SETTINGS = [CmclSettings(), CmclSettings(encoding="separate"), CmclSettings(encoding="separate", in_batch=True, temperature=0.5),
            CmclSettings(encoding="separate", in_batch="companions", temperature=0.5), CmclSettings(masked=True, temperature=1.0)]  # fmt: skip


@pytest.mark.parametrize("contrast", ["dot", "head"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_cmcl_is_the_equation_over_its_four_sets(settings: CmclSettings, contrast: str) -> None:
    batch = in_double(_unweighted(pairs(negatives=3)))
    objective = Cmcl(settings)
    found = float(objective.loss(Views(network(dtype=torch.float64, contrast=contrast), batch)))
    assert found == pytest.approx(_expected(batch, settings, contrast=contrast), rel=1e-6)
    assert int(objective.count(batch)) == 3


@pytest.mark.parametrize(
    "settings", [*SETTINGS, CmclSettings(positives="outside"), CmclSettings(encoding="separate", loss="sigmoid", in_batch=True)]
)
def test_gradients(settings: CmclSettings) -> None:
    assert_gradient(Cmcl(settings), pairs(), contrast="head" if settings.masked else "dot")


@pytest.mark.parametrize("settings", SETTINGS)
def test_chunks_give_the_gradient_of_the_whole(settings: CmclSettings) -> None:
    batch, found = in_double(pairs(count=5)), []
    for chunk in (None, 1, 2, 100):
        model = network(dtype=torch.float64)
        objective, views = Cmcl(settings.model_copy(update={"chunk": chunk})), Views(model, batch)
        loss = objective.backward(views, torch.tensor(0.25))
        if loss is None:
            loss = objective.loss(views)
            (loss * 0.25).backward()
        found.append(
            (float(loss), torch.cat([p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()]))
        )
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0]) and torch.allclose(gradient, found[0][1], atol=1e-9)


def test_the_gradient_cache_drops_out_the_same_twice() -> None:
    """With dropout, the gradient is that of the loss that was computed; the next draw is the one after a single pass."""
    settings, batch = CmclSettings(encoding="separate", in_batch=True, chunk=4), in_double(pairs(count=5))
    cached, direct = (network(dtype=torch.float64, dropout=0.3).train() for _ in range(2))
    torch.manual_seed(3)
    loss = Cmcl(settings).backward(Views(cached, batch), torch.tensor(1.0))
    after = torch.rand(1)
    from model.objectives.cmcl import _project

    torch.manual_seed(3)
    images, texts = (
        torch.cat([_project(direct, batch, False, kind, rows) for rows in torch.arange(size).split(4)])
        for kind, size in (("images", len(batch.images)), ("texts", len(batch.texts)))
    )
    whole = Cmcl(settings)._separate_total(direct, batch, images, texts)
    assert torch.equal(after, torch.rand(1))
    whole.backward()
    assert float(loss) == pytest.approx(float(whole.detach()))  # type: ignore[arg-type]
    for one, other in zip(cached.parameters(), direct.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.allclose(one.grad, other.grad, atol=1e-9)  # type: ignore[arg-type]


def _keys(batch: Batch, images: list[int], texts: list[int], known_texts: Any = ((), ()), known_images: Any = ((), ())) -> Batch:
    batch = dataclasses.replace(
        batch,
        images=dataclasses.replace(batch.images, keys=torch.tensor(images)),  # type: ignore[type-var]
        texts=dataclasses.replace(batch.texts, keys=torch.tensor(texts)),
    )  # type: ignore[type-var]
    known = [
        Known(torch.tensor(keys, dtype=torch.int64), torch.tensor(owners, dtype=torch.int64))
        for keys, owners in (known_texts, known_images)
    ]
    return dataclasses.replace(batch, known_texts=known[0], known_images=known[1])


def test_what_may_be_true_is_no_negative() -> None:
    batch = pairs(count=4, positives=0, negatives=0, matches=0)
    nothing = false_negatives(_keys(batch, [1, 2, 3, 4], [11, 12, 13, 14]))
    assert torch.equal(nothing[0], torch.eye(4, dtype=torch.bool)) and torch.equal(nothing[1], nothing[0])

    def extra(found: torch.Tensor) -> list[set[tuple[int, int]]]:
        return [set(map(tuple, (side & ~torch.eye(4, dtype=torch.bool)).nonzero().tolist())) for side in found]  # type: ignore[misc]

    assert extra(false_negatives(_keys(batch, [1, 2, 1, 4], [11, 12, 13, 14]))) == [{(0, 2), (2, 0)}] * 2  # the same image
    assert extra(false_negatives(_keys(batch, [1, 2, 3, 4], [11, 12, 13, 12]))) == [{(1, 3), (3, 1)}] * 2  # the same text
    # caption 14 is known of image 0: image 0 with caption 3, and caption 3 with image 0
    assert extra(false_negatives(_keys(batch, [1, 2, 3, 4], [11, 12, 13, 14], ((14, 99), (0, 1))))) == [{(0, 3)}, {(3, 0)}]
    # image 2 is matched to caption 1
    assert extra(false_negatives(_keys(batch, [1, 2, 3, 4], [11, 12, 13, 14], ((), ()), ((3,), (1,))))) == [{(2, 1)}, {(1, 2)}]


def test_companions_of_other_pairs_that_may_be_true_are_no_negatives() -> None:
    """Another pair's companion is left out if its words are known to be true of the image, or if both pairs have one image."""
    batch = in_double(_unweighted(pairs(count=3, positives=0, matches=0, negatives=1)))
    swap = batch.negatives.rows[1]  # of pair 1
    known = Known(
        torch.cat([batch.known_texts.keys, batch.texts.keys[swap][None]]), torch.cat([batch.known_texts.owners, torch.tensor([0])])
    )
    one_image = dataclasses.replace(
        batch.images, keys=batch.images.keys.clone().index_fill_(0, torch.tensor([1]), int(batch.images.keys[0]))
    )
    model, lengths = network(dtype=torch.float64), []
    for one in (batch, dataclasses.replace(batch, known_texts=known), dataclasses.replace(batch, images=one_image)):
        images, texts = torch.randn(3, 8).double(), torch.randn(len(one.texts), 8).double()
        lengths.append(len(in_batch_scores(model.contrast, one, images, texts, companions=True).owners))
    assert lengths[0] == 3 * (2 + 2 + 2)  # each image with two captions and two swaps, each caption with two images
    assert lengths[1] == lengths[0] - 1
    assert lengths[2] == lengths[0] - 2 * 3


def test_a_retrieved_copy_of_the_own_image_is_no_negative() -> None:
    batch = in_double(_unweighted(pairs(count=3, positives=0, matches=1, negatives=0)))
    copied = batch.matched_images.rows[1]  # of pair 1, with the key of pair 0's image
    copy = dataclasses.replace(batch.images, keys=batch.images.keys.clone().index_fill_(0, copied, int(batch.images.keys[0])))
    model, lengths = network(dtype=torch.float64), []
    for one in (batch, dataclasses.replace(batch, images=copy)):
        images, texts = torch.randn(len(one.images), 8).double(), torch.randn(len(one.texts), 8).double()
        lengths.append(len(in_batch_scores(model.contrast, one, images, texts, companions=True).owners))
    assert lengths[1] == lengths[0] - 1


def test_a_retrieved_copy_of_an_image_that_a_caption_fits_is_no_negative_of_it() -> None:
    """Caption 0 is known of image 1, of which pair 2 retrieved a copy."""
    batch = in_double(_unweighted(pairs(count=3, positives=0, matches=1, negatives=0)))
    known = Known(torch.cat([batch.known_texts.keys, batch.texts.keys[:1]]), torch.cat([batch.known_texts.owners, torch.tensor([1])]))
    batch = dataclasses.replace(batch, known_texts=known)
    copied = batch.matched_images.rows[2]
    copy = dataclasses.replace(batch.images, keys=batch.images.keys.clone().index_fill_(0, copied, int(batch.images.keys[1])))
    model, lengths = network(dtype=torch.float64), []
    for one in (batch, dataclasses.replace(batch, images=copy)):
        images, texts = torch.randn(len(one.images), 8).double(), torch.randn(len(one.texts), 8).double()
        lengths.append(len(in_batch_scores(model.contrast, one, images, texts, companions=True).owners))
    assert lengths[1] == lengths[0] - 2  # of caption 0, and of caption 1, whose own image it is


def test_pairs_whose_others_may_all_be_true_are_not_counted() -> None:
    batch = in_double(pairs(count=3, positives=0, matches=0, negatives=0))
    everything = Known(batch.texts.keys.repeat(3), torch.arange(3).repeat_interleave(3))
    objective = Cmcl(CmclSettings(encoding="separate", in_batch=True))
    assert int(objective.count(batch)) == 3
    assert int(objective.count(dataclasses.replace(batch, known_texts=everything))) == 0


def test_scores_of_a_batch_are_as_exact_as_those_of_pairs_under_autocast() -> None:
    head = network().contrast
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        images, texts = head.of_images(torch.randn(5, 192)), head.of_texts(torch.randn(5, 192))
        whole = head.matrix(images, texts)
    assert whole.dtype == torch.float32 and torch.allclose(whole.diagonal(), head.pairs(images, texts), atol=1e-6)


def test_a_hard_negative_known_to_be_true_is_left_out() -> None:
    batch, settings = in_double(pairs(negatives=2)), CmclSettings()
    true = batch.negatives.rows[0]
    known = Known(
        torch.cat([batch.known_texts.keys, batch.texts.keys[true][None]]), torch.cat([batch.known_texts.owners, torch.tensor([0])])
    )
    fewer = dataclasses.replace(
        batch,
        negatives=dataclasses.replace(
            batch.negatives, **{name: getattr(batch.negatives, name)[1:] for name in ("rows", "owners", "weights", "kinds")}
        ),
    )
    losses = [
        float(Cmcl(settings).loss(Views(network(dtype=torch.float64), one)))
        for one in (batch, dataclasses.replace(batch, known_texts=known), fewer)
    ]
    assert losses[1] == pytest.approx(losses[2]) and losses[0] != pytest.approx(losses[1])


def test_weights_lessen_a_negative() -> None:
    batch = in_double(_unweighted(pairs(negatives=1)))
    losses = [
        float(
            Cmcl(CmclSettings()).loss(
                Views(
                    network(dtype=torch.float64),
                    dataclasses.replace(batch, negatives=dataclasses.replace(batch.negatives, weights=torch.full((3,), weight))),
                )
            )
        )
        for weight in (1, 0.5, 1e-9)
    ]
    assert losses[0] > losses[1] > losses[2] and losses[2] == pytest.approx(0, abs=1e-6)


def test_a_batch_of_one_pair_counts_nothing_without_negatives() -> None:
    batch = pairs(count=1, negatives=0)
    for settings in (CmclSettings(), CmclSettings(encoding="separate", in_batch=True)):
        assert int(Cmcl(settings).count(batch)) == 0
        assert float(Cmcl(settings).loss(Views(network(), batch))) == 0


def test_pairs_of_carries_all_companions_over() -> None:
    batch = pairs(count=4, positives=2, negatives=3)
    part = pairs_of(batch, 1, 3)
    assert part.names == batch.names[1:3] and batch.texts is not None and part.texts is not None
    for name in ("positives", "negatives", "matched_texts"):
        before, after = getattr(batch, name), getattr(part, name)
        inside = (before.owners >= 1) & (before.owners < 3)
        assert torch.equal(batch.texts.ids[before.rows[inside]], part.texts.ids[after.rows])
        assert torch.equal(before.owners[inside] - 1, after.owners)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="in_batch: true requires encoding: separate"):
        CmclSettings(in_batch=True)
    with pytest.raises(ValidationError, match="in_batch: companions requires encoding: separate"):
        CmclSettings(in_batch="companions")
    with pytest.raises(ValidationError, match="in_batch"):
        CmclSettings(encoding="separate", in_batch="everything")
    with pytest.raises(ValidationError, match="temperature must be positive"):
        CmclSettings(temperature=-1.0)
    with pytest.raises(ConfigError, match="requires hard negatives, of which none are drawn"):
        Cmcl(CmclSettings()).check(facts(drawn={}))


def test_one_positive_suffices_inside_of_the_logarithm_and_not_outside() -> None:
    """A network that gives one kind of positive high scores with every image, and otherwise distinguishes nothing, retrieves nothing."""
    values, owners = torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.zeros(4, dtype=torch.int64)
    scores = Scores(values, owners, torch.tensor([True, True, False, False]), torch.ones(4))
    inside, outside = (
        float(contrastive_loss(scores, 1, torch.tensor(0.05), torch.tensor(0.0), positives=kind)[0]) for kind in ("inside", "outside")
    )
    assert inside < 1e-6 and outside == pytest.approx(10, abs=1e-3)
