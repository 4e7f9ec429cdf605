"""Terminal output about runs and corpora."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.forecast import Forecast
from pipelines.plan import StageState
from pipelines.run import RunReport
from schemas.manifest import Counts, StageManifest
from schemas.text import quoted

_NOTABLE = {
    "short": "captions with fewer negatives than requested",
    "wordless": "captions without a word in the vocabulary",
    "images_rejected": "images rejected",
    "short_lists": "lists with fewer matches than requested",
    "short_by_floor": "of them because the rest is below the floor",
    "short_by_guards": "of them because of guards",
    "short_by_truth": "of them because of the judge of truth",
    "short_by_collection": "of them because the collection is smaller",
    "short_by_index": "of them because the index found no more",
}


def print_status(states: Sequence[StageState]) -> None:
    """Prints one line per stage with its state and row counts, and below it why it is not current."""
    print(f"{'stage':<20} {'state':<8} {'rows in':>10} {'out':>10} {'rejected':>9} {'excluded':>9} {'merged':>8} {'dropped':>9}")
    for state in states:
        counts = state.manifest.counts if state.manifest else Counts()
        known = state.manifest is not None
        cells = [counts.rows_in, _out(state.stage.main_table, counts), counts.rejected, counts.excluded, counts.merged, counts.dropped]
        texts = [f"{cell:,}" if known else "-" for cell in cells]
        print(
            f"{state.stage.name:<20} {state.state:<8} {texts[0]:>10} {texts[1]:>10} {texts[2]:>9} {texts[3]:>9} {texts[4]:>8} {texts[5]:>9}"
        )
        for why in state.why:
            print(f"    {why}")
        if state.state == "missing" and state.tasks_recorded:
            print(f"    {state.tasks_recorded} tasks are already complete")
        for line in _extra(state.manifest.extra if state.manifest else {}):
            print(f"    {line}")
        for reason, count in counts.reasons.items():
            print(f"    {count:>10,}  {reason}")
        for name, what in _NOTABLE.items():
            if counts.numbers.get(name):
                print(f"    {int(counts.numbers[name]):>10,}  {what}")


def _extra(extra: Mapping[str, Any]) -> Iterator[str]:
    """A manifest's extra entries, one line each; for exclusion lists, how many of their entries matched."""
    for name, value in extra.items():
        if name != "exclusions":
            yield quoted(f"{name} {value}", 1000)
            continue
        for listing, book in value.items():
            yield (
                f"exclusions {quoted(listing)}: {book['matched']:,} of {book['entries']:,} entries matched, "
                f"{book['images']:,} images left out"
            )


def print_why(states: Sequence[StageState], forecasts: Sequence[Forecast]) -> None:
    """Prints a paragraph per stage: why it is or is not up to date, what a run would do, and what the last run did."""
    for state, work in zip(states, forecasts, strict=True):
        lines = [*_reasons(state, states), *([f"rows to make: {_rows_of(work)}"] if state.must_run else [])]
        print("\n".join([f"{state.stage.name}: {state.state}", *(f"    {line}" for line in lines)]))


def print_forecast(forecasts: Sequence[Forecast], workers: int) -> None:
    """Prints the rows that a run would make, and how long they take at the speed of earlier runs."""
    print(f"{'stage':<20} {'rows to make':>24} {'seconds':>10}")
    for work in forecasts:
        print(f"{work.stage:<20} {_rows_of(work):>24} {'unknown' if work.seconds is None else f'{work.seconds:,.1f}':>10}")
    unknown = [work.stage for work in forecasts if work.seconds is None]
    total = sum(work.seconds or 0 for work in forecasts)
    named = "1 worker" if workers == 1 else f"{workers} workers"
    print(f"at most about {total / workers:,.0f} s with {named}, plus the start-up of the engines")
    if unknown:
        print(f"not included, because they have never run: {', '.join(unknown)}")


def _rows_of(work: Forecast) -> str:
    if work.rows is None:
        return "all" if work.of is None else "one table"
    return f"{work.rows:,}" if work.of is None else f"{work.rows:,} of {work.of:,}"


def _reasons(state: StageState, states: Sequence[StageState]) -> Iterator[str]:
    stage, manifest = state.stage, state.manifest
    yield from state.why
    if not state.must_run and manifest:
        yield f"settings, seed, inputs and files are unchanged since {manifest.finished}: a run leaves it alone"
    elif manifest and _own(manifest.ingredients) != _own(state.ingredients):
        yield "its own settings or code changed, so a run rebuilds all of it"
    elif stage.corpus_wide:
        yield "a run rebuilds it, unless the content of every table it reads is unchanged"
    elif stage.inputs:
        whole = sorted({source.stage for source in stage.inputs if source.scope == "corpus"})
        own = sorted({source.stage for source in stage.inputs if source.scope == "partition"})
        if own:
            yield f"a run rebuilds the partitions whose rows in {', '.join(own)} changed"
        if whole:
            yield f"a run rebuilds all partitions if {', '.join(whole)} changed anywhere"
    else:
        yield "a run reads the sources again and rebuilds the partitions whose rows changed"
    if state.tasks_recorded:
        yield f"{state.tasks_recorded} of its tasks are already complete; those with unchanged inputs and settings are reused"
    readers = [other.stage.name for other in states if any(source.stage == stage.name for source in other.stage.inputs)]
    if readers and state.must_run:
        yield f"read by {', '.join(readers)}"
    if manifest:
        tasks = 1 if stage.corpus_wide else manifest.partitions
        yield f"its last run executed {manifest.ran} of {tasks} tasks; the others were up to date"


def _own(ingredients: Mapping[str, Any]) -> dict[str, Any]:
    """The ingredients of a stage that are part of its tasks' keys."""
    return {name: value for name, value in ingredients.items() if name not in ("inputs", "sources")}


def print_report(report: RunReport) -> None:
    """Prints a summary of a run."""
    for manifest in report.ran:
        print(_line(manifest))
        for line in _extra({"exclusions": manifest.extra.get("exclusions", {})}):
            print(f"    {line}")
    if report.leftover:
        print(f"no longer in the configuration, left alone: {', '.join(report.leftover)}")
    if report.skipped:
        print(f"up to date: {', '.join(report.skipped)}")
    if report.template:
        print("the job was written as a template; nothing has run yet")
    elif not report.ran:
        print("nothing to do: all stages are current")
    print(f"{report.wall_s:.1f} s")


def _line(manifest: StageManifest) -> str:
    counts = manifest.counts
    out = ", ".join(f"{rows:,} {table}" for table, rows in counts.rows_out.items())
    parts = [f"{counts.rows_in:,} rows in" if counts.rows_in else "", out]
    if counts.rows_in and manifest.made != counts.rows_in:
        parts.insert(1, f"{manifest.made:,} made, {counts.rows_in - manifest.made:,} reused")
    parts += [
        f"{number:,} {name}"
        for name, number in (
            ("rejected", counts.rejected),
            ("excluded", counts.excluded),
            ("merged", counts.merged),
            ("dropped", counts.dropped),
        )
        if number
    ]
    return f"{manifest.stage:<20} {manifest.ran} tasks, {manifest.wall_s:.1f} s: {'; '.join(part for part in parts if part)}"


def _out(main_table: str | None, counts: Counts) -> int:
    return counts.rows_out.get(main_table, 0) if main_table else sum(counts.rows_out.values())
