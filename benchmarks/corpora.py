"""Corpora for benchmarks: the captions of COCO val2017, and larger ones derived from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.ids import image_id, pair_id, partition_of, placements


def coco_captions(annotations: Path) -> pa.Table:
    """The captions of a COCO annotation file: columns image (string, COCO's id) and caption, stripped.

    Raises FileNotFoundError if the file does not exist.
    """
    notes = json.loads(annotations.read_text(encoding="utf-8"))["annotations"]
    return pa.table({"image": [str(note["image_id"]) for note in notes], "caption": [note["caption"].strip() for note in notes]})


def repeat_and_perturb(captions: pa.Table, rows: int, share: float = 0.25, seed: int = 0) -> pa.Table:
    """`rows` captions: those of `captions` (image, caption) repeated, unchanged the first time.

    In every repetition each word is replaced, with probability `share`, by a word drawn from the corpus's unigram distribution,
    and images get new ids, so repetitions are neither copies nor captions of the same image. Columns: image_id, caption, pair_id.
    """
    rng = np.random.default_rng(seed)
    words = pc.utf8_split_whitespace(captions["caption"].combine_chunks())
    flat, offsets = words.flatten(), words.offsets
    images, texts = [], []
    names = captions["image"].to_pylist()
    for repetition in range(-(-rows // captions.num_rows)):
        source = np.arange(len(flat))
        if repetition:
            source = np.where(rng.random(len(flat)) < share, rng.integers(0, len(flat), len(flat)), source)
        texts.append(pc.binary_join(pa.ListArray.from_arrays(offsets, flat.take(pa.array(source))), " "))
        images += [image_id(f"coco-{repetition}", name) for name in names]
    caption = pa.concat_arrays(texts).slice(0, rows)
    ids = [pair_id(image, text) for image, text in zip(images[:rows], caption.to_pylist(), strict=True)]
    return pa.table({"image_id": images[:rows], "caption": caption, "pair_id": ids})


def partitions_of(pairs: pa.Table, partitions: int) -> list[pa.Table]:
    """Pairs (pair_id, image_id, caption) partitioned and sorted as in a corpus, without duplicates."""
    images = pairs["image_id"].combine_chunks().dictionary_encode()
    placement = placements(images.dictionary.to_pylist())[images.indices.to_numpy()]
    order = [(name, "ascending") for name in ("placement", "image_id", "pair_id")]
    table = pairs.append_column("placement", pa.array(placement)).sort_by(order)
    ids = table["pair_id"].combine_chunks()
    new = np.concatenate([[True], pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)]) if len(ids) else []
    table = table.filter(pa.array(new, pa.bool_()))
    home = partition_of(table["placement"].to_numpy(), partitions)
    cuts = np.searchsorted(home, np.arange(partitions + 1))
    return [table.slice(low, high - low).drop_columns("placement") for low, high in zip(cuts, cuts[1:], strict=False)]
