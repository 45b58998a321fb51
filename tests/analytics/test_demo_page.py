from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st
from pages import CHROMIUM, Page, assert_self_contained, charts, dump_dom

from risa_ray.analytics import open_dataset
from risa_ray.analytics.demo_data import DemoData, delay_quantile, read_demo_data
from risa_ray.analytics.demo_page import build_demo_page
from risa_ray.config import ZoneConfig
from risa_ray.errors import InputError
from risa_ray.store.schema import DELAY_EDGES_S, PARTITION_COLUMNS, PARTITIONED, TABLES
from risa_ray.vision.expressions import EXPRESSIONS

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
BUCKETS = len(DELAY_EDGES_S) + 1
COMMANDS = (("ask this dataset", "risa query --data DIR"), ("watch a camera", "risa stream shop.yaml"))
STILL = np.full((54, 96, 3), 128, np.uint8)
ZONES = (
    ZoneConfig(id="door", kind="entrance", name="Door", polygon=((0.0, 0.1), (0.25, 0.1), (0.25, 0.9), (0.0, 0.9))),
    ZoneConfig(id="shelf", kind="product", name="Tea & <coffee>", polygon=((0.35, 0.1), (0.65, 0.1), (0.5, 0.8))),
    ZoneConfig(id="desk", kind="service", polygon=((0.7, 0.2), (0.98, 0.2), (0.98, 0.9), (0.7, 0.9))),
    ZoneConfig(id="till", kind="staff", polygon=((0.7, 0.0), (0.98, 0.0), (0.98, 0.1), (0.7, 0.1))),
)


def sight(
    camera: str, track: str, seq: int, expression: str, valence: float, fps: float = 5, zone: str | None = None
) -> dict[str, object]:
    at = START + timedelta(seconds=seq / fps)
    return {
        "store_id": "007", "camera_id": camera, "session_id": f"s-{camera}", "frame_seq": seq, "face_index": 0,
        "captured_at": at, "date": at.date(), "pts": seq / fps, "track_id": f"{camera}-{track}",
        "zone_ids": [zone] if zone else [], "expression": expression, "valence": valence,
    }  # fmt: skip


def dataset(path: Path, sights: list[dict[str, object]], delay: list[int] | None = None) -> duckdb.DuckDBPyConnection:
    """A dataset of two cameras, written as tables and opened."""
    common = {"store_id": "007", "date": START.date(), "valid_from": START - timedelta(days=1)}
    cameras = [{**common, "camera_id": camera, "sampling_fps": 5.0} for camera in ("front", "side")]
    zones = [{**common, "camera_id": "front", "zone_id": z.id, "kind": z.kind, "active": True} for z in ZONES]
    frames = [
        {**common, "camera_id": c["camera_id"], "session_id": f"s-{c['camera_id']}", "window_start": START + after,
         "window_s": 10.0, "read": 50, "analysed": 50, "delay_hist": hist, "state": "live"}
        for c in cameras
        for after, hist in ((timedelta(), delay), (timedelta(seconds=10), None))
    ]  # fmt: skip
    rows = {"observations": sights, "frames": frames, "cameras": cameras, "zones": zones}
    for name, values in rows.items():
        schema = TABLES[name]
        table = pa.Table.from_pylist([{n: v.get(n) for n in schema.names} for v in values], schema=schema)
        write_deltalake(path / name, table, partition_by=PARTITION_COLUMNS if name in PARTITIONED else None)
    return open_dataset(path, raw=True)


def crowd() -> list[dict[str, object]]:
    """Two smile for 8 of 20 s, one at the shelf and then the door; a third, who comes after 8 s, looks sad."""
    sights = []
    for seq in range(100):
        smile = ("happiness", 0.8) if 20 <= seq < 60 else ("neutral", 0.0)
        zone = "shelf" if seq <= 30 else "door" if 50 <= seq <= 60 else None
        sights.append(sight("front", "a", seq, *smile, zone=zone))
        sights.append(sight("side", "a", seq, *smile, zone="door"))
        if seq >= 40:
            sad = ("sadness", -0.6) if seq % 7 else ("unknown", 0.0)
            sights.append(sight("front", "b", seq, *sad, zone="shelf" if seq <= 80 else None))
    return sights


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    delay = [0] * BUCKETS
    delay[3:6] = [50, 40, 10]
    connection = dataset(tmp_path_factory.mktemp("data"), crowd(), delay)
    out = tmp_path_factory.mktemp("page") / "demo.html"
    assert build_demo_page(connection, STILL, ZONES, "front", out, COMMANDS, note="Invented </p> people.") == out
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    assert_self_contained(page)


def test_all_four_panels_are_there_with_words_for_each(page: Page, html: str) -> None:
    assert len(page.all("figure")) == len(page.all("figcaption")) == 4
    (picture,) = page.all("img")
    assert picture["src"]
    assert picture["src"].startswith("data:image/jpeg;base64,")
    assert picture["alt"]
    plots = {d["id"]: d for d in page.all("div") if d.get("class") == "plot"}
    assert set(plots) == set(charts(html)) == {"mood", "zones", "delay"}
    assert all(d["role"] == "img" and d["aria-label"] for d in plots.values())
    assert len(page.all("header")) == len(page.all("main")) == len(page.all("footer")) == 1
    assert page.all("html")[0]["lang"] == "en"


def test_texts_are_escaped_and_the_banner_is_there(page: Page) -> None:
    text = " ".join(page.texts)
    assert "Invented </p> people." in text
    assert "Tea & <coffee>" in text
    assert "feels" in text, "it says what is not measured"


def test_plotly_is_there_once_and_understands_the_charts(page: Page, html: str) -> None:
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    plain = re.sub(r"var:--[a-z0-9-]+", "#123456", json.dumps(charts(html)))
    for chart in json.loads(plain).values():
        go.Figure(chart)


def test_every_colour_variable_is_defined(html: str) -> None:
    used = set(re.findall(r"var:(--[a-z0-9-]+)", html))
    assert used
    for name in used:
        assert re.search(rf"{name}:", html), name


def test_the_tiles(page: Page) -> None:
    text = " ".join(" ".join(page.texts).split())
    assert "people followed 3" in text
    assert "faces read 260" in text
    # Two smile most of the time (mean 0.32), one is sad.
    assert "net sentiment +0.33" in text
    assert "0.30 s" in text


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    return read_demo_data(dataset(tmp_path_factory.mktemp("data"), crowd()), "front")


def test_net_sentiment_by_bin_and_camera(data: DemoData) -> None:
    assert (data.bin_s, data.tracks, data.faces, data.cameras) == (2, 3, 260, 2)
    front = {m.at: m.net_sentiment for m in data.mood if m.camera_id == "front"}
    assert front[0.0] == 0
    assert front[4.0] == 1
    assert front[10.0] == 0, "one up, one down"
    assert front[18.0] == -0.5
    assert sorted((m.camera_id, m.positive, m.negative, m.total) for m in data.overall) == [
        ("front", 1, 1, 2),
        ("side", 1, 0, 1),
    ]


def test_shares_of_a_bin_add_up(data: DemoData) -> None:
    totals: dict[float, float] = {}
    for at, _, share in data.shares:
        totals[at] = totals.get(at, 0) + share
    assert set(totals) == {2.0 * i for i in range(10)}
    assert all(total == pytest.approx(1) for total in totals.values())
    assert {e for _, e, _ in data.shares} <= {*EXPRESSIONS, "unknown"}


def test_dwell_is_of_the_camera_shown(data: DemoData) -> None:
    dwell = {zone: (pytest.approx(d.mean_s), d.stays) for zone, d in data.dwell.items()}
    assert dwell == {"shelf": (7.0, 2), "door": (2.0, 1)}


def test_staff_zones_are_not_drawn(html: str) -> None:
    assert "till" not in json.dumps(charts(html)["zones"])


def test_an_empty_run_still_has_a_page(tmp_path: Path) -> None:
    out = build_demo_page(dataset(tmp_path / "data", []), STILL, ZONES, "front", tmp_path / "demo.html", COMMANDS)
    text = " ".join(Page(out.read_text(encoding="utf-8")).texts)
    assert "Nobody was in the pictures." in text
    assert "No delay was measured." in text


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    empty = dataset(tmp_path / "data", [])
    with pytest.raises(InputError, match="cannot be written"):
        build_demo_page(empty, STILL, ZONES, "front", tmp_path / "nowhere" / "demo.html", COMMANDS)


def test_long_runs_get_wider_bins(tmp_path: Path) -> None:
    slow = [sight("front", "a", seq, "neutral", 0.0, fps=0.05) for seq in range(40)]
    assert read_demo_data(dataset(tmp_path, slow), "front").bin_s == 30


@given(st.lists(st.integers(0, 50), min_size=BUCKETS, max_size=BUCKETS), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_of_a_histogram(delay: list[int], p: float, q: float) -> None:
    low, high = delay_quantile(delay, min(p, q)), delay_quantile(delay, max(p, q))
    if not any(delay):
        assert low is None
        return
    assert low is not None
    assert high is not None
    assert 0 <= low <= high
    ends = [*DELAY_EDGES_S, math.inf]
    used = [i for i, count in enumerate(delay) if count]
    assert high <= ends[used[-1]]
    assert low >= ([0.0, *DELAY_EDGES_S][used[0]])


@CHROMIUM
@pytest.mark.timeout(120)
def test_a_browser_draws_the_charts_and_follows_onto_paper(html: str, tmp_path: Path) -> None:
    probe = """<script>setTimeout(function () {
      var ids = ["mood", "zones", "delay"];
      function width(id) { return document.querySelector("#" + id + " svg").clientWidth; }
      function widths() { return ids.map(width); }
      var screen = widths();
      dispatchEvent(new Event("beforeprint"));
      document.title = JSON.stringify([screen, widths()]);
    }, 1000);</script>"""
    end = html.rindex("</body>")
    dumped = dump_dom(html[:end] + probe + html[end:], tmp_path)
    title = re.search(r"<title>(.*?)</title>", dumped)
    assert title
    screen, paper = json.loads(title[1])
    assert all(width > 300 for width in (*screen, *paper))
    assert screen != paper
