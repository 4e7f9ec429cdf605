"""Shows one pair and everything derived from it, as readable text."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus, Index, StageEntry
from schemas.errors import CorpusError
from schemas.ids import partition_of, placements
from schemas.regions import attribute_names, open_regions

_SHOWN = frozenset({"pairs", "rewrites"})  # in ways of their own


def show(corpus: Corpus, index: Index, wanted: str | None, limit: int = 10) -> str:
    """Describes a pair.

    Args:
        corpus: the corpus.
        index: its `corpus.json`.
        wanted: a pair id, an image id (its first caption is shown, the others listed), part of a caption, or None: the first pair.
        limit: how many rewrites of each kind are shown.

    Raises CorpusError when nothing matches `wanted`, or the corpus has no pairs yet.
    """
    if corpus.manifest("pairs") is None:
        raise CorpusError(f"{corpus.url} has no pairs yet: run `cmcl run`")
    partition, pair, siblings = _find(corpus, wanted)
    with corpus.open("pairs", "images", partition) as file:
        images = file.read()
    image = images.filter(pc.equal(images["image_id"], pair["image_id"])).to_pylist()[0]
    lines = [f"pair    {pair['pair_id']}  ({pair['source']}, partition {partition})", f"caption {pair['caption']}"]
    size = f"{image['width']} x {image['height']} px, " if image["width"] else ""
    location = image["uri"] or "no pixels in this corpus"
    if image["offset"] is not None:
        location += f" (bytes {image['offset']} to {image['offset'] + image['length']})"
    lines.append(f"image   {image['image_id']}: {size}{location}")
    if siblings:
        lines.append("other captions of the image")
        lines += [f"  {sibling}" for sibling in siblings]
    for entry in index.stages:
        if entry.stage == "regions" and corpus.manifest("regions"):
            lines += _regions(corpus, partition, pair["image_id"], limit)
        if "rewrites" in entry.tables and corpus.manifest(entry.stage):
            lines += _rewrites(corpus, entry.stage, partition, pair["pair_id"], limit)
        if "matches" in entry.tables and corpus.manifest(entry.stage):
            lines += _matches(corpus, entry.stage, partition, pair, limit)
        lines += _figures(corpus, entry, partition, pair["pair_id"], limit)
        lines += _rejects(corpus, entry.stage, partition, pair["pair_id"], limit)
    return "\n".join(lines)


def _find(corpus: Corpus, wanted: str | None) -> tuple[int, dict[str, Any], list[str]]:
    likely = int(partition_of(placements([wanted]), corpus.partitions)[0]) if wanted else 0  # correct if it is an image id
    others = [partition for partition in range(corpus.partitions) if partition != likely]
    for exact in (True, False):
        for partition in [likely, *others]:
            with corpus.open("pairs", "pairs", partition) as file:
                pairs = file.read()
            if wanted is None:
                hits = pairs
            elif exact:
                hits = pairs.filter(pc.or_(pc.equal(pairs["pair_id"], wanted), pc.equal(pairs["image_id"], wanted)))
            else:
                hits = pairs.filter(pc.match_substring(pairs["caption"], wanted, ignore_case=True))
            if hits.num_rows:
                pair = hits.slice(0, 1).to_pylist()[0]
                same = pairs.filter(pc.equal(pairs["image_id"], pair["image_id"]))
                return partition, pair, [row["caption"] for row in same.to_pylist() if row["pair_id"] != pair["pair_id"]]
    if wanted is None:
        raise CorpusError(f"{corpus.url} has no pairs")
    raise CorpusError(f"{corpus.url}: no pair, image or caption matches {wanted!r} (image ids look like NAME/KEY)")


def _regions(corpus: Corpus, partition: int, image_id: str, limit: int) -> list[str]:
    with open_regions(corpus, "regions", partition) as file:
        rows = file.image_ids()
        if image_id not in rows:
            return ["no regions"]
        found, names, attributes = file[rows.index(image_id)], file.names, attribute_names(file.schema)
    lines = [f"regions: {len(found.boxes)}"]
    for row, box in enumerate(found.boxes[:limit]):
        corners = ", ".join(f"{side:.0f}" for side in box)
        kind = "" if found.classes is None else names[found.classes[row]] if names else f"class {found.classes[row]}"
        if found.attributes is not None and attributes:
            kind = f"{attributes[found.attributes[row]]} {kind}"
        score = "" if found.confidence is None else f" {found.confidence[row]:.2f}"
        lines.append(f"  {kind}{score}  ({corners})")
    return lines + ([f"  ... and {len(found.boxes) - limit} more"] if len(found.boxes) > limit else [])


def _rewrites(corpus: Corpus, stage: str, partition: int, pair_id: str, limit: int) -> list[str]:
    with corpus.open(stage, "rewrites", partition) as file:
        table = file.read()
    rows = table.filter(pc.equal(table["pair_id"], pair_id)).to_pylist()
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["polarity"], row["level"], row["kind"]].append(row)
    lines = []
    for (polarity, level, kind), members in groups.items():
        lines.append(f"{polarity}s, {level} level, {kind}: {len(members)}")
        for row in members[:limit]:
            scores = ", ".join(f"{score['name']} {score['value']:.3f}" for score in row["scores"])
            lines.append(f"  {textwrap.shorten(row['text'], 110)}")
            lines.append(f"      {scores}; {row['why']}; from {row['origin']}")
        if len(members) > limit:
            lines.append(f"  ... and {len(members) - limit} more")
    return lines or [f"{stage}: no rewrites"]


def _figures(corpus: Corpus, entry: StageEntry, partition: int, pair_id: str, limit: int) -> list[str]:
    """The pair's rows of other tables, those whose columns are plain values."""
    lines: list[str] = []
    for table in entry.hashed if corpus.manifest(entry.stage) and not entry.corpus_wide else ():
        with corpus.open(entry.stage, table, partition) as file:
            if table in _SHOWN or "pair_id" not in file.schema.names or any(pa.types.is_nested(kind) for kind in file.schema.types):
                continue
            found = file.read()
        for row in found.filter(pc.equal(found["pair_id"], pair_id)).to_pylist()[:limit]:
            said = (
                f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items() if name != "pair_id"
            )
            lines.append(f"{table}: {', '.join(said)}")
    return lines


def _matches(corpus: Corpus, stage: str, partition: int, pair: dict[str, Any], limit: int) -> list[str]:
    with corpus.open(stage, "matches", partition) as file:
        table = file.read()
    rows = table.filter(pc.is_in(table["query_id"], value_set=pa.array([pair["pair_id"], pair["image_id"]]))).to_pylist()
    lines = [f"{stage}: {len(rows)}"]
    for row in rows[:limit]:
        parts = "".join(f", {name} {row[name]:.3f}" for name in ("visual", "objects") if row[name] is not None)
        what = row["matched_id"] if row["text"] is None else textwrap.shorten(row["text"], 110)
        location = f"{row['matched_id']}, partition {row['partition']}, row {row['row']}"
        lines += [f"  {what}", f"      score {row['score']:.3f}{parts}; {location}"]
    return lines + ([f"  ... and {len(rows) - limit} more"] if len(rows) > limit else [])


def _rejects(corpus: Corpus, stage: str, partition: int, pair_id: str, limit: int) -> list[str]:
    manifest = corpus.manifest(stage)
    if manifest is None or not any(file.name == corpus.file_name("rejects", partition) for file in manifest.files):
        return []
    with corpus.open(stage, "rejects", partition) as file:
        table = file.read()
    rows = table.filter(pc.equal(table["id"], pa.scalar(pair_id))).to_pylist()
    if not rows:
        return []
    lines = [f"not kept by {stage}: {len(rows)}"]
    lines += [f"  {row['reason']}: {textwrap.shorten(row['detail'], 110)}" for row in rows[:limit]]
    return lines + ([f"  ... and {len(rows) - limit} more"] if len(rows) > limit else [])
