"""The kinds of charts of a report: lines with bands, figures with intervals, heat maps, bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from risa_ray.analytics.charts import (
    ACCENT,
    DASHES,
    INK,
    LINES,
    MUTED,
    PANEL,
    SYMBOLS,
    Chart,
    axis,
    escaped,
    layout,
    scale,
)
from risa_ray.analytics.report.data import Estimate
from risa_ray.analytics.report.words import day

# From orange over grey to blue, which colour-blind people tell apart; both ends are equally dark.
DIVERGING = ("#a04000", "#d98a4a", "#f3d3b4", "#efefec", "#b5d3ea", "#5a9bcb", "#0b5a94")
_NAMED = 16  # columns of a heat map that can have a name without tilting it
_BANDS = ("var:--band-1", "var:--band-2", "var:--band-3", "var:--band-4")

Cell = tuple[float | None, str, str]
"""Value, text in the cell, text on hover."""
Bars = tuple[str, Sequence[float | None], Sequence[bool], Sequence[str]]
"""Name, heights, whether each lacks a part and is hatched, texts on hover."""


@dataclass(frozen=True, slots=True)
class Series:
    """Figures along an axis: one per position, None where there is none; `hover` as many texts."""

    name: str
    figures: Sequence[Estimate | None]
    hover: Sequence[str]


def lines(xs: Sequence[Any], series: Sequence[Series], x: Chart, y: Chart, half_step: Any) -> Chart:
    """Each series as a line with its intervals as a band; a missing figure breaks both.

    Args:
        xs: positions that all series share.
        series: what is drawn.
        x, y: the axes, from `axis`.
        half_step: a band reaches so far to either side of its outer positions.
    """
    traces: list[Chart] = []
    for i, one in enumerate(series):
        traces += [_band(run, half_step, i) for run in _runs(xs, one.figures)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escaped(one.name),
                "x": [_plain(at) for at in xs],
                "y": [None if f is None else f.value for f in one.figures],
                "customdata": list(one.hover),
                "line": {"color": LINES[i % 4], "width": 2, "dash": DASHES[i % 4]},
                "marker": {"symbol": SYMBOLS[i % 4], "size": 6, "line": {"color": PANEL, "width": 1}},
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    return {"data": traces, "layout": _layout(len(series) > 1, x, y)}


def forest(rows: Sequence[tuple[str, Estimate, str]], x: Chart, zero: bool = False) -> Chart:
    """A line per row: its figure, and its interval as a bar.

    Args:
        rows: (name, figure, text on hover), the first at the top.
        x: the axis, from `axis`.
        zero: mark 0.
    """
    known = [(name, e, hover) for name, e, hover in rows if e.value is not None]
    values = [e.value or 0.0 for _, e, _ in known]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": list(range(len(known))),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [0 if e.high is None else e.high - v for (_, e, _), v in zip(known, values, strict=True)],
            "arrayminus": [0 if e.low is None else v - e.low for (_, e, _), v in zip(known, values, strict=True)],
            "color": ACCENT,
            "thickness": 2,
            "width": 5,
        },
        "marker": {"color": ACCENT, "size": 9, "line": {"color": PANEL, "width": 1}},
        "customdata": [hover for _, _, hover in known],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    y = axis(
        title="",
        tickvals=list(range(len(known))),
        ticktext=[escaped(name) for name, _, _ in known],
        range=[len(known) - 0.4, -0.6],
        automargin=True,
        tickfont={"color": INK, "size": 13},
    )
    marked = {"zeroline": True, "zerolinecolor": MUTED, "zerolinewidth": 1.5} if zero else {}
    drawn = layout(
        showlegend=False,
        margin={"l": 20, "r": 16, "t": 8, "b": 48},
        xaxis={"rangemode": "tozero", **x, **marked},
        yaxis=y,
    )
    return {"data": [trace], "layout": drawn}


def heat(
    xs: Sequence[str],
    ys: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    colours: Sequence[str],
    ends: tuple[float, float],
    title: str,
    ticks: dict[str, Any] | None = None,
    texts: bool = True,
) -> Chart:
    """A grid of coloured cells.

    Args:
        xs, ys: the columns' and the rows' names, the first row at the top.
        cells: rows of cells.
        colours: from low to high.
        ends: values of the first and the last colour.
        title: of the scale.
        ticks: of the scale, for plotly.
        texts: write the cells' texts into them where they fit.
    """
    bar = {
        "thickness": 10,
        "outlinewidth": 0,
        "tickfont": {"color": MUTED, "size": 12},
        "title": {"text": title, "side": "right", "font": {"color": MUTED, "size": 12}},
        **(ticks or {}),
    }
    trace = {
        "type": "heatmap",
        "x": list(range(len(xs))),
        "y": list(range(len(ys))),
        "z": [[value for value, _, _ in row] for row in cells],
        "text": [[text for _, text, _ in row] for row in cells],
        "customdata": [[hover for _, _, hover in row] for row in cells],
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": True,
        "colorscale": scale(colours),
        "zmin": ends[0],
        "zmax": ends[1],
        "xgap": 2,
        "ygap": 2,
        "colorbar": bar,
    }
    if texts:
        trace["texttemplate"] = "%{text}"
    step = -(-len(xs) // _NAMED)
    shown = range(0, len(xs), step)
    x = axis(title="", tickvals=list(shown), ticktext=[xs[i] for i in shown], showgrid=False, automargin=True)
    y = axis(
        title="",
        tickvals=list(range(len(ys))),
        ticktext=list(ys),
        range=[len(ys) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
    )
    return {
        "data": [trace],
        "layout": layout(showlegend=False, margin={"l": 20, "r": 8, "t": 8, "b": 36}, xaxis=x, yaxis=y),
    }


def bars(xs: Sequence[Any], series: Sequence[Bars], x: Chart, y: Chart) -> Chart:
    """Bars side by side.

    Args:
        xs: positions that all series share.
        series: as many bars at each position.
        x, y: the axes, from `axis`.
    """
    traces = [
        {
            "type": "bar",
            "name": escaped(name),
            "x": [_plain(at) for at in xs],
            "y": list(heights),
            "customdata": list(hover),
            "marker": {
                "color": LINES[i % 4],
                "line": {"width": 0},
                "pattern": {
                    "shape": ["/" if part else "" for part in lacking],
                    "fillmode": "overlay",
                    "fgcolor": PANEL,
                    "solidity": 0.4,
                },
            },
            "hovertemplate": "%{customdata}<extra></extra>",
        }
        for i, (name, heights, lacking, hover) in enumerate(series)
    ]
    return {"data": traces, "layout": {**_layout(len(series) > 1, x, y), "bargap": 0.25}}


def day_axis(days: Sequence[date]) -> Chart:
    """An axis of days; few of them are all named."""
    ticks: Chart = {"nticks": 8}
    if len(days) <= 10:
        ticks = {"tickvals": [d.isoformat() for d in days], "ticktext": [day(d) for d in days]}
    ends = [(days[0] - timedelta(days=1)).isoformat() + "T10:00", days[-1].isoformat() + "T14:00"]
    return axis(title="", type="date", tickformat="%-d %b", range=ends, showgrid=False, **ticks)


def hour_axis(hours: Sequence[int]) -> Chart:
    """An axis of the hours of a day."""
    low, high = (min(hours), max(hours)) if hours else (0, 23)
    step = 1 if high - low <= 12 else 3
    ticks = list(range(low, high + 1, step))
    return axis(
        title="hour of the day",
        tickvals=ticks,
        ticktext=[f"{h}:00" for h in ticks] if step > 1 else [str(h) for h in ticks],
        range=[low - 0.6, high + 0.6],
        showgrid=False,
    )


def _layout(legend: bool, x: Chart, y: Chart) -> Chart:
    named = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "itemclick": False}
    margin = {"l": 52, "r": 12, "t": 30 if legend else 10, "b": 46}
    return layout(showlegend=legend, legend=named, margin=margin, xaxis=x, yaxis=y)


def _runs(xs: Sequence[Any], figures: Sequence[Estimate | None]) -> list[list[tuple[Any, float, float]]]:
    """The intervals, cut where one is missing."""
    runs: list[list[tuple[Any, float, float]]] = [[]]
    for at, figure in zip(xs, figures, strict=True):
        if figure is None or figure.low is None or figure.high is None:
            runs.append([])
        else:
            runs[-1].append((at, figure.low, figure.high))
    return [run for run in runs if run]


def _band(run: Sequence[tuple[Any, float, float]], half_step: Any, i: int) -> Chart:
    first, last = run[0], run[-1]
    wide = [(first[0] - half_step, *first[1:]), *run, (last[0] + half_step, *last[1:])]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [_plain(at) for at, _, _ in wide] + [_plain(at) for at, _, _ in reversed(wide)],
        "y": [high for _, _, high in wide] + [low for _, low, _ in reversed(wide)],
        "fill": "toself",
        "fillcolor": _BANDS[i % 4],
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _plain(at: Any) -> Any:
    return at.isoformat() if isinstance(at, date) else at
