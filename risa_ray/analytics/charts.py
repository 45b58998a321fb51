"""What the charts of the pages share: plotly figures as plain mappings, since the page draws them itself.

A colour written `var:--name` is that variable of the page's style sheet, so that the charts follow the page into dark
mode and onto paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Chart = dict[str, Any]
Point = tuple[float, float]

INK, MUTED, GRID, PANEL, ACCENT = "var:--ink", "var:--muted", "var:--grid", "var:--panel", "var:--accent"
LINES = ("var:--line-1", "var:--line-2", "var:--line-3", "var:--line-4")
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
DASHES = ("solid", "dash", "dot", "dashdot")
# Viridis (Smith and van der Walt 2015): even steps of lightness, so that colour-blind eyes read it too.
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")


@dataclass(frozen=True, slots=True)
class ZoneShape:
    """A zone as it is drawn: corners in relative coordinates of the picture, and what stands in it.

    Attributes:
        value: seconds that a stay lasts on average; None where there is no figure.
        note: lines of its label below the name.
        hidden: nothing of it is reported (staff, mask).
    """

    name: str
    polygon: Sequence[Point]
    value: float | None
    note: str
    hidden: bool = False


def zone_map(zones: Sequence[ZoneShape], aspect: float, top: float | None = None) -> Chart:
    """Zones over the outline of a camera's picture, coloured by the mean length of a stay.

    Args:
        zones: of one camera.
        aspect: width by height of the camera's picture.
        top: seconds of the scale's upper end; None: the longest here.
    """
    top = top or max([z.value for z in zones if z.value is not None], default=0.0) or 1.0
    traces = [_outline(zone, aspect, top) for zone in zones]
    notes = [_label(zone, aspect) for zone in zones]
    bar = {
        "orientation": "h",
        "thickness": 10,
        "len": 0.7,
        "y": -0.04,
        "yanchor": "top",
        "outlinewidth": 0,
        "nticks": 5,
        "tickfont": {"color": MUTED, "size": 12},
        "title": {"text": "mean length of a stay, seconds", "side": "bottom", "font": {"color": MUTED, "size": 12}},
    }
    # A trace without points carries the colour bar.
    marker = {"color": [0], "cmin": 0, "cmax": top, "colorscale": scale(VIRIDIS), "showscale": True, "colorbar": bar}
    traces.append(
        {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "marker": marker, "hoverinfo": "skip"}
    )
    frame = {
        "type": "rect",
        "x0": 0,
        "x1": aspect,
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"color": MUTED, "width": 1},
    }
    bare = {"visible": False, "fixedrange": True}
    drawn = layout(
        showlegend=False,
        margin={"l": 8, "r": 8, "t": 8, "b": 64},
        shapes=[frame],
        annotations=notes,
        xaxis={**bare, "range": [-0.01, aspect + 0.01], "constrain": "domain"},
        yaxis={**bare, "range": [1.01, -0.01], "scaleanchor": "x", "constrain": "domain"},
    )
    return {"data": traces, "layout": drawn}


def _outline(zone: ZoneShape, aspect: float, top: float) -> Chart:
    corners = [*zone.polygon, zone.polygon[0]]
    fill = "rgba(128,128,128,0.12)"
    if zone.value is not None:
        fill = VIRIDIS[min(round(zone.value / top * (len(VIRIDIS) - 1)), len(VIRIDIS) - 1)]
    known = zone.value is not None
    return {
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "x": [x * aspect for x, _ in corners],
        "y": [y for _, y in corners],
        "fillcolor": fill,
        "line": {"color": INK if known else MUTED, "width": 1, "dash": "solid" if known else "dot"},
        "hoverinfo": "skip",
    }


def _label(zone: ZoneShape, aspect: float) -> Chart:
    x, y = _centre(zone.polygon)
    return {
        "x": x * aspect,
        "y": y,
        "text": f"{escaped(zone.name)}<br>{zone.note}",
        "showarrow": False,
        "bgcolor": PANEL,
        "bordercolor": GRID,
        "borderpad": 4,
        "font": {"color": MUTED if zone.hidden else INK, "size": 12},
    }


def scale(colours: Sequence[str]) -> list[list[Any]]:
    """A plotly colour scale of even steps."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def layout(**more: Any) -> Chart:
    """The layout of a chart, with what all have in common."""
    clear = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    hover = {"bgcolor": PANEL, "bordercolor": GRID, "font": {"color": INK}}
    font = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK}
    # Without a drag mode a finger on a chart still scrolls the page.
    return {**clear, "font": font, "autosize": True, "dragmode": False, "hoverlabel": hover, **more}


def axis(title: str, **more: Any) -> Chart:
    """An axis with its title."""
    text = {"text": title, "standoff": 8, "font": {"size": 12, "color": MUTED}}
    ticks = {"color": MUTED, "size": 12}
    return {"title": text, "tickfont": ticks, "gridcolor": GRID, "zeroline": False, "fixedrange": True, **more}


def counted(count: int, what: str) -> str:
    """A count with its noun: 1 stay, 2 stays."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def escaped(text: str) -> str:
    """Plotly reads a little HTML in texts."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _centre(points: Sequence[Point]) -> Point:
    """Centroid of the area."""
    crosses = [p[0] * q[1] - q[0] * p[1] for p, q in zip(points, (*points[1:], points[0]), strict=True)]
    area = sum(crosses) * 3
    pairs = list(zip(points, (*points[1:], points[0]), crosses, strict=True))
    return (
        sum((p[0] + q[0]) * c for p, q, c in pairs) / area,
        sum((p[1] + q[1]) * c for p, q, c in pairs) / area,
    )
