"""What the loader hands the objectives: one batch of one stream, as tensors.

Images and texts are stored once, in two tables; a sequence `[IMG] regions [CLS] tokens [SEP]` is an (image row, text row), either of
which may be missing. So an image's regions are read, moved and embedded once, however many rewrites of its caption it is paired with.

In a batch of P pairs, images 0..P-1 and texts 0..P-1 are the pairs themselves (at most one caption of an image a batch); the texts and
images that the groups refer to follow in any order. A batch of the `images` stream has no texts, one of the `texts`
stream no images, and neither has groups.

Everything random was drawn by the collator, by a seeded law (`model/masking.py`); objectives only compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

Stream = Literal["pairs", "images", "texts"]
STREAMS: tuple[Stream, ...] = ("pairs", "images", "texts")
# Kinds of hard negatives; `Group.kinds` holds positions in this list.
KINDS = ("tfidf", "object", "attribute", "relation", "count", "order", "negation")
IGNORED = -100  # label of a token that is not predicted

T = TypeVar("T")


@dataclass(frozen=True)
class Images:
    """I images of up to R regions, padded with zeros.

    features: float16 or float32 [I, R, D]. boxes: float32 [I, R, G], UNIMO's 5 numbers or UNITER's 7 (`schemas/regions.py`).
    confidence: float32 [I, R]. counts: int64 [I], regions of each, at least 1.
    keys: int64 [I], hash of what is shown: equal for two copies of an image, whatever their ids.
    hidden: bool [I, R], the regions that masking hides (all of them are to be predicted), or None. Never True on padding.
    soft_labels: float16 or float32 [M, C], of the M hidden regions of the first P images in the order of `hidden[:P].nonzero()` (P: the
    pairs, or in the `images` stream all); None when there are none or no objective asks for them. Column 0 is the background.
    full: no image is padded, known without looking at the tensors.
    """

    features: Tensor
    boxes: Tensor
    confidence: Tensor
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
        return Images(self.features[rows], self.boxes[rows], self.confidence[rows], self.counts[rows], self.keys[rows], self.full, hidden)


@dataclass(frozen=True)
class Texts:
    """T texts of up to L tokens, `[CLS]` and `[SEP]` included, padded.

    ids: int64 [T, L]. lengths: int64 [T], at least 2. keys: int64 [T], hash of the normalised words.
    masked: int64 [T, L], `ids` as masking leaves them, or None. labels: int64 [T, L], the true id where a token is predicted, else
    `IGNORED`. full: no text is padded.
    """

    ids: Tensor
    lengths: Tensor
    keys: Tensor
    full: bool
    masked: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    def take(self, rows: Tensor) -> Texts:
        """Some of the texts; rows: int64 [n]."""
        masked, labels = (None if cells is None else cells[rows] for cells in (self.masked, self.labels))
        return Texts(self.ids[rows], self.lengths[rows], self.keys[rows], self.full, masked, labels)


@dataclass(frozen=True)
class Group:
    """Ragged companions of the pairs, n in all: positives, negatives or matches.

    rows: int64 [n], of `Batch.texts`, or for matched images of `Batch.images`. owners: int64 [n], the pair of each, ascending.
    weights: float32 [n] in (0, 1]; less than 1 where it stands near a guard's limit. kinds: int64 [n], positions in `KINDS`, for
    negatives; -1 elsewhere.
    """

    rows: Tensor
    owners: Tensor
    weights: Tensor
    kinds: Tensor

    def __len__(self) -> int:
        return self.rows.shape[0]


@dataclass(frozen=True)
class Known:
    """Keys of what is known to be true of the pairs, drawn or not, so that it is never taken for a negative: keys and owners, int64 [n].

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

    ids: int64 [N, S]. lengths: int64 [N], of both together. sources: int64 [N], tokens up to and with `[SEP]`, which attend to each other
    in full. labels: int64 [N, S], the next token from the `[SEP]` of the source on (after the last target token, `[SEP]`),
    else `IGNORED`.
    """

    ids: Tensor
    lengths: Tensor
    sources: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batch:
    """One batch of one stream. names: pair ids, image ids or text ids of its P rows, for messages."""

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

    def __len__(self) -> int:
        """P: pairs, images or texts that the stream brought."""
        return len(self.names)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device (pinned memory is copied while the host goes on)."""
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
    """A tokenizer's ids: how many there are, and the special ones. sha256: of its files, so that a checkpoint can tell its own."""

    size: int
    pad: int
    cls: int
    sep: int
    mask: int
    sha256: str


@dataclass(frozen=True)
class DataFacts:
    """What a loader will bring, known before the first batch: training refuses settings that do not fit.

    corpus: the corpus hash. rows: by stream, how many rows it has. features, geometry, classes: widths D, G, C (classes 0: no soft
    labels). max_regions, max_tokens: the longest image, without `[IMG]`, and text with `[CLS]` and `[SEP]`. drawn: how many positives,
    negatives, matched_images and matched_texts a pair gets at most; 0 where the corpus has none or the settings ask for none.
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


class Loader(Protocol):
    """What training reads. Endless: epoch follows epoch; the order is a pure function of seed, epoch, rank and world."""

    @property
    def facts(self) -> DataFacts:
        """What the batches are like."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on."""

    def state(self) -> dict[str, Any]:
        """The position after the last batch that an iterator handed out, as JSON."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Resumes there, in constant time. Raises ConfigError when the state belongs to other data or another order."""
