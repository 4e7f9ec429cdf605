"""Charts as inline SVG, each with its numbers as a table. Drawn by Vega-Lite without a browser or a network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError

# Colours that Vega draws with, and what the pages' style sheet calls them in either theme.
_INK, _GRID, _COLOURS = "#010101", "#020202", tuple(f"#03030{digit}" for digit in range(1, 7))
_THEME = {_INK: "var(--ink)", _GRID: "var(--line)", **{colour: f"var(--c{at})" for at, colour in enumerate(_COLOURS, 1)}}
_WIDTH, _HEIGHT = 300, 150


@dataclass(frozen=True)
class Chart:
    """A chart: its title, a sentence about it, the SVG, and its numbers (column names, rows)."""

    title: str
    about: str
    svg: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def bars(title: str, about: str, columns: tuple[str, str], rows: Sequence[tuple[str, int]]) -> Chart:
    """Horizontal bars, in the given order."""
    import altair as alt

    data = [{"label": label, "count": count} for label, count in rows]
    chart = alt.Chart(alt.Data(values=data)).mark_bar(color=_COLOURS[0]).encode(
        x=alt.X("count:Q", title=columns[1], axis=alt.Axis(tickCount=4, format="~s")),
        y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=170)),
    )  # fmt: skip
    return Chart(title, about, svg_of(chart.properties(width=_WIDTH - 110, height=alt.Step(18)), title), columns, list(rows))


def histogram(
    title: str,
    about: str,
    unit: str,
    counted: str,
    series: dict[str, list[tuple[float, float, int]]],
    cuts: Sequence[tuple[str, float]] = (),
) -> Chart:
    """Bars over bins of one width, (start, end, count), by series; `cuts`: named vertical lines."""
    import altair as alt

    rows = [(name, *bar) for name, found in series.items() for bar in found]
    data = [{"series": name, "start": start, "end": end, "count": count} for name, start, end, count in rows]
    several = len(series) > 1
    opacity = 0.6 if several else 1
    colour = (
        alt.Color("series:N", sort=None, title=None, scale=alt.Scale(range=list(_COLOURS)), legend=alt.Legend(orient="bottom", columns=2))
        if several
        else alt.value(_COLOURS[0])
    )
    layers: list[Any] = [
        alt.Chart(alt.Data(values=data))
        .mark_bar(opacity=opacity, binSpacing=0)
        .encode(
            x=alt.X("start:Q", title=unit, bin="binned", axis=alt.Axis(tickCount=5)),
            x2="end:Q",
            y=alt.Y("count:Q", title=counted, stack=None, axis=alt.Axis(tickCount=4, format="~s")),
            color=colour,
        )  # fmt: skip
    ]
    if cuts:
        lines = alt.Chart(alt.Data(values=[{"at": value, "name": name} for name, value in cuts]))
        layers += [
            lines.mark_rule(color=_INK, strokeDash=[4, 3]).encode(x="at:Q"),
            lines.mark_text(color=_INK, angle=270, align="right", dy=-5, y=2, fontSize=10).encode(x="at:Q", text="name:N"),
        ]
    columns = ("series", "from", "to", counted) if several else ("from", "to", counted)
    svg = svg_of(alt.layer(*layers).properties(width=_WIDTH - 40, height=_HEIGHT), title)
    return Chart(title, about, svg, columns, rows if several else [row[1:] for row in rows])


def lines(title: str, about: str, unit: str, measured: str, series: dict[str, list[tuple[float, float]]]) -> Chart:
    """Lines through points (x, y), by series."""
    import altair as alt

    rows = [(name, x, y) for name, points in series.items() for x, y in points]
    data = [{"series": name, "x": x, "y": y} for name, x, y in rows]
    chart = alt.Chart(alt.Data(values=data)).mark_line().encode(
        x=alt.X("x:Q", title=unit, axis=alt.Axis(tickCount=5)), y=alt.Y("y:Q", title=measured, scale=alt.Scale(zero=False)),
        color=alt.Color("series:N", sort=None, title=None, scale=alt.Scale(range=list(_COLOURS)), legend=alt.Legend(orient="bottom")),
        strokeDash=alt.StrokeDash("series:N", sort=None, legend=None),
    )  # fmt: skip
    return Chart(title, about, svg_of(chart.properties(width=_WIDTH - 40, height=_HEIGHT), title), ("series", unit, measured), rows)


def intervals(title: str, about: str, unit: str, rows: Sequence[tuple[str, float, float, float]]) -> Chart:
    """A dot and its interval in each row: (label, value, low, high)."""
    import altair as alt

    data = [{"label": label, "value": value, "low": low, "high": high} for label, value, low, high in rows]
    base = alt.Chart(alt.Data(values=data)).encode(y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=170)))
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color=_INK, strokeDash=[4, 3]).encode(x=alt.datum(0))
    parts = (
        zero,
        base.mark_rule(color=_COLOURS[0], strokeWidth=2).encode(x=alt.X("low:Q", title=unit), x2="high:Q"),
        base.mark_point(color=_COLOURS[0], filled=True, size=50).encode(x="value:Q"),
    )
    svg = svg_of(alt.layer(*parts).properties(width=_WIDTH - 110, height=alt.Step(18)), title)
    return Chart(title, about, svg, ("", "value", "low", "high"), list(rows))


def svg_of(chart: Any, title: str) -> str:
    """A chart as SVG that takes its colours from the page. Its ids are its own, since several share a page."""
    import vl_convert

    axis = {
        "labelColor": _INK,
        "titleColor": _INK,
        "gridColor": _GRID,
        "domainColor": _GRID,
        "tickColor": _GRID,
        "titleFontWeight": "normal",
    }
    spec = chart.configure(background="transparent", font="sans-serif", padding=4).configure_view(stroke=None).configure_axis(**axis)
    spec = spec.configure_legend(labelColor=_INK, labelLimit=220).to_dict(validate=False)
    spec["description"] = title
    svg = vl_convert.vegalite_to_svg(json.dumps(spec, sort_keys=True))
    for colour, name in _THEME.items():
        svg = svg.replace(colour, name)
    own = re.sub(r"[^a-z0-9]+", "-", title.lower())
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#|href="#)', rf"\1{own}-", svg)
    size = re.search(r'width="([0-9.]+)" height="([0-9.]+)"', svg)
    wide = float(size[1]) if size else _WIDTH
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_attribute(title)}" data-width="{wide:.0f}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def check_packages() -> None:
    """Raises ConfigError, naming the package and the extra, when the report's packages are not installed."""
    try:
        import altair  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"the report requires the package {error.name}: run `pip install 'cmcl[report]'`") from None
