"""The three charts of the demo page as plotly figures."""

from __future__ import annotations

from collections.abc import Sequence

from risa_ray.analytics.charts import (
    ACCENT,
    DASHES,
    INK,
    LINES,
    MUTED,
    PANEL,
    SYMBOLS,
    Chart,
    ZoneShape,
    axis,
    counted,
    layout,
    zone_map,
)
from risa_ray.analytics.demo_data import DemoData, bucket_position, delay_quantile
from risa_ray.analytics.page import MINUS
from risa_ray.config import ZoneConfig
from risa_ray.store.schema import DELAY_EDGES_S
from risa_ray.vision.draw import EXPRESSION_COLOURS

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
                "line": {"color": LINES[i % 4], "width": 2.5, "dash": DASHES[i % 4]},
                "marker": {"symbol": SYMBOLS[i % 4], "size": 8, "line": {"color": PANEL, "width": 1.5}},
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
    drawn = layout(
        barmode="stack",
        margin={"l": 46, "r": 12, "t": 26, "b": 84},
        legend={**legend, "y": 1.0, "yanchor": "bottom"},
        legend2={**legend, "y": -0.2, "yanchor": "top", "traceorder": "normal"},
        xaxis=axis(title=f"{unit} since the start", anchor="y2", rangemode="tozero", showgrid=False),
        yaxis=axis(
            title="net sentiment",
            domain=[0.54, 1],
            range=[-1.12, 1.12],
            tickvals=[-1, 0, 1],
            ticktext=[f"{MINUS}1", "0", "+1"],
            zeroline=True,
            zerolinecolor=MUTED,
        ),
        yaxis2=axis(title="expressions", domain=[0, 0.42], range=[0, 1], tickvals=[0, 0.5, 1], tickformat=".0%"),
    )
    return {"data": traces, "layout": drawn}


def zone_chart(data: DemoData, zones: Sequence[ZoneConfig], aspect: float) -> Chart:
    """Zones of one camera, coloured by the mean length of a stay.

    Args:
        data: of the page.
        zones: polygons in relative coordinates; staff and mask zones are left out.
        aspect: width by height of the camera's picture.
    """
    shapes = []
    for zone in zones:
        dwell = data.dwell.get(zone.id)
        note = f"<b>{dwell.mean_s:.1f} s</b><br>{counted(dwell.stays, 'stay')}" if dwell else "no stay"
        if not zone.hidden:
            shapes.append(ZoneShape(zone.name or zone.id, zone.polygon, dwell.mean_s if dwell else None, note))
    return zone_map(shapes, aspect)


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
    drawn = layout(
        showlegend=False,
        bargap=0.06,
        margin={"l": 46, "r": 12, "t": 40, "b": 52},
        shapes=shapes,
        annotations=notes,
        xaxis=axis(title="delay, seconds", tickvals=edges, ticktext=ticks, range=[first, last + 1], showgrid=False),
        yaxis=axis(title="frames", rangemode="tozero", nticks=5),
    )
    return {"data": [bars], "layout": drawn}


def seconds(value: float) -> str:
    """A delay for people to read."""
    return f"{value:.2f} s" if value <= DELAY_EDGES_S[-1] else f"over {DELAY_EDGES_S[-1]:g} s"


def _edge(bucket: int) -> str:
    return f"{DELAY_EDGES_S[bucket - 1]:g}" if bucket else "0"


def _bucket(bucket: int) -> str:
    return (
        f"{_edge(bucket)} to {DELAY_EDGES_S[bucket]:g} s" if bucket < len(DELAY_EDGES_S) else f"over {_edge(bucket)} s"
    )
