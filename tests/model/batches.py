"""Small random batches and networks for the trainer's tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from model.batch import Batch, DataFacts, Fragments, Group, Images, Known, Mismatch, Texts, Vocabulary
from model.heads import Network
from model.masking import Masking, cut_fragments, draw_mismatches, mask_regions, mask_tokens
from model.transformer import ModelSettings, Shape

torch.set_num_threads(1)

VOCABULARY = Vocabulary(size=60, pad=1, cls=0, sep=2, mask=59, sha256="0" * 64)
FEATURES, CLASSES = 12, 7


def facts(**changes: Any) -> DataFacts:
    return dataclasses.replace(
        DataFacts(
            corpus="c" * 64,
            rows={"pairs": 100, "images": 10, "texts": 10},
            features=FEATURES,
            geometry=5,
            classes=CLASSES,
            max_regions=5,
            max_tokens=9,
            vocabulary=VOCABULARY,
            drawn={"positives": 1, "negatives": 2, "matched_images": 1, "matched_texts": 1},
        ),
        **changes,
    )


def images(rng: np.random.Generator, count: int, full: bool = False, geometry: int = 5) -> Images:
    counts = np.full(count, 5) if full else rng.integers(1, 6, count)
    counts[0] = 5
    real = np.arange(5) < counts[:, None]
    corners = np.sort(rng.random((count, 5, 2, 2)), axis=2).reshape(count, 5, 4)
    wide = corners[..., 2:] - corners[..., :2]
    extra = wide.prod(-1, keepdims=True) if geometry == 5 else np.concatenate([wide, wide.prod(-1, keepdims=True)], -1)
    boxes = np.concatenate([corners, extra], -1) * real[..., None]
    hidden = mask_regions(boxes, counts, Masking(), rng)
    labels = rng.dirichlet(np.ones(CLASSES), hidden.sum())
    return Images(
        torch.tensor(rng.normal(size=(count, 5, FEATURES)) * real[..., None], dtype=torch.float32),
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(counts),
        torch.tensor(rng.integers(1 << 60, size=count)),
        full,
        torch.tensor(hidden),
        torch.tensor(labels, dtype=torch.float32),
    )


def texts(rng: np.random.Generator, count: int, full: bool = False, size: int = 9) -> Texts:
    lengths = np.full(count, size) if full else rng.integers(3, size + 1, count)
    lengths[0] = size
    ids = np.full((count, size), VOCABULARY.pad)
    for row, length in enumerate(lengths):
        ids[row, :length] = [VOCABULARY.cls, *rng.integers(3, 59, length - 2), VOCABULARY.sep]
    masked, labels = mask_tokens(ids, lengths, Masking(), VOCABULARY, rng)
    return Texts(*map(torch.tensor, (ids, lengths, rng.integers(1 << 60, size=count))), full, torch.tensor(masked), torch.tensor(labels))  # type: ignore[misc]


def pairs(
    seed: int = 0, count: int = 3, positives: int = 1, negatives: int = 2, matches: int = 1, full: bool = False, geometry: int = 5
) -> Batch:
    """A batch of `count` pairs with as many companions each, all drawn from one seed."""
    rng = np.random.default_rng(seed)
    shown = images(rng, count + matches * count, full, geometry)
    said = texts(rng, count * (1 + positives + negatives + matches), full)
    hidden = shown.hidden
    assert hidden is not None and shown.soft_labels is not None
    shown = dataclasses.replace(shown, soft_labels=shown.soft_labels[: int(hidden[:count].sum())])

    def group(start: int, each: int, kind: int = -1) -> Group:
        owners = torch.arange(count).repeat_interleave(each)
        return Group(
            start + torch.arange(count * each),
            owners,
            torch.tensor(rng.uniform(0.5, 1, count * each), dtype=torch.float32),
            torch.full_like(owners, kind),
        )

    first = group(count, positives)
    second = group(count + count * positives, negatives, 1)
    fourth = group(count * (1 + positives + negatives), matches)
    drawn = draw_mismatches(
        shown.keys[:count].numpy(),
        said.keys[:count].numpy(),
        set(),
        (second.rows.numpy(), second.owners.numpy()),
        Masking(hard=bool(seed % 2)),
        rng,
    )
    pair = torch.arange(count)
    return Batch(
        "pairs",
        tuple(f"pair{seed}-{number}" for number in range(count)),
        shown,
        said,
        first,
        second,
        group(count, matches),
        fourth,
        Known(said.keys[torch.cat([pair, first.rows, fourth.rows])], torch.cat([pair, first.owners, fourth.owners])),
        None,
        Mismatch(*map(torch.tensor, drawn)),
    )


def alone(seed: int = 0, count: int = 3, stream: str = "texts") -> Batch:
    """A batch of the `texts` or the `images` stream."""
    rng = np.random.default_rng(seed)
    names = tuple(f"{stream}{seed}-{number}" for number in range(count))
    if stream == "images":
        return Batch("images", names, images=images(rng, count))
    said = texts(rng, count)
    cut = cut_fragments(said.ids.numpy(), said.lengths.numpy(), Masking(), VOCABULARY, rng)
    laid = Fragments(*map(torch.tensor, (cut[0], cut[1], cut[2], cut[3])))
    return Batch("texts", names, texts=said, fragments=laid)


def network(seed: int = 0, dtype: torch.dtype = torch.float32, geometry: int = 5, **settings: Any) -> Network:
    """A network of the smallest size, with large random weights, in evaluation mode."""
    torch.manual_seed(seed)
    made = Network(
        ModelSettings(**{"size": "tiny", "positions": 16, "max_regions": 8, **settings}),
        Shape(vocabulary=VOCABULARY.size, features=FEATURES, geometry=geometry, classes=CLASSES),
    )
    with torch.no_grad():
        for parameter in made.body.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.to(dtype).eval()


def in_double(batch: Any) -> Any:
    """The batch with its floating-point tensors in float64."""
    from model.batch import _mapped

    return _mapped(batch, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


class MemoryLoader:
    """A loader over batches in memory: a pure function of (seed, position, rank, world), as the protocol requires."""

    def __init__(
        self, kinds: tuple[str, ...] = ("pairs",), rank: int = 0, world: int = 1, data_facts: DataFacts | None = None, **of_pairs: Any
    ):
        self.facts = data_facts or facts()
        self._kinds, self._rank, self._world, self._of_pairs, self._position = kinds, rank, world, of_pairs, 0

    def batch(self, position: int) -> Batch:
        """The batch at a position, whose stream and content are drawn from the position."""
        kind, seed = self._kinds[position % len(self._kinds)], 10 * (position * self._world + self._rank)
        return pairs(seed, **self._of_pairs) if kind == "pairs" else alone(seed, stream=kind)

    def __iter__(self) -> Any:
        while True:
            self._position += 1
            yield self.batch(self._position - 1)

    def state(self) -> dict[str, Any]:
        return {"position": self._position}

    def load_state(self, state: dict[str, Any]) -> None:
        self._position = state["position"]
