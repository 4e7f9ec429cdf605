"""The stages of blind balance: more candidates than needed, a selection cell by cell, and the swaps that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from schemas.balance import CANDIDATES, COUNTERPART, SELECTION
from schemas.ids import counter_rng, partition_of, placements
from schemas.manifest import Counts
from schemas.rejects import Reason
from schemas.tables import REWRITES
from transforms.balance.cells import cells_of, overlapping, owner
from transforms.balance.counterparts import Counterpart, counterparts
from transforms.balance.denials import denials
from transforms.balance.select import select
from transforms.core.params import fingerprinted
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.engines.encoders.sentence import spec_fingerprint
from transforms.swaps.draft import Negative
from transforms.swaps.settings import BalanceSettings, SwapSettings
from transforms.swaps.stage import SwapNegatives, chances, expected_share, load_index, rewrite_batch
from transforms.truth.evidence import LENGTH
from transforms.truth.stage import JUDGE, EncodeCaptions, vectors_in
from transforms.truth.trees import MILLION

_ROWS = 512  # captions per written batch
# Of a counterpart, by the swap's kind.
_TRUE = {
    "kind": {"negation": "denial", "count": "count", "relation": "position"},
    "why": {"negation": "denies_swap", "count": "counted_elsewhere", "relation": "placed_elsewhere"},
}


def _balance(params: SwapSettings) -> BalanceSettings:
    if params.balance is None:
        raise ValueError("swaps.balance must be set")
    return params.balance


class SwapCandidates(SwapNegatives):
    """Writes `candidates`: `swaps.balance.candidates` swaps of each kind per caption, in the order of the pairs.

    A negation has one row for each true denial of its form; without `denials`, or if it has none, it is left out. Swaps of counts and
    positions that the caption does not state have the true ones beside them.
    """

    name = "swap_candidates"
    internal = True
    revision = 3
    writes = {"candidates": CANDIDATES}

    @classmethod
    def applies(cls, params: SwapSettings) -> bool:
        """Whether the swaps are balanced."""
        return params.balance is not None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The swaps' settings, and those of the balance that affect candidates."""
        own = _balance(self.params)
        swaps = {name: value for name, value in super().settings.items() if name not in ("per_kind", "truth_scores")}
        return swaps | {
            "candidates": own.candidates,
            "denials": own.denials,
            "counterparts": own.counterparts,
            "count_truth": own.count_truth,
            "swaps": SwapNegatives.revision,
        }

    def process(self, task: Task, payload: Any) -> None:
        """Processes one partition image by image and writes it in batches."""
        own = _balance(self.params)
        settings = self.params.model_copy(update={"per_kind": own.candidates})
        ids: list[str] = []
        found: list[list[Negative]] = []
        index, judge = load_index(task.corpus), self.judge
        beside: list[Counterpart | None] = []
        for pair, graph, negatives, context in self.drafted(task, settings):
            paired = denials(pair["caption"], graph, negatives, own.candidates) if own.denials else []
            if own.counterparts:
                rng = counter_rng(task.seed, "counterparts", pair["pair_id"])
                taken = {negative.text for negative in negatives}
                known = counterparts(pair["caption"], graph, index, context, settings, rng, judge)
                paired += [one for one in known if one.negative.text not in taken and one.text not in taken]
            others = [negative for negative in negatives if negative.kind != "negation"]
            ids.append(pair["pair_id"])
            found.append([*others, *(one.negative for one in paired)])
            beside += [*(None for _ in others), *paired]
            if len(found) >= _ROWS:
                task.write("candidates", _candidates(ids, found, beside))
                ids, found, beside = [], [], []
        task.write("candidates", _candidates(ids, found, beside))


def _candidates(ids: list[str], found: list[list[Negative]], counterparts: list[Counterpart | None]) -> pa.RecordBatch:
    edits = [[dict(zip(("start", "end", "text"), edit, strict=True)) for edit in one.edits] if one else None for one in counterparts]
    values: tuple[list[Any], ...] = ([one and one.text for one in counterparts], edits, [one and one.origin for one in counterparts])
    columns = [pa.array(value, field.type) for field, value in zip(COUNTERPART, values, strict=False)]
    truth = chances([one and one.truth for one in counterparts])
    return pa.RecordBatch.from_arrays([*rewrite_batch(ids, found).columns, *columns, truth], schema=CANDIDATES)


class SelectSwaps(Stage[SwapSettings]):
    """Writes `selection`: which candidates of the cells that begin in the partition are kept.

    The manifest has the blind accuracy of the first cell's candidates, before and after.
    """

    name = "swap_selection"
    internal = True
    revision = 5
    reads = (
        Input("pairs", "pairs", "corpus"),
        Input("swap_candidates", "candidates", "corpus"),
        Input(*JUDGE, "corpus", optional=True),
    )
    writes = {"selection": SELECTION}

    @classmethod
    def applies(cls, params: SwapSettings) -> bool:
        """Whether the swaps are balanced."""
        return params.balance is not None

    def __post_init__(self) -> None:
        if self.params.balance and self.params.balance.encoder:
            spec_fingerprint(self.params.balance.encoder)

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """As of the base class. Without an encoder of its own, it has the judge's."""
        found = super().behind(stages)
        balance = _balance(self.params)
        encoder = balance.encoder or next((stage.params.encoder for stage in stages if isinstance(stage, EncodeCaptions)), None)
        params = self.params.model_copy(update={"balance": balance.model_copy(update={"encoder": encoder})})
        return type(self)(params, compression=found.compression, resolved=found.resolved)

    def wants(self, source: Input, stage: Stage[Any]) -> bool:
        """The judge's vectors: if they are of its own encoder."""
        return source.stage != JUDGE[0] or stage.params.encoder == (_balance(self.params).encoder or stage.params.encoder) is not None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The number kept, the kinds, and the settings of the balance."""
        own = _balance(self.params)
        encoder = spec_fingerprint(own.encoder) if own.encoder else None
        return {"per_kind": self.params.per_kind, "kinds": self.params.kinds, **fingerprinted(own), "encoder": encoder}

    def process(self, task: Task, payload: Any) -> None:
        """Processes one cell after another."""
        cells = _cells(task, self.params)
        for cell in overlapping(task.partition, task.corpus.partitions, cells):
            if owner(cell, cells, task.corpus.partitions) == task.partition:
                self._cell(task, cell, cells)

    def _cell(self, task: Task, cell: int, cells: int) -> None:
        pairs, candidates, vectors = [], [], []
        for partition in overlapping(cell, cells, task.corpus.partitions):
            own = task.read("pairs", "pairs", partition).select(["pair_id", "image_id", "caption"])
            inside = partition_of(placements(own["image_id"].to_pylist()), cells) == cell
            own = own.filter(pa.array(inside))
            if self.has(JUDGE[0]):
                vectors.append(vectors_in(task.read(*JUDGE, partition))[inside])
            found = task.read("swap_candidates", "candidates", partition)
            pairs.append(own)
            candidates.append(found.filter(pc.is_in(found["pair_id"], own["pair_id"].combine_chunks())))
        captions, rows = pa.concat_tables(pairs), pa.concat_tables(candidates).combine_chunks()
        task.counts.rows_in += rows.num_rows
        with task.engine(), threadpool_limits(1):  # so the cores do not affect the sums
            embedded = np.concatenate(vectors) / np.float32(LENGTH) if vectors else None
            selected = select(rows, captions, self.params, measured=cell == 0, vectors=embedded)
        if cell == 0:
            task.extra["blind"] = selected.figures
        task.write("selection", _selection(rows["pair_id"], selected.kept))


def _selection(pair_ids: pa.ChunkedArray, kept: np.ndarray) -> pa.RecordBatch:
    own = pc.run_end_encode(pair_ids.combine_chunks())
    offsets = pa.array(np.concatenate([[0], own.run_ends.to_numpy()]).astype(np.int32))
    return pa.RecordBatch.from_arrays([own.values, pa.ListArray.from_arrays(offsets, pa.array(kept))], schema=SELECTION)


class BalancedSwaps(Stage[SwapSettings]):
    """Writes `rewrites`: the selected swaps and their true counterparts, in the order of the pairs."""

    name = "balance"
    depends_on = ()
    reads = (
        Input("pairs", "pairs", "corpus"),
        Input("swap_candidates", "candidates"),
        Input("swap_selection", "selection", "corpus"),
    )
    writes = {"rewrites": REWRITES}

    @classmethod
    def applies(cls, params: SwapSettings) -> bool:
        """Whether the swaps are balanced."""
        return params.balance is not None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The size of the cells, and whether probabilities are written."""
        return {"cell": _balance(self.params).cell, "truth_scores": self.params.truth_scores}

    def process(self, task: Task, payload: Any) -> None:
        """Filters one partition."""
        candidates = task.read("swap_candidates", "candidates").combine_chunks()
        task.counts.rows_in = candidates.num_rows
        if not candidates.num_rows:
            return
        cells, partitions = _cells(task, self.params), task.corpus.partitions
        owners = {owner(cell, cells, partitions) for cell in overlapping(task.partition, partitions, cells)}
        selection = pa.concat_tables(task.read("swap_selection", "selection", partition) for partition in sorted(owners))
        own = pc.run_end_encode(candidates["pair_id"].combine_chunks()).values
        kept = pc.list_flatten(selection["kept"].take(pc.index_in(own, selection["pair_id"].combine_chunks())))
        rows = candidates.filter(kept)
        task.rejects.counts[Reason.UNBALANCED] += candidates.num_rows - rows.num_rows
        order = pc.index_in(rows["pair_id"], own).to_numpy()
        paired = rows["true_text"].is_valid()
        task.counts.numbers = _judged(rows["truth"])
        paired = pc.and_(paired, pa.array(_first(rows["pair_id"], rows["true_text"])))
        both = pa.concat_tables([_counterparts(rows.filter(paired)), rows.select(REWRITES.names).cast(REWRITES)])
        if not self.params.truth_scores:
            both = both.set_column(both.schema.get_field_index("truth"), REWRITES.field("truth"), pa.nulls(both.num_rows, pa.float32()))
        places = np.concatenate([order[paired.to_numpy(zero_copy_only=False)], order])
        task.write("rewrites", both.take(pa.array(np.argsort(places, kind="stable"))).combine_chunks())

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The share of swaps that the judge expects to be true of the image."""
        return super().conclude(counts, extras) | expected_share(counts.numbers)


def _judged(truth: pa.ChunkedArray) -> dict[str, int | float]:
    """How many swaps were judged, and the sum of their probabilities in millionths; empty if none was."""
    found = np.rint(truth.drop_null().to_numpy().astype(np.float64) * MILLION).astype(np.int64)
    return {"judged": len(found), "truth_millionths": int(found.sum())} if len(found) else {}


def _first(pair_ids: pa.ChunkedArray, texts: pa.ChunkedArray) -> np.ndarray:
    """Which rows are the first of their pair with this text, bool [n]: several swaps may have the same counterpart."""
    seen: dict[tuple[str, str], int] = {}
    rows = enumerate(zip(pair_ids.to_pylist(), texts.to_pylist(), strict=True))
    return np.array([seen.setdefault(text, row) == row for row, text in rows], bool)


def _counterparts(rows: pa.Table) -> pa.Table:
    """The true texts of candidates as rows of `rewrites`."""
    kinds = rows["kind"].to_pylist()
    values = {"text": rows["true_text"], "edits": rows["true_edits"], "origin": rows["true_origin"], "truth": rows["true_truth"]}
    values["scores"] = pa.array([[]] * rows.num_rows, REWRITES.field("scores").type)
    for name, words in (
        ("polarity", ["positive"] * len(kinds)),
        *((name, [table[kind] for kind in kinds]) for name, table in _TRUE.items()),
    ):
        values[name] = pa.array(words, pa.string()).dictionary_encode().cast(REWRITES.field(name).type)
    return pa.table([values.get(name, rows[name]) for name in REWRITES.names], schema=REWRITES)


def _cells(task: Task, params: SwapSettings) -> int:
    manifest = task.corpus.manifest("pairs")
    assert manifest is not None  # the stage reads it
    return cells_of(manifest.counts.rows_out.get("pairs", 0), _balance(params).cell)
