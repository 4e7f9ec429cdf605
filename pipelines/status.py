"""What people read of a run and of a corpus on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.plan import StageState
from pipelines.run import RunReport
from schemas.manifest import Counts, StageManifest


def print_status(states: Sequence[StageState]) -> None:
    """Prints one line a stage: its state and rows, and below it why it is not current."""
    print(f"{'stage':<20} {'state':<8} {'rows in':>10} {'out':>10} {'rejected':>9} {'excluded':>9} {'merged':>8} {'dropped':>9}")
    for state in states:
        counts = state.manifest.counts if state.manifest else Counts()
        known = state.manifest is not None
        cells = [counts.rows_in, _out(state.stage.main_table, counts), counts.rejected, counts.excluded, counts.merged, counts.dropped]
        texts = [f"{cell:,}" if known else "-" for cell in cells]
        print(f"{state.stage.name:<20} {state.state:<8} {texts[0]:>10} {texts[1]:>10} {texts[2]:>9} {texts[3]:>9} {texts[4]:>8} "
              f"{texts[5]:>9}")
        for why in state.why:
            print(f"    {why}")
        if state.state == "missing" and state.tasks_recorded:
            print(f"    {state.tasks_recorded} tasks are done and stand")
        for name, value in (state.manifest.extra if state.manifest else {}).items():
            print(f"    {name} {value}")
        for reason, count in counts.reasons.items():
            print(f"    {count:>10,}  {reason}")


def print_report(report: RunReport) -> None:
    """Prints what a run did."""
    for manifest in report.ran:
        print(_line(manifest))
    if report.skipped:
        print(f"stood: {', '.join(report.skipped)}")
    if not report.ran:
        print("nothing to do: every stage is current")
    print(f"{report.wall_s:.1f} s")


def _line(manifest: StageManifest) -> str:
    counts = manifest.counts
    out = ", ".join(f"{rows:,} {table}" for table, rows in counts.rows_out.items())
    parts = [f"{counts.rows_in:,} rows in" if counts.rows_in else "", out]
    parts += [f"{number:,} {name}" for name, number in
              (("rejected", counts.rejected), ("excluded", counts.excluded), ("merged", counts.merged), ("dropped", counts.dropped))
              if number]
    return f"{manifest.stage:<20} {manifest.ran} tasks, {manifest.wall_s:.1f} s: {'; '.join(part for part in parts if part)}"


def _out(main_table: str | None, counts: Counts) -> int:
    return counts.rows_out.get(main_table, 0) if main_table else sum(counts.rows_out.values())
