"""Recounts what a report says with plain pyarrow."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.corpus import open_corpus
from tests.pipelines.report.help import Report


class Charts(HTMLParser):
    """The tables of a page's charts, by title: rows of texts."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._title = ""
        self.feed(text)

    def handle_starttag(self, tag: str, _: Any) -> None:
        if tag == "figure":
            self._title = ""
        if tag in ("figure", "h3", "td", "tbody", "tr"):
            self._open.append(tag)
        if "tbody" in self._open and tag == "tr" and self._title:
            self.tables.setdefault(self._title, []).append([])
        if tag == "td" and self._title:
            self.tables[self._title][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]
        if tag == "figure":
            self._title = ""

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["h3"] and "figure" in self._open:
            self._title += data
        if "td" in self._open and self._title:
            self.tables[self._title][-1][-1] += data


class Recount:
    """A corpus as plain Arrow files."""

    def __init__(self, url: Path | str):
        self.url = Path(url)
        self.stages = sorted(name for name in os.listdir(url) if (self.url / name).is_dir())

    def table(self, stage: str, table: str, columns: list[str] | None = None) -> pa.Table | None:
        """All partitions of a table."""
        parts = sorted((self.url / stage).glob(f"{table}-*-of-*.arrow"))
        found = [pa.ipc.open_file(part).read_all() for part in parts]
        return pa.concat_tables([one.select(columns) if columns else one for one in found]) if found else None

    def rows(self, stage: str, table: str) -> int:
        """Rows of all partitions, or of the one file of a table of the whole corpus."""
        paths = [path for path in (self.url / stage).glob("*.arrow") if path.name.removesuffix(".arrow").split("-")[0] == table]
        return sum(pa.ipc.open_file(path).read_all().num_rows for path in paths)

    def every(self, table: str) -> dict[str, list[dict[str, Any]]]:
        """By stage, the rows of a table that several stages write."""
        found = {stage: self.table(stage, table) for stage in self.stages}
        return {stage: rows.to_pylist() for stage, rows in found.items() if rows is not None and rows.num_rows}


def check_counts(url: Path | str, held: Report) -> None:
    """Every count of the stages in the report is the manifest's and that of a recount."""
    corpus, index = open_corpus(str(url))
    counts, again = held.page("index.html").counts, Recount(url)
    for entry in index.stages:
        manifest, stage = corpus.manifest(entry.stage), entry.stage
        for what in ("rows_in", "rejected", "excluded", "merged", "dropped"):
            assert counts.pop(f"{stage} {what}") == getattr(manifest.counts, what)
        for table, rows in manifest.counts.rows_out.items():
            assert counts.pop(f"{stage} rows_out {table}") == rows == again.rows(stage, table), (stage, table)
        rejects = again.table(stage, "rejects", ["reason"])
        refused = Counter(rejects["reason"].to_pylist() if rejects is not None else ())
        for reason, rows in manifest.counts.reasons.items():
            assert counts.pop(f"{stage} reasons {reason}") == rows
            assert refused.get(reason, 0) in (rows, 0)  # some are only counted
    assert not counts


def check_facets(url: Path | str, held: Report) -> None:
    """The counts beside the gallery's filters, of a report that shows every pair."""
    again, meta = Recount(url), held.data("meta.js")
    pairs = again.table("pairs", "pairs").to_pylist()
    assert meta["pairs"] == meta["total"] == len(pairs)
    by_image, has = defaultdict(set), defaultdict(set)
    for pair in pairs:
        by_image[pair["image_id"]].add(pair["pair_id"])
        has["source", pair["source"]].add(pair["pair_id"])
    of = {**{pair["pair_id"]: {pair["pair_id"]} for pair in pairs}, **by_image}
    scores: dict[str, list[float]] = defaultdict(list)
    for rows in again.every("rewrites").values():
        for row in rows:
            has["kind", f"{row['polarity']}: {row['kind']}"].add(row["pair_id"])
            has["why", row["why"]].add(row["pair_id"])
            has["outcome", row["polarity"]].add(row["pair_id"])
            for score in row["scores"]:
                scores[score["name"]].append(score["value"])
    for rows in again.every("matches").values():
        for row in rows:
            has["kind", f"match: {row['modality']}"] |= of[row["query_id"]]
    for rows in again.every("rejects").values():
        for row in rows:
            if row["id"] in of:
                has["refused", row["reason"]] |= of[row["id"]]
    regions = again.table("regions", "regions")
    for row in regions.select(["image_id", "boxes"]).to_pylist() if regions is not None else ():
        if row["boxes"]:
            has["outcome", "with regions"] |= by_image[row["image_id"]]
    wanted = {key: len(ids) for key, ids in has.items()}
    for polarity in ("positive", "negative"):
        with_it = wanted.pop(("outcome", polarity), None)
        wanted |= {("outcome", f"without {polarity}s"): len(pairs) - with_it} if with_it is not None else {}
    if ("outcome", "with regions") in wanted:
        wanted["outcome", "without regions"] = len(pairs) - wanted["outcome", "with regions"]
    shown = {(group, label): count for group, label, count in meta["facets"]}
    photos = [shown.pop(("outcome", f"{way} a photo"), 0) for way in ("with", "without")]
    assert shown == {key: count for key, count in wanted.items() if count} and sum(photos) == len(pairs)
    ranges = {name: (low, high) for name, low, high in meta["scores"]}
    for name, values in scores.items():
        assert ranges[name][1] == round(max(values), 4) and round(min(values), 4) <= ranges[name][0]


def check_charts(url: Path | str, held: Report) -> None:
    """Every number of every chart of the corpus."""
    again, charts = Recount(url), Charts((held.folder / "index.html").read_text(encoding="utf-8")).tables
    captions = [row["caption"] for row in again.table("pairs", "pairs").to_pylist()]
    _bins(charts.pop("Length of captions"), [len(caption.split()) for caption in captions])
    each: dict[str, Counter[str]] = {"positive": Counter(), "negative": Counter()}
    kinds, whys, scores = Counter(), Counter(), defaultdict(list)
    for stage, rows in again.every("rewrites").items():
        for row in rows:
            each[row["polarity"]][row["pair_id"]] += 1
            kinds[stage, f"{row['kind']} ({row['level']}, {row['polarity']})"] += 1
            whys[stage, f"{row['why'].replace('_', ' ')} ({row['kind']})"] += 1
            for score in row["scores"]:
                scores[f"{stage}: {score['name'].replace('_', ' ')}"].append(score["value"])
    for polarity, counts in each.items():
        if counts:
            _bins(charts.pop(f"{polarity.capitalize()}s per caption"), [*counts.values(), *[0] * (len(captions) - len(counts))])
    if kinds:
        assert sorted(_labelled(charts.pop("Rewrites by kind and level"))) == sorted((name, count) for (_, name), count in kinds.items())
        kept = _labelled(charts.pop("Why rewrites were kept"))
        assert [count for _, count in kept] == sorted(whys.values(), reverse=True)[:12]
        assert set(kept) <= {(name, count) for (_, name), count in whys.items()}
    for title, values in scores.items():
        _bins(charts.pop(title), values)
    if (regions := again.table("regions", "regions")) is not None:
        rows = regions.select(["boxes", "confidence", "class"]).to_pylist()
        _bins(charts.pop("Regions per image"), [len(row["boxes"]) for row in rows])
        if confidence := [value for row in rows for value in row["confidence"] if value is not None]:
            _bins(charts.pop("Confidence of regions"), confidence)
        if classes := Counter(kind for row in rows for kind in row["class"] if kind is not None):
            _bins(charts.pop("Classes per image"), [len(set(row["class"]) - {None}) for row in rows])
            assert [count for _, count in _labelled(charts.pop("Regions by class"))] == sorted(classes.values(), reverse=True)[:12]
        total = sum(len(row["boxes"]) for row in rows)
        assert f"{total:,} regions of {len(rows):,} images" in held.page("index.html").text
    for stage, rows in again.every("matches").items():
        series = [row if len(row) > 3 else ["score", *row] for row in charts.pop(f"{stage}: scores")]
        for name in {row[0] for row in series}:
            values = [row[name] for row in rows if row[name] is not None]
            _bins([row[1:] for row in series if row[0] == name], values)
        used = Counter((row["partition"], row["row"]) for row in rows)
        assert [count for _, count in _labelled(charts.pop(f"{stage}: most used"))] == [count for _, count in used.most_common(10)]
    assert not [title for title in charts if not title.startswith(("Training", "Ablation"))]


def _labelled(rows: list[list[str]]) -> list[tuple[str, int]]:
    return [(label, int(count.replace(",", ""))) for label, count in rows]


def _bins(rows: list[list[str]], values: list[float]) -> None:
    """Bins of one width, a power of two, from a multiple of it: each holds as many values as the table says, and none is outside."""
    edges = [[float(text.replace(",", "")) for text in row[:2]] for row in rows]
    width = 2.0 ** round(math.log2(edges[0][1] - edges[0][0]))
    places = np.floor(np.array(values, np.float64) / width).astype(int)
    counted = Counter(places.tolist())
    wanted = [(round(start / width), int(row[2].replace(",", ""))) for (start, _), row in zip(edges, rows, strict=True)]
    assert {place: count for place, count in wanted if count} == dict(counted)
