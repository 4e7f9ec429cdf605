"""Stable ids, placement of rows, and seeded random choices.

Ids derive from content and source, never from arrival order; a row's position in the corpus is a pure function of its id; a random
choice is a pure function of (seed, stage, row id). Nothing here depends on the platform or on `PYTHONHASHSEED`.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

ID_BYTES = 10  # 80 bits: a chance of 4e-9 for one collision among 100 million rows


def content_id(*parts: str) -> str:
    """Twenty hex digits that identify `parts`.

    Each part is hashed with its length as a prefix, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = blake2b(digest_size=ID_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def image_id(source: str, key: str) -> str:
    """The id of an image, readable: its collection and its key there, e.g. `coco/139`."""
    return f"{source}/{key}"


def pair_id(image: str, caption: str) -> str:
    """The id of an image-text pair: a hash of its image's id and its (normalised) caption."""
    return content_id("pair", image, caption)


def text_id(source: str, text: str) -> str:
    """The id of a sentence of a text collection: a hash of its collection and its (normalised) text."""
    return content_id("text", source, text)


def placement(row_id: str) -> int:
    """A row's position on the line that is divided into partitions: a stable hash of its id in [0, 2**63)."""
    return int.from_bytes(blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def placements(row_ids: Iterable[str]) -> np.ndarray:
    """`placement` of each id, int64 [n]; repeated ids, such as those of an image's captions, are hashed once."""
    every = list(row_ids)
    found = {row_id: placement(row_id) for row_id in dict.fromkeys(every)}
    return np.fromiter(map(found.__getitem__, every), np.int64, len(every))


def partition_of(placed: np.ndarray, partitions: int) -> np.ndarray:
    """The partition, int32 [n], of each placement: partition p is the p-th of equal intervals of [0, 2**63).

    Intervals, unlike remainders, keep one global order of rows whatever the number of partitions: partition 0, then partition 1 and
    so on, each sorted by placement. Corpus hashes rely on that.

    Raises ValueError when `partitions` is not in [1, 2**20].
    """
    if not 1 <= partitions <= 2**20:
        raise ValueError(f"partitions must lie in [1, {2**20}], not {partitions}")
    # (placed * partitions) >> 63, computed in two halves of 32 and 31 bits, since the product does not fit into 64 bits.
    placed = np.asarray(placed, dtype=np.uint64)
    high, low = placed >> np.uint64(32), placed & np.uint64(0xFFFFFFFF)
    product = high * np.uint64(partitions) + ((low * np.uint64(partitions)) >> np.uint64(32))
    return (product >> np.uint64(31)).astype(np.int32)


def counter_rng(seed: int, stage: str, row_id: str) -> np.random.Generator:
    """A generator for the random choices of one row in one stage.

    Philox is counter-based (Salmon et al. 2011): its stream is a pure function of its key, here a hash of the arguments, so choices do
    not depend on the worker or on time.
    """
    key = int.from_bytes(blake2b(f"{seed}\0{stage}\0{row_id}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
