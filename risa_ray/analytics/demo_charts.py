"""The three charts of the demo page as plotly figures.

Plain mappings, since the page draws them itself. A colour written `var:--name` is that variable of the page's style
sheet, so that the charts follow the page into dark mode and onto paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from risa_ray.analytics.demo_data import DemoData, bucket_position, delay_quantile
from risa_ray.config import ZoneConfig
from risa_ray.store.schema import DELAY_EDGES_S
from risa_ray.vision.draw import EXPRESSION_COLOURS

Chart = dict[str, Any]

INK, MUTED, GRID, PANEL, ACCENT = "var:--ink", "var:--muted", "var:--grid", "var:--panel", "var:--accent"
MINUS = "\N{MINUS SIGN}"
_CAMERA_COLOURS = ("var:--line-1", "var:--line-2", "var:--line-3", "var:--line-4")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up")
_DASHES = ("solid", "dash", "dot", "dashdot")
# Viridis (Smith and van der Walt 2015): even steps of lightness, so that colour-blind eyes read it too.
_VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
_MINUTES_AFTER_S = 600
_DOTS_UP_TO = 40


def mood_chart(data: DemoData) -> Chart:
    """Net sentiment of each camera above, the shares of apparent expressions below, on one time axis."""
    unit, per = ("minutes", 60.0) if data.shares and data.shares[-1][0] > _MINUTES_AFTER_S else ("seconds", 1.0)
    middle = data.bin_s / 2
    traces: list[Chart] = []
    for i, camera in enumerate(sorted({m.camera_id for m in data.mood})):
        points = {m.at: m for m in data.mood if m.camera_id == camera}
        # A bin in which nobody has a mood breaks the line instead of bridging it.
        steps = round((max(points) - min(points)) / data.bin_s) + 1
        ats = [min(points) + step * data.bin_s for step in range(steps)]
        traces.append(
            {
                "type": "scatter",
                "name": camera,
                "x": [(at + middle) / per for at in ats],
                "y": [points[at].net_sentiment if at in points else None for at in ats],
                "customdata": [points[at].total if at in points else 0 for at in ats],
                "mode": "lines+markers" if steps <= _DOTS_UP_TO else "lines",
                "line": {"color": _CAMERA_COLOURS[i % 4], "width": 2.5, "dash": _DASHES[i % 4]},
                "marker": {"symbol": _SYMBOLS[i % 4], "size": 8, "line": {"color": PANEL, "width": 1.5}},
                "hovertemplate": "net sentiment %{y:+.2f}, %{customdata} people<extra>%{fullData.name}</extra>",
                "legend": "legend",
                "yaxis": "y",
            }
        )
    for expression, colour in EXPRESSION_COLOURS.items():
        shares = [(at, share) for at, name, share in data.shares if name == expression]
        if shares:
            traces.append(
                {
                    "type": "bar",
                    "name": expression,
                    "x": [(at + middle) / per for at, _ in shares],
                    "y": [share for _, share in shares],
                    "width": data.bin_s / per * 0.94,
                    "marker": {"color": colour, "line": {"width": 0}},
                    "hovertemplate": "%{y:.0%}<extra>%{fullData.name}</extra>",
                    "legend": "legend2",
                    "yaxis": "y2",
                }
            )
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "font": {"size": 12}, "itemclick": False}
    layout = _layout(
        barmode="stack",
        margin={"l": 46, "r": 12, "t": 26, "b": 84},
        legend={**legend, "y": 1.0, "yanchor": "bottom"},
        legend2={**legend, "y": -0.2, "yanchor": "top", "traceorder": "normal"},
        xaxis=_axis(title=f"{unit} since the start", anchor="y2", rangemode="tozero", showgrid=False),
        yaxis=_axis(
            title="net sentiment",
            domain=[0.54, 1],
            range=[-1.12, 1.12],
            tickvals=[-1, 0, 1],
            ticktext=[f"{MINUS}1", "0", "+1"],
            zeroline=True,
            zerolinecolor=MUTED,
        ),
        yaxis2=_axis(title="expressions", domain=[0, 0.42], range=[0, 1], tickvals=[0, 0.5, 1], tickformat=".0%"),
    )
    return {"data": traces, "layout": layout}


def zone_chart(data: DemoData, zones: Sequence[ZoneConfig], aspect: float) -> Chart:
    """Zones of one camera, coloured by the mean length of a stay.

    Args:
        data: of the page.
        zones: polygons in relative coordinates; staff and mask zones are left out.
        aspect: width by height of the camera's picture.
    """
    shown = [zone for zone in zones if zone.kind not in ("staff", "mask")]
    top = max([data.dwell[z.id].mean_s for z in shown if z.id in data.dwell], default=0.0) or 1.0
    traces: list[Chart] = []
    notes: list[Chart] = []
    for zone in shown:
        dwell = data.dwell.get(zone.id)
        corners = [*zone.polygon, zone.polygon[0]]
        fill = _VIRIDIS[round(dwell.mean_s / top * (len(_VIRIDIS) - 1))] if dwell else "rgba(128,128,128,0.12)"
        line = {"color": INK if dwell else MUTED, "width": 1, "dash": "solid" if dwell else "dot"}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "fill": "toself",
                "x": [x * aspect for x, _ in corners],
                "y": [y for _, y in corners],
                "fillcolor": fill,
                "line": line,
                "hoverinfo": "skip",
            }
        )
        what = f"<b>{dwell.mean_s:.1f} s</b><br>{_count(dwell.stays, 'stay')}" if dwell else "no stay"
        x, y = _centre(zone)
        notes.append(
            {
                "x": x * aspect,
                "y": y,
                "text": f"{_escaped(zone.name or zone.id)}<br>{what}",
                "showarrow": False,
                "bgcolor": PANEL,
                "bordercolor": GRID,
                "borderpad": 4,
                "font": {"color": INK, "size": 12},
            }
        )
    scale = [[i / (len(_VIRIDIS) - 1), colour] for i, colour in enumerate(_VIRIDIS)]
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
    marker = {"color": [0], "cmin": 0, "cmax": top, "colorscale": scale, "showscale": True, "colorbar": bar}
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
    layout = _layout(
        showlegend=False,
        margin={"l": 8, "r": 8, "t": 8, "b": 64},
        shapes=[frame],
        annotations=notes,
        xaxis={**bare, "range": [-0.01, aspect + 0.01], "constrain": "domain"},
        yaxis={**bare, "range": [1.01, -0.01], "scaleanchor": "x", "constrain": "domain"},
    )
    return {"data": traces, "layout": layout}


def delay_chart(data: DemoData) -> Chart:
    """Frames by delay, in the buckets of `delay_hist`, with the median and the 95th percentile marked."""
    used = [i for i, count in enumerate(data.delay) if count] or [0]
    first, last = max(used[0] - 1, 0), min(used[-1] + 1, len(DELAY_EDGES_S))
    buckets = list(range(first, last + 1))
    bars = {
        "type": "bar",
        "x": [i + 0.5 for i in buckets],
        "y": [data.delay[i] for i in buckets],
        "customdata": [_bucket(i) for i in buckets],
        "marker": {"color": ACCENT, "line": {"width": 0}},
        "hovertemplate": "%{y} frames within %{customdata}<extra></extra>",
    }
    shapes: list[Chart] = []
    notes: list[Chart] = []
    for q, name, height, anchor in ((0.5, "median", 1.14, "right"), (0.95, "p95", 1.14, "left")):
        x, value = bucket_position(data.delay, q), delay_quantile(data.delay, q)
        if x is None or value is None:
            continue
        line = {"color": INK, "width": 1.5, "dash": "dash" if q > 0.5 else "solid"}
        shapes.append({"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1.06, "yref": "y domain", "line": line})
        note = {"x": x, "y": height, "yref": "y domain", "yanchor": "top", "xanchor": anchor, "showarrow": False}
        notes.append({**note, "text": f" <b>{name}</b> {seconds(value)} ", "font": {"color": INK, "size": 12}})
    edges = list(range(first, last + 1))
    ticks = [_edge(i) for i in edges]
    layout = _layout(
        showlegend=False,
        bargap=0.06,
        margin={"l": 46, "r": 12, "t": 40, "b": 52},
        shapes=shapes,
        annotations=notes,
        xaxis=_axis(title="delay, seconds", tickvals=edges, ticktext=ticks, range=[first, last + 1], showgrid=False),
        yaxis=_axis(title="frames", rangemode="tozero", nticks=5),
    )
    return {"data": [bars], "layout": layout}


def seconds(value: float) -> str:
    """A delay for people to read."""
    return f"{value:.2f} s" if value <= DELAY_EDGES_S[-1] else f"over {DELAY_EDGES_S[-1]:g} s"


def _layout(**layout: Any) -> Chart:
    clear = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    hover = {"bgcolor": PANEL, "bordercolor": GRID, "font": {"color": INK}}
    font = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK}
    # Without a drag mode a finger on a chart still scrolls the page.
    return {**clear, "font": font, "autosize": True, "dragmode": False, "hoverlabel": hover, **layout}


def _axis(title: str, **axis: Any) -> Chart:
    text = {"text": title, "standoff": 8, "font": {"size": 12, "color": MUTED}}
    ticks = {"color": MUTED, "size": 12}
    return {"title": text, "tickfont": ticks, "gridcolor": GRID, "zeroline": False, "fixedrange": True, **axis}


def _centre(zone: ZoneConfig) -> tuple[float, float]:
    """Centroid of the area."""
    points = zone.polygon
    crosses = [p[0] * q[1] - q[0] * p[1] for p, q in zip(points, (*points[1:], points[0]), strict=True)]
    area = sum(crosses) * 3
    pairs = list(zip(points, (*points[1:], points[0]), crosses, strict=True))
    return (
        sum((p[0] + q[0]) * c for p, q, c in pairs) / area,
        sum((p[1] + q[1]) * c for p, q, c in pairs) / area,
    )


def _edge(bucket: int) -> str:
    return f"{DELAY_EDGES_S[bucket - 1]:g}" if bucket else "0"


def _bucket(bucket: int) -> str:
    return (
        f"{_edge(bucket)} to {DELAY_EDGES_S[bucket]:g} s" if bucket < len(DELAY_EDGES_S) else f"over {_edge(bucket)} s"
    )


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _escaped(text: str) -> str:
    """Plotly reads a little HTML in texts."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
