"""The loader: batches of three streams, in an order computed by index, so any step of any epoch is reached in constant time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from model.batch import STREAMS, Batch, DataFacts, Stream, Vocabulary
from model.data.collate import Collator, Wanted
from model.data.order import Mix, Order, share_of
from model.data.settings import NOT_ORDER, UNIMO_MIX, DataSettings
from model.data.shards import Shards
from model.masking import Masking
from schemas.errors import CmclError, ConfigError
from schemas.manifest import fingerprint

log = logging.getLogger(__name__)
_BUCKETS_APART = 1 << 16  # longer than any text, so rows are sorted by regions first, then by tokens


class Steps(Dataset):
    """Map-style: the batch of any step, for one of several processes.

    facts: what the batches are like. fingerprint: of all that their order depends on.
    """

    settings: DataSettings
    facts: DataFacts
    fingerprint: str

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted over all epochs."""
        raise NotImplementedError


class Batches(Steps):
    """Batches of a corpus's three streams, for one of `world` processes.

    seed: of the order and of every draw. masking, wanted: how to mask, and what the objectives require.
    facts: properties of the batches. left_out: number of rows that are in no batch, by reason. dropped: by stream, number of rows that an
    epoch leaves out because they do not fill a batch; they differ from epoch to epoch.

    Raises CorpusError as `Shards` does; ConfigError, naming the key, when a stream of `mix` has no rows or too few for one batch, or a
    batch is not a multiple of `world`.
    """

    def __init__(
        self,
        settings: DataSettings,
        *,
        seed: int,
        masking: Masking | None = None,
        wanted: Wanted | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        self.settings, self._rank, self._world = settings, rank, world
        self._shards = shards = Shards(settings.corpus, settings.damaged == "skip", settings.verify)
        self.left_out: dict[str, int] = {f"{stream} in damaged files": rows for stream, rows in shards.skipped.items()}
        self._rows: dict[Stream, np.ndarray] = {"pairs": self._fit_pairs(), "images": self._fit_images(), "texts": self._fit_texts()}
        self._orders = {stream: self._order(stream, seed) for stream in STREAMS if len(self._rows[stream])}
        self.mix = Mix(self._weights(wanted or Wanted()))
        self.dropped = {stream: order.dropped for stream, order in self._orders.items()}
        self.facts = self._facts(wanted or Wanted())
        most = {"max_tokens": self.facts.max_tokens, "max_regions": max(1, self.facts.max_regions)}
        padded = settings.model_copy(update=most)  # texts and images are padded to the longest at most
        self._collator = Collator(shards, padded, self.facts.vocabulary, seed, masking or Masking(), wanted or Wanted())
        own = {key: value for key, value in settings.model_dump(mode="json").items() if key not in NOT_ORDER}
        batches = {stream: self._orders[stream].batches for stream in self.mix.pattern}
        self.fingerprint = fingerprint([self.facts.corpus, seed, self.facts.rows, own, self.mix.pattern, batches])
        for reason, rows in self.left_out.items():
            log.warning("%s: %d rows are left out", reason, rows)
        for stream in {one: None for one in self.mix.pattern if self.dropped[one]}:
            log.warning(
                "%s: %d of %d rows are in no batch of an epoch, others in the next: reduce batch.%s, or set keep_last: true",
                *(stream, self.dropped[stream], self.facts.rows[stream], stream),
            )

    def __len__(self) -> int:
        """Number of steps in one epoch of the first stream of the mix: pairs, else images, else texts."""
        stream = next(stream for stream in STREAMS if stream in self.mix.pattern)
        return self.mix.steps(stream, self._orders[stream].batches)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted over all epochs."""
        stream, number = self.mix.at(step)
        positions, epoch = self._orders[stream][number]
        mine = share_of(positions, self._rank, self._world)
        rows = self._rows[stream][mine]
        if stream == "pairs":
            siblings = [self._siblings(position) for position in mine] if self.settings.positives and self.settings.siblings else []
            return self._collator.pairs(rows, siblings, epoch, f"{step} {self._rank} {self._world}")
        return self._collator.images(rows, epoch) if stream == "images" else self._collator.texts(rows, epoch)

    def _siblings(self, position: int) -> np.ndarray:
        """The other rows of a pair's image that are not left out."""
        group = self._group[position]
        start, end = self._begins[group], self._begins[group + 1]
        others = self._rows["pairs"][start:end]
        return others[np.arange(start, end) != position]

    def _fit_pairs(self) -> np.ndarray:
        columns = self._shards.pairs.columns
        shown, short = columns["regions"] > 0, columns["length"] + 2 <= self.settings.max_tokens
        self._left_out("pairs whose image has no regions", ~shown)
        self._left_out("pairs whose caption is longer than max_tokens", shown & ~short)
        rows = np.flatnonzero(shown & short)
        images = columns["image"][rows]
        first = np.concatenate([[True], images[1:] != images[:-1]]) if len(rows) else np.zeros(0, bool)
        self._begins = np.append(np.flatnonzero(first), len(rows))
        self._group = np.cumsum(first) - 1
        return rows

    def _fit_images(self) -> np.ndarray:
        shown = self._shards.images.columns["regions"] > 0
        self._left_out("images without regions", ~shown)
        return np.flatnonzero(shown)

    def _fit_texts(self) -> np.ndarray:
        lengths = self._shards.texts.columns["length"]
        short = (lengths + 2 <= self.settings.max_tokens) & (lengths > 0)
        self._left_out("texts longer than max_tokens, or without tokens", ~short)
        return np.flatnonzero(short)

    def _left_out(self, reason: str, rows: np.ndarray) -> None:
        if number := int(np.count_nonzero(rows)):
            self.left_out[reason] = number

    def _order(self, stream: Stream, seed: int) -> Order:
        rows, columns = self._rows[stream], getattr(self._shards, stream).columns
        batch, sizes = self.settings.rows(stream), columns["length" if stream == "texts" else "regions"][rows]
        if stream != "texts":
            sizes = np.minimum(sizes, self.settings.max_regions)
        if stream == "pairs":
            widths = np.array(sorted({*self.settings.region_buckets, self.settings.max_regions}))
            sizes = np.searchsorted(widths, sizes) * _BUCKETS_APART + columns["length"][rows]
        starts = self._begins[:-1] if stream == "pairs" else np.arange(len(rows))
        counts = np.diff(self._begins) if stream == "pairs" else np.ones(len(rows), np.int64)
        return Order(
            starts,
            counts,
            sizes,
            name=stream,
            seed=seed,
            batch=batch,
            window=self.settings.window,
            least=self._world if self.settings.keep_last else None,
        )

    def _weights(self, wanted: Wanted) -> dict[Stream, int]:
        """The mix. Raises ConfigError unless every stream fills a batch that can be divided among the processes."""
        used = [stream for stream in STREAMS if stream in wanted.streams and len(self._rows[stream])]
        mix: dict[Stream, int] = self.settings.mix or {stream: UNIMO_MIX[stream] for stream in used}
        if not mix:
            raise ConfigError(f"corpus: {self.settings.corpus} has no rows to train on; left out: {self.left_out or 'none'}")
        for stream in mix:
            batch, rows = self.settings.rows(stream), len(self._rows[stream])
            if batch % self._world:
                raise ConfigError(f"batch.{stream}: {batch} rows cannot be divided evenly among {self._world} processes")
            if not rows or not self._orders[stream].batches:
                widest = f"{rows} rows" if stream != "pairs" else f"{len(self._begins) - 1} images"
                why = f" (left out: {self.left_out})" if self.left_out else ""
                cure = f"leave {stream} out of mix{why}" if not rows else f"reduce batch.{stream}, or set keep_last: true"
                raise ConfigError(f"mix.{stream}: the corpus has {widest} of them, and a batch takes {batch}; {cure}")
        return mix

    def _facts(self, wanted: Wanted) -> DataFacts:
        shards, settings = self._shards, self.settings
        features, classes = shards.widths
        made, tokenizer = shards.manifest.counts.numbers, shards.tokenizer
        asks = "negatives" in settings.model_fields_set  # else by default, of what there is
        asked = {
            "positives": settings.positives,
            "negatives": sum(settings.negatives.values()),
            "matched_images": settings.matched_images,
            "matched_texts": settings.matched_texts,
        }
        drawn = {name: number if made.get(name) or (name == "positives" and settings.siblings) else 0 for name, number in asked.items()}
        counts = np.concatenate([shards.pairs.columns["regions"], shards.images.columns["regions"], [0]])
        lengths = np.concatenate([getattr(shards, stream).columns["length"][self._rows[stream]] for stream in ("pairs", "texts")] + [[0]])
        packed = settings.pack_texts or drawn["negatives"] or drawn["positives"] or drawn["matched_texts"]
        return DataFacts(
            corpus=shards.contents,
            rows={stream: len(self._rows[stream]) for stream in STREAMS},
            features=features,
            geometry=settings.geometry,
            classes=classes if shards.has_soft_labels(wanted.soft_labels) else 0,
            max_regions=min(int(counts.max()), settings.max_regions),
            max_tokens=settings.max_tokens if packed else int(lengths.max()) + 2,
            drawn=drawn,
            lacking=tuple(kind for kind, number in settings.negatives.items() if asks and number and not shards.has_negatives(kind)),
            batch=settings.rows("pairs") // self._world,
            vocabulary=Vocabulary(tokenizer.size, tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask, tokenizer.sha256),
        )


class BatchStream(IterableDataset):
    """Iterable: endless batches from a step on, distributed in order over the workers of a DataLoader (batch_size=None).

    `seek` may be called at any time; iterators made later start there, those of persistent workers too.
    """

    def __init__(self, batches: Batches, step: int = 0):
        self._batches = batches
        self._step = torch.tensor([step]).share_memory_()

    def seek(self, step: int) -> None:
        """Sets the step at which iterators start."""
        self._step[0] = step

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in count(int(self._step[0]) + first, every):
            yield self._batches[step]


class _Told(Dataset):
    """Steps whose errors are returned: raised in a worker process, they would come back with its traceback as their text."""

    def __init__(self, steps: Steps):
        self._steps = steps

    def __getitem__(self, step: int) -> Batch | CmclError:
        try:
            return self._steps[step]
        except CmclError as error:
            return error


class _Steps:
    """A sampler: the steps from the loader's position."""

    def __init__(self, loader: ShardLoader):
        self._loader = loader

    def __iter__(self) -> Iterator[int]:
        return count(self._loader.step)


def _apart(_: int) -> None:
    """Puts a worker in a session of its own: a signal to the training's group would end it before the training has saved."""
    os.setsid()


class ShardLoader:
    """Yields a corpus's batches or a task's step by step, made in `settings.workers` processes. See `model.batch.Loader`.

    All iterators share one position: the step after the last batch that any of them returned, or the one that `load_state` set.
    """

    def __init__(self, batches: Steps):
        self.batches, self.step, self._turn = batches, 0, 0
        settings = batches.settings
        self._loader: DataLoader[Batch | CmclError] = DataLoader(
            _Told(batches),
            batch_size=None,
            sampler=_Steps(self),
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            pin_memory=settings.pin_memory,
            multiprocessing_context="fork" if settings.workers else None,  # memory maps cannot be sent to new processes
            worker_init_fn=_apart if settings.workers else None,
            generator=torch.Generator(),  # else every iterator would advance the one that dropout draws from
        )

    @property
    def facts(self) -> DataFacts:
        """Properties of the batches."""
        return self.batches.facts

    def __iter__(self) -> Iterator[Batch]:
        """Endless batches from the current position."""
        turn = -1
        while True:
            if turn != self._turn:  # at first; and when another iterator has begun, or a state was loaded: persistent workers serve one
                self._turn = turn = self._turn + 1
                source = iter(self._loader)
            batch = next(source)
            if isinstance(batch, CmclError):
                raise batch
            self.step += 1
            yield batch

    def state(self) -> dict[str, Any]:
        """The position: the next step, and a hash of everything that the order depends on."""
        return {"step": self.step, "order": self.batches.fingerprint}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resumes from a state, in constant time. Raises ConfigError when it belongs to other data or another order."""
        if set(state) != {"step", "order"} or not isinstance(state["step"], int) or state["step"] < 0:
            raise ConfigError(f"not a loader state: {state!r}")
        if state["order"] != self.batches.fingerprint:
            raise ConfigError(
                "corpus: the checkpoint was made with another corpus, seed or data settings, or with keep_last and another number of "
                "processes; restore them, or choose another output"
            )
        self.step, self._turn = state["step"], self._turn + 1
