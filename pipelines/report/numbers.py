"""Figures of the whole corpus, counted batch by batch in bounded memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_MOST_BINS = 512


class Histogram:
    """Counts of values in bins of one width, a power of two, that doubles while there are too many bins: so bins do not depend on order.

    rows: finite values; others: NaN and infinite ones. `low`, `high`, `mean` are exact.
    """

    def __init__(self, width: float = 2.0**-10):
        self.width = width
        self.bins: Counter[int] = Counter()
        self.rows, self.others = 0, 0
        self.low, self.high, self._sum = np.inf, -np.inf, 0.0

    def add(self, values: np.ndarray) -> None:
        """Counts float or int values of any shape."""
        values = np.asarray(values, np.float64).ravel()
        finite = values[np.isfinite(values)]
        self.others += len(values) - len(finite)
        if not len(finite):
            return
        self.rows += len(finite)
        self._sum += float(finite.sum())
        self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        places, counts = np.unique(np.floor(finite / self.width), return_counts=True)
        self.bins.update(dict(zip(places.astype(int).tolist(), counts.tolist(), strict=True)))
        while len(self.bins) > _MOST_BINS:
            self.width, self.bins = self.width * 2, _halved(self.bins)

    @property
    def mean(self) -> float:
        """The mean; 0.0 of nothing."""
        return round(self._sum / self.rows, 6) if self.rows else 0.0

    @property
    def total(self) -> int:
        """The sum, of whole numbers."""
        return round(self._sum)

    def bars(self, most: int = 40) -> list[tuple[float, float, int]]:
        """(start, end, count) of at most `most` bins of equal width, empty ones between others included."""
        width, bins = self.width, self.bins
        while bins and max(bins) - min(bins) >= most:
            width, bins = width * 2, _halved(bins)
        return [(at * width, (at + 1) * width, bins[at]) for at in range(min(bins), max(bins) + 1)] if bins else []


def _halved(bins: Counter[int]) -> Counter[int]:
    made: Counter[int] = Counter()
    for at, count in bins.items():
        made[at // 2] += count
    return made


@dataclass
class Numbers:
    """What the report says of the whole corpus. Counters and histograms by the keys that are named.

    rows: by (stage, table), rows that were read. words: of captions. positives, negatives: rewrites a pair. rewrites: by (stage,
    polarity, level, kind). why: by (stage, polarity, kind, why). scores: by (stage, polarity, name). boxes, kinds: regions and different
    classes an image. classes: regions by class. matches: scores by (stage, modality, name). used: by stage, uses of each row of the
    collection, by its partition. rejects: by (stage, reason). samples: the first few reject rows of each, (id, detail).
    """

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    words: Histogram = field(default_factory=lambda: Histogram(1.0))
    positives: Counter[int] = field(default_factory=Counter)
    negatives: Counter[int] = field(default_factory=Counter)
    rewrites: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    why: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    scores: defaultdict[tuple[str, str, str], Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    boxes: Histogram = field(default_factory=lambda: Histogram(1.0))
    kinds: Histogram = field(default_factory=lambda: Histogram(1.0))
    confidence: Histogram = field(default_factory=Histogram)
    classes: Counter[str] = field(default_factory=Counter)
    matches: defaultdict[tuple[str, str, str], Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    used: defaultdict[str, dict[int, np.ndarray]] = field(default_factory=lambda: defaultdict(dict))
    used_names: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    rejects: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: defaultdict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def use(self, stage: str, partitions: np.ndarray, rows: np.ndarray) -> None:
        """Counts matches by the row that they refer to, int [n] each."""
        for partition in np.unique(partitions).tolist():
            found = np.bincount(rows[partitions == partition])
            held = self.used[stage].get(partition, np.zeros(0, np.int64))
            if len(held) < len(found):
                found[: len(held)] += held
                self.used[stage][partition] = found
            else:
                held[: len(found)] += found

    def most_used(self, stage: str, count: int = 10) -> list[tuple[int, int, int]]:
        """(uses, partition, row) of the rows that were matched most, ties by partition and row."""
        found: list[tuple[int, int, int]] = []
        for partition, uses in self.used[stage].items():
            best = np.argsort(-uses, kind="stable")[:count]
            found += [(int(uses[row]), partition, int(row)) for row in best if uses[row]]
        return sorted(found, key=lambda one: (-one[0], one[1], one[2]))[:count]


@dataclass(frozen=True)
class Labels:
    """A column of labels: n codes, int64 [n], of `names`; null is the name ""."""

    codes: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, column: pa.Array) -> Labels:
        """Of a dictionary or string column."""
        coded = column if isinstance(column, pa.DictionaryArray) else column.cast(pa.string()).dictionary_encode()
        names = [str(name) for name in coded.dictionary.to_pylist()]
        return cls(coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64), [*names, ""])

    @classmethod
    def same(cls, name: str, count: int) -> Labels:
        """n times one name."""
        return cls(np.zeros(count, np.int64), [name])


def combinations(columns: list[Labels]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """The combination in each row, int64 [n], and those that occur."""
    codes = np.zeros(len(columns[0].codes), np.int64)
    for column in columns:
        codes = codes * len(column.names) + column.codes
    present, which = np.unique(codes, return_inverse=True)
    found = []
    for code in present.tolist():
        names = []
        for column in reversed(columns):
            code, at = divmod(code, len(column.names))
            names.append(column.names[at])
        found.append(tuple(reversed(names)))
    return which, found


def word_counts(captions: pa.Array) -> np.ndarray:
    """Words of each text, int32 [n]: runs of anything but white space."""
    return pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(captions))).to_numpy(zero_copy_only=False)


def distinct(column: pa.ListArray) -> np.ndarray:
    """How many different values, other than null, are in each of n lists of integers, int64 [n]."""
    owners = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    values = column.flatten()
    known = values.is_valid().to_numpy(zero_copy_only=False)
    both = np.stack([owners, values.fill_null(0).to_numpy(zero_copy_only=False)], 1)[known]
    return np.bincount(np.unique(both, axis=0)[:, 0], minlength=len(column))


def named_scores(column: pa.Array) -> tuple[np.ndarray, Labels, np.ndarray]:
    """Of a `scores` column: the row of each score, int64 [m], their names and values, float64 [m]."""
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    flat = column.flatten()
    names, values = pc.struct_field(flat, "name"), pc.struct_field(flat, "value")
    return np.repeat(np.arange(len(column)), lengths), Labels.of(names), values.to_numpy(zero_copy_only=False).astype(np.float64)
