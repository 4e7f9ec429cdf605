"""Checks rewrites and graphs against the captions that they were made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus
from transforms.swaps.edits import apply_edits


class Captions:
    """The captions of all pairs, as two numbers each: of the pair id, and of the text. Memory: 16 bytes per pair."""

    def __init__(self, corpus: Corpus, partitions: int):
        keys, texts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for partition in range(partitions):
            with corpus.open("pairs", "pairs", partition) as file:
                pairs = file.read(["pair_id", "caption"])
            keys.append(_keys(pairs["pair_id"]))
            texts.append(_hashes(pairs["caption"]))
        found = np.concatenate(keys)
        order = np.argsort(found, kind="stable")
        self._keys, self._texts = found[order], np.concatenate(texts)[order]

    def faults(self, origins: pa.ChunkedArray, texts: pa.ChunkedArray) -> Iterator[str]:
        """The faults of negatives that are captions of the pairs `origins`."""
        if not len(origins) or not len(self._keys):
            return
        keys = _keys(origins)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        known = self._keys[at] == keys
        if strangers := int((~known).sum()):
            yield f"{strangers} negatives come from pairs that are not in the corpus"
        if other := int((known & (self._texts[at] != _hashes(texts))).sum()):
            yield f"{other} negatives are not the caption of the pair that they come from"


def _keys(pair_ids: pa.ChunkedArray) -> np.ndarray:
    """The first 16 hex digits of each id as a number; 0 for ids that are not hexadecimal."""
    text = pair_ids.combine_chunks()
    digits = np.array(pc.utf8_slice_codeunits(text, 0, 16).cast(pa.binary()).to_numpy(zero_copy_only=False), dtype="S16")
    codes = np.frombuffer(digits.tobytes(), np.uint8).reshape(-1, 16).astype(np.int16)
    values = np.where(codes >= ord("a"), codes - ord("a") + 10, codes - ord("0"))
    good = ((values >= 0) & (values < 16)).all(axis=1)
    powers = np.uint64(1) << (np.uint64(4) * np.arange(15, -1, -1, dtype=np.uint64))
    return np.where(good, (values.astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64), 0)


def _hashes(texts: pa.ChunkedArray) -> np.ndarray:
    """Python's hash of each text, int64 [n]: the same only within this process."""
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))


def rewrite_faults(rewrites: pa.Table, pairs: pa.Table, captions: Captions | None) -> Iterator[str]:
    """Rewrites that are not their edits of the caption, repeat it, or are negatives that are not captions. `pairs`: of the partition."""
    if captions is not None:
        taken = rewrites.filter(pc.equal(rewrites["kind"].cast(pa.string()), "tfidf"))
        yield from captions.faults(taken["origin"], taken["text"])
    rows = pc.index_in(rewrites["pair_id"], value_set=pairs["pair_id"].combine_chunks())
    if rows.null_count:
        return
    own = pairs["caption"].take(rows)
    if repeated := pc.sum(pc.equal(own, rewrites["text"])).as_py():
        yield f"{repeated} rewrites repeat the caption"
    if wrong := _wrong_edits(rewrites["edits"].combine_chunks(), own.to_pylist(), rewrites["text"].to_pylist()):
        yield f"{wrong} rewrites are not their edits of the caption"


def _wrong_edits(edits: pa.ListArray, captions: list[str], texts: list[str]) -> int:
    starts, ends, words = (edits.values.field(name).to_pylist() for name in ("start", "end", "text"))
    offsets = edits.offsets.to_pylist()
    wrong = 0
    for row in np.flatnonzero(np.asarray(edits.is_valid())).tolist():
        own = [(starts[at], ends[at], words[at]) for at in range(offsets[row], offsets[row + 1])]
        try:
            wrong += apply_edits(captions[row], own) != texts[row]
        except (ValueError, TypeError):  # overlapping or missing spans
            wrong += 1
    return wrong


def graph_faults(graphs: pa.Table, pairs: pa.Table) -> Iterator[str]:
    """Nodes whose text is not what their span of the caption covers."""
    rows = pc.index_in(graphs["pair_id"], value_set=pairs["pair_id"].combine_chunks())
    if rows.null_count:
        return
    captions = pairs["caption"].take(rows).to_pylist()
    wrong = 0
    for name in ("objects", "attributes", "relations", "counts"):
        nodes = graphs[name].combine_chunks()
        texts, starts, ends = (nodes.flatten().field(part).to_pylist() for part in ("text", "start", "end"))
        lengths = pc.fill_null(pc.list_value_length(nodes), 0).to_numpy()
        of_row = np.repeat(np.arange(len(captions)), lengths).tolist()
        wrong += sum(captions[row][start:end] != text for row, text, start, end in zip(of_row, texts, starts, ends, strict=True))
    if wrong:
        yield f"{wrong} nodes of graphs are not what their spans cover"
