"""The demo's page: one HTML file with everything in it, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from PIL import Image

from risa_ray.analytics.demo_charts import delay_chart, mood_chart, seconds, zone_chart
from risa_ray.analytics.demo_data import DemoData, delay_quantile, read_demo_data
from risa_ray.analytics.moods import net_sentiment_interval
from risa_ray.analytics.page import signed, tile, write_page
from risa_ray.config import ZoneConfig

DEMO_NOTE = (
    "The people in this demo are invented: a public-domain portrait, moved and warped by a script. Nobody was filmed in"
    " a store, and the figures say nothing about anybody."
)
_STILL_WIDTH = 1280


def build_demo_page(
    connection: duckdb.DuckDBPyConnection,
    still: npt.NDArray[np.uint8],
    zones: Sequence[ZoneConfig],
    camera_id: str,
    out: Path,
    commands: Sequence[tuple[str, str]],
    title: str = "RISA demo",
    note: str = DEMO_NOTE,
) -> Path:
    """Write the page.

    Args:
        connection: of `open_dataset(data, raw=True)`. The page applies no k-floor: it is for people who do not exist.
        still: annotated picture, RGB uint8 (H, W, 3).
        zones: of the camera the still is from.
        camera_id: that camera.
        out: the HTML file; its folder must exist.
        title: of the browser's tab.
        note: shown above everything.
        commands: (what it does, command line) for the foot of the page.

    Returns:
        `out`.

    Raises:
        InputError: the file cannot be written.
    """
    data = read_demo_data(connection, camera_id)
    height, width = still.shape[:2]
    charts = {"mood": mood_chart(data), "zones": zone_chart(data, zones, width / height), "delay": delay_chart(data)}
    fields = {
        "title": title,
        "note": note,
        "camera": camera_id,
        "width": str(width),
        "height": str(height),
        "still_alt": f"A picture from camera {camera_id} with its zones, and a box around each face found",
        "still_caption": "Each box is a followed face with its apparent expression; shaded areas are zones.",
        "mood_caption": _mood_caption(data),
        "zones_caption": _zones_caption(data, zones),
        "delay_caption": _delay_caption(data),
    }
    markup = {
        "still": _data_url(still),
        "tiles": "\n".join(tile(*figures) for figures in _tiles(data)),
        "commands": "\n".join(
            f"<dt>{escape(what)}</dt><dd><code>{escape(line)}</code></dd>" for what, line in commands
        ),
    }
    write_page(out, Path(__file__).with_name("demo_page.html"), fields, markup, charts)
    return out


def _tiles(data: DemoData) -> list[tuple[str, str, str]]:
    positive, negative = sum(m.positive for m in data.overall), sum(m.negative for m in data.overall)
    total = sum(m.total for m in data.overall)
    p50, p95 = delay_quantile(data.delay, 0.5), delay_quantile(data.delay, 0.95)
    where = "tracks of one camera" if data.cameras == 1 else f"tracks of {data.cameras} cameras, counted apart"
    interval = net_sentiment_interval(positive, negative, total)
    net, more = "none", "nobody was readable for long enough"
    if interval is not None:
        net = signed((positive - negative) / total)
        more = f"95% interval {signed(interval[0])} to {signed(interval[1])}"
    return [
        ("people followed", f"{data.tracks:,}", where),
        ("faces read", f"{data.faces:,}", "one per face and frame"),
        ("net sentiment", net, more),
        ("p95 delay", seconds(p95) if p95 is not None else "none", f"median {seconds(p50)}" if p50 is not None else ""),
    ]


def _mood_caption(data: DemoData) -> str:
    if not data.shares:
        return "Nobody was in the pictures."
    weight: defaultdict[str, float] = defaultdict(float)
    for _, expression, share in data.shares:
        weight[expression] += share
    bins = sum(weight.values())
    most = [f"{name} {weight[name] / bins:.0%}" for name in sorted(weight, key=lambda n: -weight[n])[:3]]
    cameras = [f"{m.camera_id} {signed(m.net_sentiment)}" for m in data.overall]
    net = f"Net sentiment over the run: {', '.join(cameras)}. " if cameras else ""
    return f"{net}Most common apparent expressions: {', '.join(most)}. Bins of {data.bin_s:g} s."


def _zones_caption(data: DemoData, zones: Sequence[ZoneConfig]) -> str:
    stayed = [(data.dwell[z.id], z.name or z.id) for z in zones if z.id in data.dwell]
    if not stayed:
        return "Nobody stayed in a zone for a second or longer."
    longest, name = max(stayed, key=lambda entry: entry[0].mean_s)
    return f"Longest at {name}: {longest.mean_s:.1f} s on average. A stay lasts at least a second."


def _delay_caption(data: DemoData) -> str:
    p50, p95 = delay_quantile(data.delay, 0.5), delay_quantile(data.delay, 0.95)
    if p50 is None or p95 is None:
        return "No delay was measured."
    return f"Half of {sum(data.delay):,} frames were stored within {seconds(p50)}, 95% within {seconds(p95)}."


def _data_url(still: npt.NDArray[np.uint8]) -> str:
    picture = Image.fromarray(still)
    if picture.width > _STILL_WIDTH:
        picture = picture.resize((_STILL_WIDTH, round(picture.height * _STILL_WIDTH / picture.width)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
