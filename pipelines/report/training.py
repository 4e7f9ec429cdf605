"""Charts for the folder of a training run (`log.csv`) or of an ablation (`table.csv`)."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator

from pipelines.report import charts
from pipelines.report.charts import Chart
from schemas import files
from schemas.errors import ConfigError

_POINTS = 400  # of a line, at most
_MOST_BYTES = 64 << 20


def training_charts(folder: str) -> list[Chart]:
    """Raises ConfigError when the folder holds neither file, or one that is not such a table."""
    found = [*_losses(files.join(folder, "log.csv")), *_ablation(files.join(folder, "table.csv"))]
    if not found:
        raise ConfigError(f"{folder} is not the folder of a training or an ablation: it has no log.csv or table.csv with rows")
    return found


def _rows(url: str) -> list[dict[str, str]]:
    try:
        with files.open_read(url) as file:
            text = file.read(_MOST_BYTES).decode()
        return list(csv.DictReader(text.splitlines()))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{url} is not a CSV file ({error})") from None


def _losses(url: str) -> Iterator[Chart]:
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in _rows(url):
        step = _float(row.get("step"))
        for name, value in row.items():
            number = _float(value)
            if step is not None and number is not None and name and (name == "loss" or name.startswith("loss/")):
                series[name].append((step, number))
    for name, points in series.items():
        kept = points[:: max(1, math.ceil(len(points) / _POINTS))]
        kept += [] if kept[-1] == points[-1] else [points[-1]]
        about = f"Last value {points[-1][1]:.4g}, at step {int(points[-1][0]):,}."
        yield charts.lines(f"Training: {name}", about, "step", "loss", {name: kept})


def _ablation(url: str) -> Iterator[Chart]:
    by_metric: dict[str, list[tuple[str, float, float, float]]] = defaultdict(list)
    for row in _rows(url):
        values = [_float(row.get(name)) for name in ("difference", "difference_low", "difference_high")]
        known = [100 * value for value in values if value is not None]
        if len(known) == 3 and row.get("arm") and row.get("metric"):
            by_metric[row["metric"]].append((row["arm"], *known))  # type: ignore[arg-type]
    for metric, rows in by_metric.items():
        yield charts.intervals(f"Ablation: {metric}", "Difference from the reference arm, with 95 % intervals.", "points", rows)


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
