"""What the overview says: warnings in words, charts, and the stages' figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.figures import flat, shown
from pipelines.privacy import Scrubber
from pipelines.report import charts
from pipelines.report.charts import Chart
from pipelines.report.numbers import Numbers
from pipelines.report.reading import StageView
from schemas.manifest import Counts

_SHOWN = 12  # bars of a chart
_RARE = 0.25  # rewrites of a kind per caption, below which it is called rare


def words(name: str) -> str:
    """A label of the code as words."""
    return name.replace("_", " ")


def percent(part: float, whole: float) -> str:
    """A share for people."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 10 or share == round(share) else f"{share:.1f} %"


def warnings(views: Sequence[StageView], numbers: Numbers, troubles: Sequence[str], scrub: Scrubber) -> list[str]:
    """What readers of the report should know first, as sentences."""
    return [*dict.fromkeys([*_states(views, scrub), *map(scrub, troubles), *_lacking(numbers), *_rejected(views), *_short(views)])]


def doubtful(numbers: Numbers) -> str:
    """The score of negatives, and of nothing else, by which those come first that may be true of their image; "" if there is none."""
    having = {(name, polarity) for _, polarity, name in numbers.scores}
    return next((name for name in ("truth", "cosine") if (name, "negative") in having and (name, "positive") not in having), "")


def _states(views: Sequence[StageView], scrub: Scrubber) -> Iterator[str]:
    if not views:
        yield "The corpus has no stages."
    for view in views:
        if view.state != "current":
            yield f"The stage {view.name} is {view.state}: {scrub('; '.join(view.why))}."


def _lacking(numbers: Numbers) -> Iterator[str]:
    pairs = sum(numbers.positives.values())
    if not pairs:
        yield "The corpus has no pairs."
        return
    for polarity, counts in (("positive", numbers.positives), ("negative", numbers.negatives)):
        without = counts[0]
        if without and any(kind == polarity for _, kind, _, _ in numbers.rewrites):
            yield f"{percent(without, pairs)} of the captions ({without:,} of {pairs:,}) have no {polarity}."
    kinds: Counter[tuple[str, str]] = Counter()
    for (_, polarity, _, kind), count in numbers.rewrites.items():
        kinds[polarity, kind] += count
    rare = [f"{words(kind)} ({polarity}s: {count:,})" for (polarity, kind), count in sorted(kinds.items()) if count < _RARE * pairs]
    if rare:
        yield f"Rare kinds of rewrites, fewer than one for every four captions: {', '.join(rare)}."


def _rejected(views: Sequence[StageView]) -> Iterator[str]:
    known = [view for view in views if view.manifest]
    for view in known:
        counts = _counts(view)
        if counts.rejected:
            yield f"{view.name} rejected {percent(counts.rejected, counts.rows_in)} of its rows ({counts.rejected:,}); {_most(counts)}."
    dropping = max(known, key=lambda view: _counts(view).dropped, default=None)
    if dropping and _counts(dropping).dropped:
        counts = _counts(dropping)
        yield f"{dropping.name} drops the most candidates, {counts.dropped:,}; {_most(counts)}."


def _most(counts: Counts) -> str:
    reason, count = max(counts.reasons.items(), key=lambda item: (item[1], item[0]), default=("unknown", 0))
    return f"the most frequent reason is “{words(reason)}” ({count:,})"


def _short(views: Sequence[StageView]) -> Iterator[str]:
    for view in views:
        numbers = _counts(view).numbers
        if short := int(numbers.get("short_lists", 0)):
            yield f"{view.name}: {short:,} lists are shorter than asked for."
        if without := int(numbers.get("images_without_regions", 0)):
            yield f"{view.name}: {without:,} images have no regions."


def _counts(view: StageView) -> Counts:
    return view.manifest.counts if view.manifest else Counts()


def figures(view: StageView, scrub: Scrubber) -> list[tuple[str, str]]:
    """What a manifest says beyond the counts of rows: numbers, results, settings; whatever they are called."""
    if view.manifest is None:
        return []
    held = view.manifest
    found = [*held.counts.numbers.items(), *flat(held.extra), *flat({"settings": held.ingredients.get("settings")})]
    found += [("fingerprint", held.fingerprint), ("finished", held.finished), ("tasks run", held.ran)]
    return [(scrub(name), shown(value, scrub)) for name, value in found]


def charts_of(views: Sequence[StageView], numbers: Numbers) -> list[Chart]:
    """The charts that the corpus has numbers for."""
    return [*_captions(numbers), *_rewrites(views, numbers), *_images(numbers), *_retrieval(numbers), *_recall(views)]


def _captions(numbers: Numbers) -> Iterator[Chart]:
    if numbers.words.rows:
        about = f"{numbers.words.rows:,} captions; mean {numbers.words.mean:.1f} words, longest {int(numbers.words.high):,}."
        yield charts.histogram("Length of captions", about, "words", "captions", {"captions": numbers.words.bars()})
    for name, counts in (("Positives", numbers.positives), ("Negatives", numbers.negatives)):
        total, polarity = sum(value * count for value, count in counts.items()), name.lower()
        if total:
            about = f"{total:,} {polarity} of {sum(counts.values()):,} captions; {counts[0]:,} captions have none."
            yield charts.histogram(f"{name} per caption", about, polarity, "captions", {polarity: _bars_of(counts)})


def _bars_of(counts: Counter[int]) -> list[tuple[float, float, int]]:
    from pipelines.report.numbers import Histogram

    found = Histogram(1.0)
    found.bins.update(counts)
    return found.bars()


def _rewrites(views: Sequence[StageView], numbers: Numbers) -> Iterator[Chart]:
    if numbers.rewrites:
        several = len({stage for stage, _, _, _ in numbers.rewrites}) > 1
        rows = [(f"{kind} ({level}, {polarity})", count) for (_, polarity, level, kind), count in _ordered(numbers.rewrites)]
        about = f"{sum(numbers.rewrites.values()):,} rewrites{' of all stages' if several else ''}, by kind, level and polarity."
        yield charts.bars("Rewrites by kind and level", about, ("kind", "rewrites"), rows)
        rows = [(f"{words(why)} ({kind})", count) for (_, _, kind, why), count in _ordered(numbers.why)][:_SHOWN]
        yield charts.bars("Why rewrites were kept", "The most frequent reasons.", ("reason", "rewrites"), rows)
    settings = {view.name: view.manifest.ingredients.get("settings") for view in views if view.manifest}
    for (stage, polarity, name), found in sorted(numbers.scores.items()):
        held = settings.get(stage)
        cuts = _cuts(name, held if isinstance(held, Mapping) else {})
        about = f"{found.rows:,} {polarity}s of {stage}: mean {found.mean:.3f}, from {found.low:.3f} to {found.high:.3f}."
        if found.others:
            about += f" {found.others:,} are not finite."
        yield charts.histogram(f"{stage}: {words(name)}", about, words(name), f"{polarity}s", {polarity: found.bars()}, cuts)


def _cuts(score: str, settings: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The limits that a stage sets on a score: minima named after it, and TF-IDF's on cosines."""
    names = {f"min_{score}": "minimum", f"max_{score}": "maximum"}
    names |= {"ceiling": "ceiling", "floor": "floor", "margin_floor": "margin's floor"} if score == "cosine" else {}
    return [(said, float(settings[key])) for key, said in names.items() if isinstance(settings.get(key), int | float)]


def _images(numbers: Numbers) -> Iterator[Chart]:
    """Imported regions may have no confidence and no classes."""
    if numbers.boxes.rows:
        about = f"{numbers.boxes.total:,} regions of {numbers.boxes.rows:,} images; mean {numbers.boxes.mean:.1f}."
        yield charts.histogram("Regions per image", about, "regions", "images", {"images": numbers.boxes.bars()})
    if numbers.confidence.rows:
        about = f"Mean {numbers.confidence.mean:.2f}."
        yield charts.histogram("Confidence of regions", about, "confidence", "regions", {"regions": numbers.confidence.bars()})
    if numbers.classes:
        about = f"Mean {numbers.kinds.mean:.1f}, most {int(numbers.kinds.high):,}."
        yield charts.histogram("Classes per image", about, "different classes", "images", {"images": numbers.kinds.bars()})
        about = f"The {min(_SHOWN, len(numbers.classes))} most frequent of {len(numbers.classes)} classes."
        yield charts.bars("Regions by class", about, ("class", "regions"), _ordered(numbers.classes)[:_SHOWN])


def _retrieval(numbers: Numbers) -> Iterator[Chart]:
    for stage in sorted({stage for stage, _, _ in numbers.matches}):
        parts = {name: found for (own, _, name), found in sorted(numbers.matches.items()) if own == stage}
        about = "; ".join(
            f"{words(name)}: mean {found.mean:.3f}, from {found.low:.3f} to {found.high:.3f}" for name, found in parts.items()
        )
        yield charts.histogram(
            f"{stage}: scores", f"{about}.", "score", "matches", {words(name): found.bars(24) for name, found in parts.items()}
        )
    for stage, used in sorted(numbers.used_names.items()):
        rows = [(text or name, count) for name, text, count in used]
        yield charts.bars(f"{stage}: most used", "What is matched to the most queries.", ("matched", "uses"), rows)


def _recall(views: Sequence[StageView]) -> Iterator[Chart]:
    for view in views:
        held = view.manifest.extra.get("recall_by_nprobe") if view.manifest else None
        if isinstance(held, Mapping) and held:
            points = [(float(nprobe), float(recall)) for nprobe, recall in held.items()]
            about = "Of the exact search's best, the share that the index finds, by the number of lists searched."
            yield charts.lines(f"{view.name}: recall", about, "lists searched", "recall", {"recall": points})


def _ordered(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
