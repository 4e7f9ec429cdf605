"""The stage that parses captions into scene graphs, and the graphs' Arrow form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from schemas.rejects import Reason
from schemas.tables import GRAPHS
from transforms.core.gc_pause import gc_paused
from transforms.core.params import Params
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.engines.parsers.load import caption_parser, check_spec, spec_fingerprint
from transforms.scene_graph.nodes import AttributeNode, CountNode, Graph, ObjectNode, RelationNode
from transforms.swaps.settings import SwapSettings
from transforms.truth.settings import TruthSettings

_NODES: dict[str, Any] = {"objects": ObjectNode, "attributes": AttributeNode, "relations": RelationNode, "counts": CountNode}
# For each field of a node, the index of its field in the schema.
_ORDER = {column: [GRAPHS.field(column).type.value_type.get_field_index(name) for name in node._fields] for column, node in _NODES.items()}


def graph_batch(pair_ids: pa.Array, graphs: Sequence[Graph]) -> pa.RecordBatch:
    """The `graphs` rows of n pairs. Raises ValueError unless there is one graph per pair."""
    if len(pair_ids) != len(graphs):
        raise ValueError(f"{len(graphs)} graphs for {len(pair_ids)} pairs")
    columns = [_column(name, [getattr(graph, name) for graph in graphs]) for name in _NODES]
    return pa.RecordBatch.from_arrays([pair_ids, *columns], schema=GRAPHS)


def _column(name: str, rows: list[list[Any]]) -> pa.ListArray:
    struct = GRAPHS.field(name).type.value_type
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    values: list[Any] = list(zip(*chain.from_iterable(rows), strict=True)) or [()] * struct.num_fields
    fields = [pa.array([], struct.field(index).type) for index in range(struct.num_fields)]
    for own, index in enumerate(_ORDER[name]):
        fields[index] = pa.array(values[own], struct.field(index).type)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(fields, fields=list(struct)))


def read_graphs(batch: pa.RecordBatch | pa.Table) -> Iterator[Graph]:
    """The graphs of a batch written by `graph_batch`, row by row."""
    parts = [_read_nodes(batch[name], name) for name in _NODES]
    for objects, attributes, relations, counts in zip(*parts, strict=True):
        yield Graph(objects, attributes, relations, counts)


def _read_nodes(column: pa.Array | pa.ChunkedArray, name: str) -> Iterator[list[Any]]:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    node, flat = _NODES[name], column.flatten()
    names = list(node._fields)
    nodes = [node(*values) for values in zip(*(flat.field(field).to_pylist() for field in names), strict=True)]
    offsets = (np.asarray(column.offsets) - column.offsets[0].as_py()).tolist()
    for start, end in zip(offsets, offsets[1:], strict=False):
        yield nodes[start:end]


class GraphParams(Params):
    """The settings of the stages that use scene graphs; the swaps' parser comes first."""

    swaps: SwapSettings | None = None
    truth: TruthSettings | None = None

    @property
    def parser(self) -> str | None:
        """The parser's specification; None: no stage uses graphs."""
        return self.swaps.parser if self.swaps else self.truth.parser if self.truth else None


class ParseCaptions(Stage[GraphParams]):
    """Writes `graphs`: one row per pair, in the order of the pairs. A caption that the parser fails on becomes a reject.

    Raises ValueError if the settings name an unknown parser, or one whose package or model is missing.
    """

    name = "graphs"
    main_table = "graphs"
    packages = ("spacy",)
    rows_by = ("pair_id",)
    parsed: ClassVar[tuple[str, str, str]] = ("pairs", "pair_id", "caption")  # stage and table, and columns of ids and texts

    @property
    def reads(self) -> Sequence[Input]:
        """The texts to parse."""
        table, *columns = self.parsed
        return (Input(table, table, columns=tuple(columns)),)

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The graphs."""
        return {"graphs": GRAPHS}

    def __post_init__(self) -> None:
        check_spec(self._parser)

    @classmethod
    def applies(cls, params: GraphParams) -> bool:
        """Only if a stage uses graphs."""
        return params.parser is not None

    @property
    def _parser(self) -> str:
        if self.params.parser is None:
            raise ValueError("no stage uses scene graphs: neither swaps nor truth is set")
        return self.params.parser

    @property
    def settings(self) -> Mapping[str, Any]:
        """The fingerprints of the engine and the rules; excludes the model's path."""
        return {"parser": spec_fingerprint(self._parser)}

    def process(self, task: Task, payload: Any) -> None:
        """Parses one partition, a record batch at a time, so the network gets the same batches on every machine."""
        parser = caption_parser(self._parser)
        (written, schema), (source, own_id, text) = *self.writes.items(), self.parsed
        with task.open(source, source) as file:
            for batch in file.batches():
                task.counts.rows_in += batch.num_rows
                captions, ids = batch[text].to_pylist(), batch[own_id]
                task.check_cancelled()
                with task.engine(), gc_paused():
                    graphs, kept = _parse(parser, captions, ids, task)
                found = graph_batch(ids.take(kept) if len(kept) < len(captions) else ids, graphs)
                task.write(written, pa.RecordBatch.from_arrays(found.columns, schema=schema))


def _parse(parser: Any, captions: list[str], pair_ids: pa.Array, task: Task) -> tuple[list[Graph], pa.Array]:
    """The graphs of the captions that could be parsed, and their row indices."""
    try:
        return parser.parse(captions), pa.array(range(len(captions)), pa.int64())
    except Exception:  # retry caption by caption, so one bad row does not reject the whole batch
        graphs, kept = [], []
        for row, caption in enumerate(captions):
            try:
                graphs.extend(parser.parse([caption]))
                kept.append(row)
            except Exception as error:
                task.rejects.add(pair_ids[row].as_py(), Reason.ENGINE_FAILED, f"{type(error).__name__}: {error}")
        return graphs, pa.array(kept, pa.int64())
