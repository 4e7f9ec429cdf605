"""Turns rows of a stream into a batch: reads regions and tokens, draws companions, masks, pads.

Draws for a row depend on (seed, epoch, row) alone, except the mismatches of image-text matching: they are drawn among the rows of a
process, so they depend on its rank as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.batch import IGNORED, STREAMS, Batch, Fragments, Group, Images, Known, Mismatch, Stream, Texts, Vocabulary
from model.data.draw import draw, draw_by_kind, split
from model.data.permutation import key_of
from model.data.settings import DataSettings
from model.data.shards import ImageAt, Shards
from model.masking import Masking, cut_fragments, draw_mismatches, mask_regions, mask_tokens
from schemas.errors import CorpusError
from schemas.ids import counter_rng
from schemas.regions import Regions, Shown, geometry
from schemas.token_rows import PairTokens

LEAST_WEIGHT = 0.1
_BUFFERS = 3  # buffers kept for reuse, besides the newest


@dataclass(frozen=True)
class Wanted:
    """What the objectives require in addition to images and texts."""

    streams: frozenset[Stream] = frozenset(STREAMS)  # that any of them uses
    tokens: bool = False  # masked tokens
    regions: bool = False  # hidden regions
    soft_labels: bool = False  # of the hidden regions
    mismatch: bool = False  # decisions of image-text matching
    fragments: bool = False  # sequence to sequence, in the text stream
    companions: bool = True  # of the pairs: positives, negatives and matches
    masked_companions: bool = False  # mask them as well, or masks would give them away


class _TextRows:
    """Collects the texts of a batch."""

    def __init__(self) -> None:
        self.tokens: list[np.ndarray] = []
        self.keys: list[int] = []

    def add(self, tokens: np.ndarray, key: int) -> int:
        """Adds a text; returns its row."""
        self.tokens.append(tokens)
        self.keys.append(key)
        return len(self.tokens) - 1


class _Companion(NamedTuple):
    owner: int
    tokens: np.ndarray
    key: int
    weight: float = 1.0
    kind: int = -1


def _group(texts: _TextRows, found: Sequence[_Companion]) -> Group:
    """A group of companions, owners ascending; adds their texts to those of the batch."""
    if not found:
        return _NOBODY
    rows = [texts.add(one.tokens, one.key) for one in found]
    weights = torch.from_numpy(np.array([one.weight for one in found], np.float32))
    return Group(_ints(rows), _ints([one.owner for one in found]), weights, _ints([one.kind for one in found]))


# Shared by all batches, which are never changed: making empty tensors anew takes a share of a batch's time.
_NOBODY = Group(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


class Buffers:
    """Memory for features, reused when no longer referenced: allocating new memory takes about as long as copying the features."""

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """An uninitialised array of this shape, float16."""
        size = prod(shape)
        # Two references: the list and the argument. No loop variable: `enumerate` keeps its last pair, which would count as another.
        free = next((at for at in range(len(self._held)) if sys.getrefcount(self._held[at]) == 2), None)
        if free is None or len(self._held[free]) < size:
            self._held = [held for at, held in enumerate(self._held) if at != free][-_BUFFERS:] + [np.empty(size, np.float16)]
            free = -1
        return self._held[free][:size].reshape(shape)


class Collator:
    """Makes batches from rows of a stream.

    vocabulary: of the corpus's tokenizer. masking, wanted: how to mask, and what the objectives require.
    """

    def __init__(self, shards: Shards, settings: DataSettings, vocabulary: Vocabulary, seed: int, masking: Masking, wanted: Wanted):
        if not wanted.companions:
            settings = settings.model_copy(update={"positives": 0, "negatives": {}, "matched_images": 0, "matched_texts": 0})
        self._shards, self._settings, self._vocabulary, self._seed = shards, settings, vocabulary, seed
        self._masking, self._wanted, self._buffers = masking, wanted, Buffers()
        # Kinds of companions that the corpus lacks are not looked for in every row.
        self._none = {name for name in ("positives", "matched_images", "matched_texts") if shards.manifest.counts.numbers.get(name) == 0}

    def pairs(self, rows: np.ndarray, siblings: Sequence[np.ndarray], epoch: int, position: str) -> Batch:
        """A batch of P pairs. rows: int64 [P]. siblings: for each, the other rows of its image, if required. position: step and rank."""
        pairs, texts, index = self._shards.pairs_at(rows), _TextRows(), self._shards.pairs.columns
        images = self._shards.images_at(rows, alone=False)
        for pair, key in zip(pairs, index["key"][rows].tolist(), strict=True):
            texts.add(pair.caption, key)
        positives = self._positives(rows, pairs, siblings, epoch, texts)
        negatives = self._negatives(rows, pairs, epoch, texts)
        matched_texts, true_texts = self._matched_texts(rows, pairs, epoch, texts)
        matched_images, true_images, more, more_keys = self._matched_images(rows, pairs, epoch)
        keys = index["image_key"][rows].tolist() + more_keys
        draws = [(epoch, row) for row in rows.tolist()]
        names = tuple(pair.pair_id for pair in pairs)
        shown, written = self._images([*images, *more], keys, "pairs", draws), self._texts(texts, "pairs", draws)
        positive_keys = [] if "positives" in self._none else [pair.positive_keys for pair in pairs]
        known_texts = _known(self._own_keys(rows), positive_keys, true_texts)
        known_images = _known(true_images)
        groups, lengths = (positives, negatives, matched_images, matched_texts), written.lengths[: len(pairs)]
        width, rng = self._settings.padded_tokens(int(lengths.max())), counter_rng(self._seed, "batch", position)
        seed, own = int(rng.integers(1 << 63)), (width, bool((lengths == width).all()))
        batch = Batch("pairs", names, shown, written, *groups, known_texts, known_images, seed=seed, own=own)
        return batch if not self._wanted.mismatch else _with_mismatch(batch, self._masking, counter_rng(self._seed, "mismatch", position))

    def images(self, rows: np.ndarray, epoch: int) -> Batch:
        """A batch of the `images` stream."""
        at = self._shards.images_at(rows, alone=True)
        keys = self._shards.images.columns["image_key"][rows].tolist()
        shown = self._images(at, keys, "images", [(epoch, int(row)) for row in rows])
        return Batch("images", tuple(self._shards.regions(one).image_id for one in at), shown)

    def texts(self, rows: np.ndarray, epoch: int) -> Batch:
        """A batch of the `texts` stream; with `pack_texts`, short texts are joined into longer rows."""
        found, texts, names, draws = self._shards.texts_at(rows), _TextRows(), [], []
        keys = self._shards.texts.columns["key"][rows]
        room = self._settings.max_tokens - 2
        alone = [[at] for at in range(len(found))]
        for bin_ in _packed([len(tokens) for _, tokens in found], room) if self._settings.pack_texts else alone:
            texts.add(np.concatenate([found[at][1] for at in bin_]), int(np.bitwise_xor.reduce(keys[bin_])))
            names.append("+".join(found[at][0] for at in bin_))
            draws.append((epoch, int(rows[bin_[0]])))
        written = self._texts(texts, "texts", draws)
        fragments = self._fragments(written, draws) if self._wanted.fragments else None
        return Batch("texts", tuple(names), texts=written, fragments=fragments)

    def _positives(
        self, rows: np.ndarray, pairs: Sequence[PairTokens], siblings: Sequence[np.ndarray], epoch: int, texts: _TextRows
    ) -> Group:
        key, number = key_of(self._seed, epoch, "positives"), self._settings.positives
        if not number:
            return _group(texts, [])
        lengths = [np.zeros(0, int)] * len(pairs) if "positives" in self._none else [pair.positives.lengths for pair in pairs]
        owners, indices = draw(rows, _counts(lengths), number, key, self._short(lengths))
        found = [
            _Companion(owner, pairs[owner].positives.at(index), int(pairs[owner].positive_keys[index]))
            for owner, index in zip(owners.tolist(), indices.tolist(), strict=True)
        ]
        if self._settings.siblings:
            found += self._siblings(rows, siblings, set(owners.tolist()), key)
        return _group(texts, sorted(found, key=lambda one: one.owner))

    def _siblings(self, rows: np.ndarray, siblings: Sequence[np.ndarray], served: set[int], key: np.uint64) -> list[_Companion]:
        """For each pair without a positive, another caption of its image in other words."""
        keys = self._shards.pairs.columns["key"]
        lists = [own[keys[own] != keys[rows[at]]] if at not in served else own[:0] for at, own in enumerate(siblings)]
        owners, indices = draw(rows, _counts(lists), 1, key)
        others = np.array([lists[owner][index] for owner, index in zip(owners, indices, strict=True)], np.int64)
        captions = [pair.caption for pair in self._shards.pairs_at(others)]
        return list(map(_Companion, owners.tolist(), captions, keys[others].tolist()))

    def _negatives(self, rows: np.ndarray, pairs: Sequence[PairTokens], epoch: int, texts: _TextRows) -> Group:
        if not any(self._settings.negatives.values()):
            return _group(texts, [])
        kinds, short = [pair.negative_kinds for pair in pairs], self._short([pair.negatives.lengths for pair in pairs])
        owners, indices = draw_by_kind(rows, kinds, self._settings.negatives, key_of(self._seed, epoch, "negatives"), short)
        found = []
        for owner, index in zip(owners.tolist(), indices.tolist(), strict=True):
            pair, kind = pairs[owner], int(kinds[owner][index])
            weight = self._weight(kind, float(pair.negative_scores[index]))
            found.append(_Companion(owner, pair.negatives.at(index), int(pair.negative_keys[index]), weight, kind))
        return _group(texts, found)

    def _weight(self, kind: int, score: float) -> float:
        """1, or less for a TF-IDF negative (kind 0) whose similarity is close to the limit."""
        soften = self._settings.soften
        if kind or not soften or not score > self._settings.ceiling - soften:
            return 1.0
        return max(LEAST_WEIGHT, (self._settings.ceiling - score) / soften)

    def _matched_texts(self, rows: np.ndarray, pairs: Sequence[PairTokens], epoch: int, texts: _TextRows) -> tuple[Group, list[np.ndarray]]:
        """The drawn texts, and the keys of all matched texts."""
        lists = [] if "matched_texts" in self._none else [pair.matched_texts for pair in pairs]
        if not any(map(len, lists)):
            return _group(texts, []), []
        at, keys = self._shards.find_texts(np.concatenate(lists))
        lengths = self._shards.texts.at("length", at)
        owners, chosen = self._drawn("matched_texts", rows, lists, epoch, (at >= 0) & (lengths + 2 <= self._settings.max_tokens))
        tokens = [tokens for _, tokens in self._shards.texts_at(at[chosen])]
        group = _group(texts, list(map(_Companion, owners.tolist(), tokens, keys[chosen].tolist())))
        return group, split(keys, at >= 0, lists)

    def _matched_images(
        self, rows: np.ndarray, pairs: Sequence[PairTokens], epoch: int
    ) -> tuple[Group, list[np.ndarray], list[ImageAt], list[int]]:
        """The drawn images, the keys of all matched images, and the locations and keys of the drawn ones."""
        lists = [] if "matched_images" in self._none else [pair.matched_images for pair in pairs]
        if not any(map(len, lists)):
            return _NOBODY, [], [], []
        alone, at, keys, shown = self._shards.find_images(np.concatenate(lists))
        owners, chosen = self._drawn("matched_images", rows, lists, epoch, shown)
        more = [self._shards.images_at(at[[one]], bool(alone[one]))[0] for one in chosen]
        drawn = torch.arange(len(pairs), len(pairs) + len(more))
        group = Group(drawn, torch.from_numpy(owners), torch.ones(len(more)), torch.full_like(drawn, -1))
        return group, split(keys, shown, lists), more, keys[chosen].tolist()

    def _drawn(
        self, name: str, rows: np.ndarray, lists: Sequence[np.ndarray], epoch: int, allowed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws matches: owners ascending, and positions in the concatenated lists."""
        counts, key = _counts(lists), key_of(self._seed, epoch, name.replace("_", " "))
        owners, indices = draw(rows, counts, getattr(self._settings, name), key, allowed)
        return owners, (np.cumsum(counts) - counts)[owners] + indices

    def _short(self, lengths: Sequence[np.ndarray]) -> np.ndarray:
        """Which candidates of the pairs are within max_tokens, bool over all of them."""
        return np.concatenate([np.zeros(0, np.int64), *lengths]) + 2 <= self._settings.max_tokens

    def _own_keys(self, rows: np.ndarray) -> list[np.ndarray]:
        """The keys of all captions of each pair's image."""
        columns = self._shards.pairs.columns
        images = columns["image"]
        begins, ends = (np.searchsorted(images, images[rows], side) for side in ("left", "right"))
        return [columns["key"][begin:end] for begin, end in zip(begins, ends, strict=True)]

    def _images(self, at: Sequence[ImageAt], keys: Sequence[int], stream: str, draws: Sequence[tuple[int, int]]) -> Images:
        """All images of a batch; those of the stream are masked, companions only with `Wanted.masked_companions`."""
        made = image_table([self._shards.shown(one) for one in at], keys, self._settings, self._buffers)
        if not self._wanted.regions:
            return made
        boxes, counts = made.boxes.numpy(), made.counts.numpy()
        hidden = np.zeros(boxes.shape[:2], bool)
        for row, rng in enumerate(self._generators("regions", stream, draws, keys)):
            hidden[row : row + 1] = mask_regions(boxes[row : row + 1], counts[row : row + 1], self._masking, rng)
        wanted = [self._shards.regions(one) for one in at[: len(draws)]] if self._wanted.soft_labels else []
        unlabelled = [one.image_id for one in wanted if one.soft_labels is None]
        if 0 < len(unlabelled) < len(wanted):
            raise CorpusError(f"image {unlabelled[0]} has no soft labels of its regions, which mrc and mrc_kl require")
        return replace(made, hidden=torch.from_numpy(hidden), soft_labels=read_soft_labels(wanted, hidden))

    def _texts(self, texts: _TextRows, stream: str, draws: Sequence[tuple[int, int]]) -> Texts:
        """All texts of a batch; those of the stream are masked, companions only with `Wanted.masked_companions`."""
        made = text_table(texts.tokens, texts.keys, self._settings, self._vocabulary)
        if not self._wanted.tokens:
            return made
        ids, lengths = made.ids.numpy(), made.lengths.numpy()
        masked, labels = ids.copy(), np.full_like(ids, IGNORED)
        for at, rng in enumerate(self._generators("tokens", stream, draws, texts.keys)):
            masked[at : at + 1], labels[at : at + 1] = mask_tokens(
                ids[at : at + 1], lengths[at : at + 1], self._masking, self._vocabulary, rng
            )
        return replace(made, masked=torch.from_numpy(masked), labels=torch.from_numpy(labels))

    def _fragments(self, texts: Texts, draws: Sequence[tuple[int, int]]) -> Fragments:
        ids, lengths = texts.ids.numpy(), texts.lengths.numpy()
        rows = [
            cut_fragments(ids[at : at + 1], lengths[at : at + 1], self._masking, self._vocabulary, rng)
            for at, rng in enumerate(self._generators("fragments", "texts", draws))
        ]
        laid, long, sources, labels = (torch.from_numpy(np.concatenate(column)) for column in zip(*rows, strict=True))
        return Fragments(laid, long, sources, labels)

    def _generators(self, what: str, stream: str, draws: Sequence[tuple[int, int]], keys: Sequence[int] = ()) -> list[np.random.Generator]:
        """A generator for each row of the stream and, if companions are masked too, for each of the other keys."""
        own = [counter_rng(self._seed, what, f"{stream} {epoch} {row}") for epoch, row in draws]
        others = keys[len(draws) :] if self._wanted.masked_companions else ()
        return own + [counter_rng(self._seed, what, f"companion {draws[0][0]} {key}") for key in others]


def image_table(regions: Sequence[Shown | Regions], keys: Sequence[int], settings: DataSettings, buffers: Buffers | None = None) -> Images:
    """Images padded to one of a few numbers of regions, without masks. buffers: memory for the features."""
    counts = np.array([min(len(one.boxes), settings.max_regions) for one in regions])
    width = settings.padded_regions(int(counts.max()))
    features = (buffers or Buffers()).array((len(regions), width, regions[0].features.shape[1]))
    boxes = np.zeros((len(regions), width, 4), np.float32)
    for row, (one, count) in enumerate(zip(regions, counts.tolist(), strict=True)):
        features[row, :count], features[row, count:], boxes[row, :count] = one.features[:count], 0, one.boxes[:count]
    sizes = np.array([(one.width, one.height) for one in regions])
    located = geometry(boxes, sizes[:, :1], sizes[:, 1:], settings.geometry)
    return Images(
        torch.from_numpy(features),
        torch.from_numpy(located),
        torch.from_numpy(counts),
        _ints(keys),
        bool((counts == width).all()),
    )


def text_table(tokens: Sequence[np.ndarray], keys: Sequence[int], settings: DataSettings, vocabulary: Vocabulary) -> Texts:
    """Texts between `[CLS]` and `[SEP]`, padded to one of a few lengths, without masks."""
    lengths = np.array([len(row) + 2 for row in tokens])
    width = settings.padded_tokens(int(lengths.max()))
    column = np.arange(width)
    ids = np.full((len(lengths), width), vocabulary.pad, np.int64)
    ids[(column > 0) & (column < lengths[:, None] - 1)] = np.concatenate(tokens)
    ids[:, 0] = vocabulary.cls
    ids[np.arange(len(lengths)), lengths - 1] = vocabulary.sep
    return Texts(torch.from_numpy(ids), torch.from_numpy(lengths), _ints(keys), bool((lengths == width).all()))


def read_soft_labels(regions: Sequence[Regions], hidden: np.ndarray) -> Tensor | None:
    """Soft labels of the hidden regions, float16 [M, C]; those of the others are not read. None if there are none."""
    found = [
        one.soft_labels[np.flatnonzero(hidden[at, : len(one.soft_labels)])] for at, one in enumerate(regions) if one.soft_labels is not None
    ]
    return torch.from_numpy(np.concatenate(found)) if found and len(found) == len(regions) else None


def _with_mismatch(batch: Batch, masking: Masking, rng: np.random.Generator) -> Batch:
    assert batch.images is not None and batch.texts is not None and batch.negatives is not None
    assert batch.known_texts is not None and batch.known_images is not None
    count = len(batch)
    image_keys, text_keys = batch.images.keys.numpy()[:count], batch.texts.keys.numpy()[:count]
    known = {(owner, other) for owner, other in _holders(batch.known_texts, text_keys)}
    known |= {(other, owner) for owner, other in _holders(batch.known_images, image_keys)}
    rows, owners = batch.negatives.rows, batch.negatives.owners
    if masking.hard:
        true = set(zip(batch.known_texts.owners.tolist(), batch.known_texts.keys.tolist(), strict=True))
        false = torch.tensor(
            [one not in true for one in zip(owners.tolist(), batch.texts.keys[rows].tolist(), strict=True)], dtype=torch.bool
        )
        rows, owners = rows[false], owners[false]
    negatives = rows.numpy(), owners.numpy()
    drawn = draw_mismatches(image_keys, text_keys, known, negatives, masking, rng)
    return replace(batch, mismatch=Mismatch(*(torch.from_numpy(np.asarray(values)) for values in drawn)))


def _holders(known: Known, keys: np.ndarray) -> list[tuple[int, int]]:
    """(owner, row) for every row whose key is known to an owner."""
    by_key: dict[int, list[int]] = {}
    for row, key in enumerate(keys.tolist()):
        by_key.setdefault(key, []).append(row)
    return [(owner, row) for key, owner in zip(known.keys.tolist(), known.owners.tolist(), strict=True) for row in by_key.get(key, ())]


def _known(*lists: Sequence[np.ndarray]) -> Known:
    """The keys known to be true of each pair, from several lists with one array per pair."""
    lists = tuple(held for held in lists if len(held))
    if not lists:
        return Known(_NOBODY.rows, _NOBODY.owners)
    flat = np.concatenate(list(chain(*lists)))
    owners = np.repeat(np.concatenate([np.arange(len(held)) for held in lists]), list(map(len, chain(*lists))))
    order = np.argsort(owners, kind="stable") if len(lists) > 1 else slice(None)
    return Known(torch.from_numpy(flat[order]), torch.from_numpy(owners[order]))


def _packed(lengths: Sequence[int], room: int) -> list[list[int]]:
    """First fit, longest first: which texts share a row of at most `room` tokens."""
    bins: list[list[int]] = []
    left: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        fit = next((number for number, space in enumerate(left) if space >= lengths[at]), None)
        if fit is None:
            bins.append([at])
            left.append(room - lengths[at])
        else:
            bins[fit].append(at)
            left[fit] -= lengths[at]
    return bins


def _counts(lists: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(own) for own in lists], np.int64)


def _ints(values: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.array(values, np.int64))  # faster than `torch.tensor` with lists
