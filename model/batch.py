"""The interface between loader and objectives: one batch of one stream, as tensors.

Images and texts are stored once, in two tables; a sequence `[IMG] regions [CLS] tokens [SEP]` is an (image row, text row), either of
which may be missing. So an image's regions are read, moved and embedded once, however many rewrites of its caption it is paired with.

In a batch of P pairs, images 0..P-1 and texts 0..P-1 are the pairs themselves (at most one caption per image); the texts and images that
the groups refer to follow in any order. A batch of the `images` stream has no texts, one of the `texts` stream no images, and neither has
groups.

The collator makes all random choices, from seeded distributions (`model/masking.py`); objectives only compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

Stream = Literal["pairs", "images", "texts"]
STREAMS: tuple[Stream, ...] = ("pairs", "images", "texts")
IGNORED = -100  # label of a token that is not predicted

T = TypeVar("T")


@dataclass(frozen=True)
class Images:
    """I images of up to R regions, padded with zeros.

    features: float16 or float32 [I, R, D]. boxes: float32 [I, R, G], UNIMO's 5 numbers or UNITER's 7 (`schemas/regions.py`).
    counts: int64 [I], regions of each, at least 1.
    keys: int64 [I], hash of the content: equal for two copies of an image, whatever their ids.
    hidden: bool [I, R], the regions that masking hides (all of them are to be predicted), or None. Never True on padding.
    soft_labels: float16 or float32 [M, C], of the M hidden regions of the first P images in the order of `hidden[:P].nonzero()` (P: the
    pairs, or in the `images` stream all); None when there are none or no objective asks for them. Column 0 is the background.
    full: no image is padded, known without looking at the tensors.
    """

    features: Tensor
    boxes: Tensor
    counts: Tensor
    keys: Tensor
    full: bool
    hidden: Tensor | None = None
    soft_labels: Tensor | None = None

    def __len__(self) -> int:
        return self.features.shape[0]

    def take(self, rows: Tensor) -> Images:
        """Some of the images, without soft labels; rows: int64 [n]."""
        hidden = None if self.hidden is None else self.hidden[rows]
        return Images(self.features[rows], self.boxes[rows], self.counts[rows], self.keys[rows], self.full, hidden)


@dataclass(frozen=True)
class Texts:
    """T texts of up to L tokens, `[CLS]` and `[SEP]` included, padded.

    ids: int64 [T, L]. lengths: int64 [T], at least 2. keys: int64 [T], hash of the normalised words.
    masked: int64 [T, L], `ids` after masking, or None. labels: int64 [T, L], the true id where a token is predicted, else `IGNORED`.
    full: no text is padded.
    """

    ids: Tensor
    lengths: Tensor
    keys: Tensor
    full: bool
    masked: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    def take(self, rows: Tensor, width: int | None = None, full: bool = False) -> Texts:
        """Some of the texts; rows: int64 [n]. width, full: of these alone, if known."""
        ids, masked, labels = (None if cells is None else cells[rows, :width] for cells in (self.ids, self.masked, self.labels))
        assert ids is not None
        return Texts(ids, self.lengths[rows], self.keys[rows], full if width else self.full, masked, labels)


@dataclass(frozen=True)
class Group:
    """The pairs' companions (positives, negatives or matches), n in all; each pair may have any number.

    rows: int64 [n], of `Batch.texts`, or for matched images of `Batch.images`. owners: int64 [n], the pair of each, ascending.
    weights: float32 [n] in (0, 1]; less than 1 for scores close to a guard's limit. kinds: int64 [n], positions in `NEGATIVE_KINDS`
    (`schemas/tokens.py`), for negatives; -1 elsewhere.
    """

    rows: Tensor
    owners: Tensor
    weights: Tensor
    kinds: Tensor

    def __len__(self) -> int:
        return self.rows.shape[0]


@dataclass(frozen=True)
class Known:
    """Keys of the texts or images known to be true of each pair, drawn or not, which must not be its negatives: keys, owners, int64 [n].

    Texts: every caption of the image, positive and matched text. Images: every matched image.
    """

    keys: Tensor
    owners: Tensor


@dataclass(frozen=True)
class Mismatch:
    """Image-text matching, n decisions: images and texts, int64 [n], rows of the batch; labels, float32 [n], 1 where they match."""

    images: Tensor
    texts: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Fragments:
    """Sequence to sequence on N texts: `[CLS] source [SEP] target`, the target being the fragments cut out of the source, in order.

    ids: int64 [N, S]. lengths: int64 [N], of source and target together. sources: int64 [N], number of tokens up to and including the
    first `[SEP]`, which all attend to each other. labels: int64 [N, S], from that `[SEP]` on the next token (after the last target token,
    `[SEP]`), else `IGNORED`. marks: int64 [N, S, m], what else a task says of each token.
    """

    ids: Tensor
    lengths: Tensor
    sources: Tensor
    labels: Tensor
    marks: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """One batch of one stream. names: pair, image or text ids of its P rows, for messages.

    Of a downstream task: targets, [P, ...]; marks, int64 [P, L, m], what it says of the texts' tokens. seed: of what an objective draws
    from the batch, another at every step and rank. own: of the P texts among all, if known: to which length they are padded, and whether
    none is.
    """

    stream: Stream
    names: tuple[str, ...]
    images: Images | None = None
    texts: Texts | None = None
    positives: Group | None = None
    negatives: Group | None = None
    matched_images: Group | None = None
    matched_texts: Group | None = None
    known_texts: Known | None = None
    known_images: Known | None = None
    mismatch: Mismatch | None = None
    fragments: Fragments | None = None
    targets: Tensor | None = None
    marks: Tensor | None = None
    seed: int = 0
    own: tuple[int | None, bool] = (None, False)

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        table = self.texts or self.images
        assert table is not None
        return table.keys.device

    def __len__(self) -> int:
        """P: the number of the stream's own pairs, images or texts."""
        return len(self.names)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device (pinned memory is copied asynchronously)."""
        return _mapped(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; torch's DataLoader calls this."""
        return _mapped(self, lambda tensor: tensor.pin_memory())


def _mapped(value: T, change: Any) -> T:
    """A dataclass with `change` applied to each tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        changed: Any = replace(value, **{field.name: _mapped(getattr(value, field.name), change) for field in fields(value)})
        return changed
    return value


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's ids: their number, and the special ones. sha256: of its files, by which a checkpoint recognises its tokenizer."""

    size: int
    pad: int
    cls: int
    sep: int
    mask: int
    sha256: str


@dataclass(frozen=True)
class DataFacts:
    """Properties of a loader's batches, known before the first one, so that settings that do not fit are refused.

    corpus: the corpus hash. rows: by stream, how many rows it has. features, geometry, classes: widths D, G, C (classes 0: no soft
    labels). max_regions, max_tokens: of the longest image, without `[IMG]`, and the longest text, with `[CLS]` and `[SEP]`. drawn: maximum
    number of positives, negatives, matched_images and matched_texts per pair; 0 where the corpus has none or the settings ask for none.
    lacking: kinds of negatives that the settings ask for and the corpus has none of. labels: the classes of a downstream task. batch: pairs
    per batch and process.
    """

    corpus: str
    rows: dict[Stream, int]
    features: int
    geometry: Literal[5, 7]
    classes: int
    max_regions: int
    max_tokens: int
    vocabulary: Vocabulary
    drawn: dict[str, int]
    lacking: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    batch: int = 0


class Loader(Protocol):
    """An endless source of batches, epoch after epoch; the order is a pure function of seed, epoch, rank and world."""

    @property
    def facts(self) -> DataFacts:
        """Properties of the batches."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position."""

    def state(self) -> dict[str, Any]:
        """The position after the last batch that an iterator returned, as JSON."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Resumes at a position, in constant time. Raises ConfigError when the state belongs to other data or another order."""
