"""Reads every table once: counts what is in it, and keeps what the gallery shows of the chosen pairs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.privacy import Scrubber
from pipelines.report.numbers import Labels, Numbers, combinations, distinct, named_scores, word_counts
from pipelines.report.reading import Reader
from pipelines.report.sample import Chosen
from schemas.regions import attribute_names, class_names

_DETAILS = 12  # refused candidates shown of one reason
_SAMPLES = 5  # rejects shown on the overview, of each reason
_REWRITE = ("pair_id", "text", "polarity", "level", "kind", "edits", "origin", "scores", "why")
_MATCH = ("query_id", "modality", "matched_id", "rank", "score", "visual", "objects", "text", "partition", "row")
_OWN_WAYS = frozenset({"pairs", "images", "rewrites", "matches", "graphs", "regions", "rejects", "examples"})


class Facets:
    """Which pairs have which property, as bits, and each pair's highest value of each score."""

    def __init__(self, pairs: int):
        self._pairs = pairs
        self.bits: dict[tuple[str, str], np.ndarray] = {}
        self.scores: dict[str, np.ndarray] = {}

    def mark(self, group: str, label: str, pairs: np.ndarray) -> None:
        """Notes that pairs, int [n], have a property."""
        self.bits.setdefault((group, label), np.zeros(self._pairs, bool))[pairs] = True

    def score(self, name: str, pairs: np.ndarray, values: np.ndarray) -> None:
        """Notes scores, float [n], of pairs, int [n]."""
        held = self.scores.setdefault(name, np.full(self._pairs, -np.inf))
        np.maximum.at(held, pairs, np.where(np.isfinite(values), values, -np.inf))


class Gathered:
    """What the gallery shows, as JSON text by pair and slot, and by image and slot; numbers; facets."""

    def __init__(self, chosen: Chosen):
        self.numbers = Numbers()
        self.facets = Facets(len(chosen.ids))
        self.pairs: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.images: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.photos: dict[int, dict[str, Any]] = {}  # by image number: location and size, as in `images`
        self.class_names: list[str] = []
        self.attribute_names: list[str] = []
        self.matched: dict[str, int] = {}  # ids of matched images, by number


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


class Gatherer:
    """Gathers one partition after another."""

    def __init__(self, reader: Reader, chosen: Chosen, scrub: Scrubber):
        self._reader, self._chosen, self._scrub = reader, chosen, scrub
        self.found = Gathered(chosen)
        self._by_id = {one: number for number, one in enumerate(chosen.ids)}
        self._images = {one: number for number, one in enumerate(chosen.image_ids)}
        images = np.array(chosen.images, np.int64)
        self._by_image = np.argsort(images, kind="stable")
        self._image_starts = np.searchsorted(images[self._by_image], np.arange(len(chosen.image_ids) + 1))

    def partition(self, partition: int) -> None:
        """Reads one partition of every table."""
        self._pairs(partition)
        for view in self._reader.views.values():
            if view.manifest is None or view.entry.corpus_wide:
                continue
            for table in view.entry.tables:
                gather = self._ways.get(table)
                if gather and (view.entry.hashed or table in ("rewrites", "matches")):
                    gather(view.name, partition)
                elif table in view.entry.hashed and table not in _OWN_WAYS:
                    self._plain(view.name, table, partition)
            self._rejects(view.name, partition)

    @property
    def _ways(self) -> dict[str, Callable[[str, int], None]]:
        return {"rewrites": self._rewrites, "matches": self._matches, "graphs": self._graphs, "regions": self._regions,
                "images": self._photos}  # fmt: skip

    def _pairs(self, partition: int) -> None:
        """Counts pairs, and sets up the lookup of this partition's pairs by id."""
        found, kept = self.found.numbers, []
        for batch in self._reader.batches("pairs", "pairs", partition, ["pair_id", "caption", "source"]):
            found.words.add(word_counts(batch["caption"]))
            found.rows["pairs", "pairs"] += len(batch)
            for source, count in zip(*(part.to_pylist() for part in pc.value_counts(batch["source"]).flatten()), strict=True):
                found.sources[source] += count
            kept.append(batch["pair_id"])
        self._pair_ids = pa.concat_arrays(kept) if kept else pa.array([], pa.string())
        rows = self._chosen.rows[partition]
        self._numbers = np.full(len(self._pair_ids) + 1, -1, np.int64)
        self._numbers[rows] = self._chosen.starts[partition] + np.arange(len(rows))
        numbers = self._numbers[rows]
        by_source = Labels.of(pa.array([self._chosen.sources[number] for number in numbers.tolist()], pa.string()))
        for code, source in enumerate(by_source.names[:-1]):
            self.found.facets.mark("source", source, numbers[by_source.codes == code])
        self._positives = np.zeros(len(self._pair_ids) + 1, np.int64)
        self._negatives = np.zeros(len(self._pair_ids) + 1, np.int64)

    def end_partition(self) -> None:
        """Counts pairs by their numbers of positives and negatives."""
        for held, counts in ((self._positives, self.found.numbers.positives), (self._negatives, self.found.numbers.negatives)):
            for value, count in zip(*np.unique(held[:-1], return_counts=True), strict=True):
                counts[int(value)] += int(count)

    def _rows_of(self, pair_ids: pa.Array) -> np.ndarray:
        """The row of each pair in this partition, int64 [n]; the last for ids that are not in it."""
        return (
            pc.index_in(pair_ids, value_set=self._pair_ids).fill_null(len(self._pair_ids)).to_numpy(zero_copy_only=False).astype(np.int64)
        )

    def _rewrites(self, stage: str, partition: int) -> None:
        groups: dict[int, dict[tuple[str, str, str], list[list[Any]]]] = defaultdict(lambda: defaultdict(list))
        found, facets = self.found.numbers, self.found.facets
        for batch in self._reader.batches(stage, "rewrites", partition):
            count, names = len(batch), batch.schema.names
            found.rows[stage, "rewrites"] += count
            label = {
                name: Labels.of(batch[name]) if name in names else Labels.same("", count) for name in ("polarity", "level", "kind", "why")
            }
            which, sets = combinations([label[name] for name in ("polarity", "level", "kind", "why")])
            rows = self._rows_of(batch["pair_id"])
            numbers = self._numbers[rows]
            for at, (polarity, level, kind, why) in enumerate(sets):
                here = which == at
                found.rewrites[stage, polarity, level, kind] += int(here.sum())
                found.why[stage, polarity, kind, why] += int(here.sum())
                target = self._positives if polarity == "positive" else self._negatives
                np.add.at(target, rows[here], 1)
                shown = numbers[here]
                facets.mark("kind", f"{polarity}: {kind}", shown[shown >= 0])
                facets.mark("why", why, shown[shown >= 0])
            polarities, values = label["polarity"], {}
            for name, own, scores in self._scores(batch):
                values[name] = own, scores
                for code, polarity in enumerate(polarities.names):
                    kept = polarities.codes[own] == code
                    if kept.any():
                        found.scores[stage, polarity, name].add(scores[kept])
                seen = numbers[own] >= 0
                facets.score(name, numbers[own][seen], scores[seen])
            self._keep_rewrites(batch, numbers, groups)
        for number, sets_of in groups.items():
            for (polarity, level, kind), members in sets_of.items():
                held = {"stage": stage, "polarity": polarity, "level": level, "kind": kind, "rows": members}
                self.found.pairs[number]["sets"].append(_text(held))

    def _scores(self, batch: pa.RecordBatch) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
        """(name, rows, values) of every score: those in `scores`, and columns of numbers that this release does not know."""
        if "scores" in batch.schema.names:
            owners, names, values = named_scores(batch["scores"])
            for code, name in enumerate(names.names):
                kept = names.codes == code
                if kept.any():
                    yield name, owners[kept], values[kept]
        for column in batch.schema:
            if column.name not in _REWRITE and pa.types.is_floating(column.type):
                values = batch[column.name].cast(pa.float64()).to_numpy(zero_copy_only=False)
                kept = np.flatnonzero(np.isfinite(values))
                yield column.name, kept, values[kept]

    def _keep_rewrites(self, batch: pa.RecordBatch, numbers: np.ndarray, groups: Any) -> None:
        shown = np.flatnonzero(numbers >= 0)
        for number, row in zip(numbers[shown].tolist(), batch.take(pa.array(shown)).to_pylist(), strict=True):
            key = tuple(row.get(name) or "" for name in ("polarity", "level", "kind"))
            origin = row.get("origin")
            other = self._by_id.get(origin, -1) if origin else -1
            same = other >= 0 and self._chosen.captions[other] == row["text"]
            scores = [[one["name"], _number(one["value"])] for one in row.get("scores") or []]
            more = [[name, self._plain_value(value)] for name, value in row.items() if name not in _REWRITE and value is not None]
            edits = [[one["start"], one["end"], one["text"]] for one in row["edits"]] if row.get("edits") else 0
            groups[number][key].append(
                [0 if same else row["text"], edits, other if same else self._scrub(origin or ""), row.get("why") or "", scores + more]
            )

    def _plain_value(self, value: Any) -> Any:
        if isinstance(value, float):
            return _number(value)
        return value if isinstance(value, bool | int) else self._scrub(str(value))

    def _matches(self, stage: str, partition: int) -> None:
        lists: dict[tuple[str, int], list[list[Any]]] = defaultdict(list)
        found, facets = self.found.numbers, self.found.facets
        for batch in self._reader.batches(stage, "matches", partition):
            found.rows[stage, "matches"] += len(batch)
            modality = Labels.of(batch["modality"])
            for column in batch.schema:
                if pa.types.is_floating(column.type):
                    values = batch[column.name].to_numpy(zero_copy_only=False)
                    for code, name in enumerate(modality.names):
                        kept = (modality.codes == code) & np.isfinite(values)
                        if kept.any():
                            found.matches[stage, name, column.name].add(values[kept])
            if {"partition", "row"} <= set(batch.schema.names):
                found.use(stage, batch["partition"].to_numpy(), batch["row"].to_numpy())
            queries = batch["query_id"].to_pylist()
            pairs = [self._by_id.get(query, -1) for query in queries]
            images = [self._images.get(query, -1) if pair < 0 else -1 for query, pair in zip(queries, pairs, strict=True)]
            shown = np.array([pair >= 0 or image >= 0 for pair, image in zip(pairs, images, strict=True)], bool)
            for at, row in zip(np.flatnonzero(shown).tolist(), batch.filter(pa.array(shown)).to_pylist(), strict=True):
                lists["pair" if pairs[at] >= 0 else "image", max(pairs[at], images[at])].append(self._match(row))
                own = np.array([pairs[at]]) if pairs[at] >= 0 else self._pairs_of(images[at])
                facets.mark("kind", f"match: {row['modality']}", own)
                facets.score(f"{row['modality']} score", own, np.full(len(own), row["score"]))
        for (what, number), rows in lists.items():
            target = self.found.pairs[number] if what == "pair" else self.found.images[number]
            target["matches"].append(_text({"stage": stage, "rows": rows}))

    def _match(self, row: dict[str, Any]) -> list[Any]:
        """[id, text or 0, number of the matched image or -1, modality, scores]"""
        image = self.found.matched.setdefault(row["matched_id"], len(self.found.matched)) if row["modality"] == "image" else -1
        scores = [[name, _number(row[name])] for name in ("score", "visual", "objects") if row.get(name) is not None]
        more = [[name, self._plain_value(value)] for name, value in row.items() if name not in _MATCH and value is not None]
        return [self._scrub(row["matched_id"]), row["text"] or 0, image, row["modality"], scores + more]

    def _pairs_of(self, image: int) -> np.ndarray:
        """The numbers of an image's pairs, int64 [n]."""
        return self._by_image[self._image_starts[image] : self._image_starts[image + 1]]

    def _graphs(self, stage: str, partition: int) -> None:
        for batch in self._reader.batches(stage, "graphs", partition):
            self.found.numbers.rows[stage, "graphs"] += len(batch)
            numbers = self._numbers[self._rows_of(batch["pair_id"])]
            shown = np.flatnonzero(numbers >= 0)
            for number, row in zip(numbers[shown].tolist(), batch.take(pa.array(shown)).to_pylist(), strict=True):
                held = {
                    "objects": [[one["start"], one["end"], one["text"], one["head"], one["count"]] for one in row["objects"]],
                    "attributes": [[one["object"], one["text"]] for one in row["attributes"]],
                    "relations": [[one["subject"], one["text"], one["object"]] for one in row["relations"]],
                }
                self.found.pairs[number]["graph"].append(_text(held))

    def _regions(self, stage: str, partition: int) -> None:
        """Boxes; features and soft labels are not read."""
        own = stage in ("regions", "region_files") or not stage.startswith("image_")
        schema = self._reader.schema(stage, "regions")
        names = (class_names(schema) if schema is not None else None) or []
        found = self.found.numbers
        attributes = (attribute_names(schema) if schema is not None else None) or []
        if own and names:
            self.found.class_names, self.found.attribute_names = names, attributes
        columns = ["image_id", "width", "height", "boxes", "confidence", "class", *(["attributes"] if attributes else [])]
        for batch in self._reader.batches(stage, "regions", partition, columns):
            found.rows[stage, "regions"] += len(batch)
            if not own:
                continue
            found.boxes.add(pc.list_value_length(batch["boxes"]).to_numpy(zero_copy_only=False))
            found.confidence.add(batch["confidence"].flatten().to_numpy(zero_copy_only=False))
            found.kinds.add(distinct(batch["class"]))
            classes = batch["class"].flatten().drop_null().to_numpy(zero_copy_only=False)
            for code, count in zip(*np.unique(classes, return_counts=True), strict=True):
                found.classes[names[code] if code < len(names) else f"class {code}"] += int(count)
            numbers = np.array([self._images.get(one, -1) for one in batch["image_id"].to_pylist()], np.int64)
            shown = np.flatnonzero(numbers >= 0)
            for number, row in zip(numbers[shown].tolist(), batch.take(pa.array(shown)).to_pylist(), strict=True):
                own_attributes = row.get("attributes") or [None] * len(row["boxes"])
                boxes = [
                    [*(round(side, 1) for side in box), _number(confidence), kind, *([] if attribute is None else [attribute])]
                    for box, confidence, kind, attribute in zip(row["boxes"], row["confidence"], row["class"], own_attributes, strict=True)
                    if np.isfinite(box).all()
                ]
                self.found.images[number]["regions"].append(_text({"w": row["width"], "h": row["height"], "boxes": boxes}))
                if boxes:
                    self.found.facets.mark("outcome", "with regions", self._pairs_of(number))

    def _photos(self, stage: str, partition: int) -> None:
        for batch in self._reader.batches(stage, "images", partition):
            self.found.numbers.rows[stage, "images"] += len(batch)
            if stage != "pairs":
                continue
            numbers = np.array([self._images.get(one, -1) for one in batch["image_id"].to_pylist()], np.int64)
            shown = np.flatnonzero(numbers >= 0)
            for number, row in zip(numbers[shown].tolist(), batch.take(pa.array(shown)).to_pylist(), strict=True):
                self.found.photos[number] = row

    def _plain(self, stage: str, table: str, partition: int) -> None:
        """Tables that the report knows nothing of: their rows about a pair, if all columns are plain values."""
        for batch in self._reader.batches(stage, table, partition):
            self.found.numbers.rows[stage, table] += len(batch)
            if "pair_id" not in batch.schema.names or any(
                pa.types.is_nested(kind) or pa.types.is_binary(kind) for kind in batch.schema.types
            ):
                continue
            numbers = self._numbers[self._rows_of(batch["pair_id"])]
            shown = np.flatnonzero(numbers >= 0)
            for number, row in zip(numbers[shown].tolist(), batch.take(pa.array(shown)).to_pylist(), strict=True):
                values = [[name, self._plain_value(value)] for name, value in row.items() if name != "pair_id" and value is not None]
                self.found.pairs[number]["facts"].append(_text([stage, table, values]))

    def _rejects(self, stage: str, partition: int) -> None:
        groups: dict[tuple[str, int], dict[str, list[Any]]] = defaultdict(dict)
        found = self.found.numbers
        for batch in self._reader.batches(stage, "rejects", partition):
            reasons = Labels.of(batch["reason"])
            for code, reason in enumerate(reasons.names):
                rows = np.flatnonzero(reasons.codes == code)
                found.rejects[stage, reason] += len(rows)
                samples = found.samples[stage, reason]
                for row in rows[: _SAMPLES - len(samples)].tolist():
                    samples.append((self._scrub(batch["id"][row].as_py()), self._scrub(batch["detail"][row].as_py())))
            ids = batch["id"].to_pylist()
            pairs = [self._by_id.get(one, -1) for one in ids]
            known = [(at, "pair", pair) for at, pair in enumerate(pairs) if pair >= 0]
            known += [(at, "image", self._images[ids[at]]) for at, pair in enumerate(pairs) if pair < 0 and ids[at] in self._images]
            details = batch["detail"]
            marked: dict[str, list[int]] = defaultdict(list)
            for at, what, number in known:
                reason = reasons.names[reasons.codes[at]]
                marked[reason] += [number] if what == "pair" else self._pairs_of(number).tolist()
                held = groups[what, number].setdefault(reason, [reason, 0, []])
                held[1] += 1
                if held[1] <= _DETAILS:
                    held[2].append(self._detail(details[at].as_py()))
            for reason, numbers in marked.items():
                self.found.facets.mark("refused", reason, np.array(numbers))
        for (what, number), by_reason in groups.items():
            target = self.found.pairs[number] if what == "pair" else self.found.images[number]
            target["refused"].append(_text([stage, list(by_reason.values())]))

    def _detail(self, detail: str) -> list[Any]:
        """[text, number of the pair that it names or -1]"""
        name, _, rest = detail.partition(" ")
        number = self._by_id.get(name, -1)
        return [self._scrub(rest if number >= 0 else detail), number]
