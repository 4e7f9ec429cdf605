"""Both layouts of attention, and the Transformer with them, give the same results, which do not depend on padding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.attention import HALF, Layout, attend, dense_layout, packed_layout, prefix_layout
from model.batch import Batch
from tests.model.batches import alone, in_double, network, pairs


def _qkv(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(3, 4, 7, 2, 8, dtype=dtype), torch.arange(7) < torch.tensor([[7], [3], [5], [1]])


def test_packed_equals_dense_and_softmax() -> None:
    (query, key, value), valid = _qkv()
    dense = attend(query, key, value, dense_layout(valid))
    layout, kept = packed_layout(valid)
    packed = attend(*(part.flatten(0, 1)[kept] for part in (query, key, value)), layout)  # type: ignore[call-arg]
    assert torch.allclose(packed, dense.flatten(0, 1)[kept], atol=1e-12)
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key) / 8**0.5
    weights = weights.masked_fill(~valid[:, None, None], -torch.inf).softmax(-1)
    assert torch.allclose(dense, torch.einsum("bhqk,bkhd->bqhd", weights, value), atol=1e-12)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_on_a_cpu_comes_near_double(dtype: torch.dtype) -> None:
    parts, valid = _qkv()
    whole = [part.transpose(1, 2) for part in parts]
    for mask in (None, valid[:, None, None], torch.ones(7, 7, dtype=torch.bool).tril()):
        given = [part.to(dtype).requires_grad_() for part in parts]
        made = attend(*given, Layout(mask))  # type: ignore[call-arg]
        made.float().pow(2).sum().backward()
        assert made.dtype == dtype and all(part.grad is not None and part.grad.isfinite().all() for part in given)
        assert torch.allclose(made.double(), F.scaled_dot_product_attention(*whole, mask).transpose(1, 2), atol=3e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: flash attention over variable lengths needs CUDA")
@pytest.mark.parametrize("dtype", HALF)
def test_flash_equals_dense(dtype: torch.dtype) -> None:
    (query, key, value), valid = (part.cuda() for part in _qkv(dtype=dtype))
    layout, kept = packed_layout(valid)
    packed = attend(*(part.flatten(0, 1)[kept] for part in (query, key, value)), layout)  # type: ignore[call-arg]
    assert torch.allclose(packed, attend(query, key, value, dense_layout(valid)).flatten(0, 1)[kept], atol=2e-2)


@pytest.mark.parametrize("dtype", HALF)
def test_flash_takes_what_it_is_given(dtype: torch.dtype) -> None:
    """Without a GPU: PyTorch's own description of the kernel accepts the call and says what it returns."""
    with FakeTensorMode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        query, key, value = (torch.empty(16, 2, 8, dtype=dtype, device="cuda") for _ in range(3))
        offsets = torch.empty(5, dtype=torch.int32, device="cuda")
        made = attend(query, key, value, Layout(offsets=offsets, longest=7))
    assert made.shape == query.shape and made.dtype == dtype and made.is_cuda


def test_prefix_sees_the_source_in_full_and_the_target_causally() -> None:
    seen = prefix_layout(torch.tensor([2]), torch.tensor([4]), 5).mask
    assert seen is not None
    assert seen[0, 0, :4].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]


@pytest.mark.parametrize("geometry", [5, 7])
@pytest.mark.parametrize("embedding", ["unimo", "uniter"])
def test_packed_transformer_equals_dense(embedding: str, geometry: int) -> None:
    batch = in_double(pairs(geometry=geometry))
    rows = torch.arange(3)
    found = []
    for attention in ("dense", "packed"):
        body = network(dtype=torch.float64, geometry=geometry, attention=attention, embedding=embedding).body
        states = [body.encode(body.embed(batch), *given) for given in ((rows, rows), (rows, None), (None, rows))]
        found.append([getattr(one, name) for one in states for name in ("img", "cls") if getattr(one, name) is not None])
        assert states[0].tokens_valid is not None and states[0].tokens is not None
        found[-1].append(states[0].tokens[states[0].tokens_valid])
    for dense, packed in zip(*found, strict=True):
        assert torch.allclose(dense, packed, atol=1e-10)


def test_padding_changes_nothing() -> None:
    batch, body = in_double(pairs(count=3, matches=0, positives=0, negatives=0)), network(dtype=torch.float64).body
    rows = torch.arange(3)
    together = body.encode(body.embed(batch), rows, rows)
    for row in range(3):
        shown, said = int(batch.images.counts[row]), int(batch.texts.lengths[row])
        images = dataclasses.replace(
            batch.images.take(rows[row : row + 1]),
            features=batch.images.features[row : row + 1, :shown],
            boxes=batch.images.boxes[row : row + 1, :shown],
            full=True,
        )
        texts = dataclasses.replace(batch.texts.take(rows[row : row + 1]), ids=batch.texts.ids[row : row + 1, :said], full=True)
        single = body.encode(body.embed(Batch("pairs", ("x",), images, texts)), rows[:1], rows[:1])
        assert single.tokens_valid is None
        assert torch.allclose(together.img[row], single.img[0], atol=1e-10) and torch.allclose(together.cls[row], single.cls[0], atol=1e-10)


def test_hidden_regions_do_not_show_through() -> None:
    """Neither the region's own embedding nor `[IMG]`, the mean, may reveal the feature that is to be predicted."""
    batch, body = pairs(), network().body
    assert batch.images is not None and batch.images.hidden is not None
    changed = dataclasses.replace(batch.images, features=torch.where(batch.images.hidden[..., None], 9.0, batch.images.features))
    before, after = (body.embed(dataclasses.replace(batch, images=images), mask_images=True).images for images in (batch.images, changed))
    assert torch.equal(before, after)
    assert not torch.equal(body.embed(batch).images, body.embed(dataclasses.replace(batch, images=changed)).images)


def test_learned_mask_is_what_hidden_regions_show() -> None:
    body, batch = network(region_mask="learned").body, pairs()
    assert body.image.mask is not None and batch.images is not None
    with torch.no_grad():
        body.image.mask.fill_(0.5)
    row, column = batch.images.hidden.nonzero()[0].tolist()  # type: ignore[union-attr]
    expected = F.layer_norm(
        body.image.feature(torch.full((12,), 0.5)) + body.image.location(batch.images.boxes[row, column]),
        (192,),
        body.image.norm.weight,
        body.image.norm.bias,
    )
    assert torch.allclose(body.embed(batch, mask_images=True).images[row, column + 1], expected, atol=1e-5)


def test_target_tokens_do_not_see_what_follows() -> None:
    batch, body = alone(), network().body
    assert batch.fragments is not None
    last = int(batch.fragments.lengths[0]) - 1
    ids = batch.fragments.ids.clone()
    ids[0, last] = (ids[0, last] + 1) % 50 + 3
    before, after = body.generate(batch.fragments), body.generate(dataclasses.replace(batch.fragments, ids=ids))
    assert torch.allclose(before[0, :last], after[0, :last], atol=1e-6) and not torch.allclose(before[0, last], after[0, last])
