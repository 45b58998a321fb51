"""The report: its figures are the views', its words say what is missing, and it opens anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pages import CHROMIUM, Page, assert_self_contained, charts, dump_dom
from simulated import FIRST, LAST, STAFF

from risa_ray.analytics import open_dataset
from risa_ray.analytics.moods import net_sentiment_interval
from risa_ray.analytics.report.data import PAGE_COLUMNS, ReportData, read_report
from risa_ray.analytics.report.page import build_report, report_sections
from risa_ray.analytics.report.period import Period, choose_period, gather
from risa_ray.analytics.report.scope import open_calendar, open_scope
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES


@dataclass
class Report:
    """A page with what it was made from."""

    connection: duckdb.DuckDBPyConnection
    data: ReportData
    html: str
    page: Page

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.page.texts).split())

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()


def made(data: str, out: Path, raw: bool = False, store: str = "sim001") -> Report:
    with open_calendar(data) as calendar:
        period = choose_period(calendar, store)
    connection = open_scope(data, period, raw)
    found = read_report(connection, period)
    build_report(found, out)
    html = out.read_text(encoding="utf-8")
    return Report(connection, found, html, Page(html))


@pytest.fixture(scope="module")
def report(busy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    found = made(busy, tmp_path_factory.mktemp("page") / "report.html")
    yield found
    found.connection.close()


@pytest.fixture(scope="module")
def sparse(quiet: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(quiet, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def raw(quiet: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(quiet, tmp_path_factory.mktemp("page") / "report.html", raw=True)


def test_it_loads_nothing_from_anywhere_and_is_small(report: Report) -> None:
    assert_self_contained(report.page)
    assert len(report.html.encode()) <= 6_000_000
    assert sum("plotly.js v" in script for script in report.page.scripts) == 1


def test_every_section_has_words_and_every_chart_a_description(report: Report) -> None:
    titles = [section.title for section in report_sections(report.data)]
    assert titles[:5] == ["Mood over time", "Where people stayed", "Footfall", "Queue and waits", "Products"]
    assert titles[5:8] == ["Service interactions", "Content", "Next products"]
    assert titles[8:] == ["Along the way", "Coverage and cameras"]
    assert len(report.page.all("section")) == len(titles)
    plots = {d["id"]: d for d in report.page.all("div") if d.get("class") == "plot"}
    assert set(plots) == set(charts(report.html))
    assert len(plots) >= 15
    ids = [attributes["id"] for _, attributes in report.page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(d["role"] == "img" and len(d["aria-label"] or "") > 30 for d in plots.values())
    assert len(report.page.all("figure")) == len(report.page.all("figcaption")) == len(plots)
    assert {anchor["href"] for anchor in report.page.all("a")} == {f"#{s['id']}" for s in report.page.all("section")}


def test_plotly_understands_the_charts_and_knows_their_colours(report: Report) -> None:
    used = set(re.findall(r"var:(--[a-z0-9-]+)", report.html))
    assert used
    for name in used:
        assert re.search(rf"{name}:", report.html), name
    plain = re.sub(r"var:--[a-z0-9-]+", "#123456", json.dumps(charts(report.html)))
    for chart in json.loads(plain).values():
        go.Figure(chart)


def test_simulated_people_are_called_simulated(report: Report) -> None:
    notes = [p for p in report.page.all("p") if p.get("class") == "banner" and p.get("role") == "note"]
    assert len(notes) == 1
    assert "the people in these figures are invented" in report.text


def test_what_the_intervals_cover_is_said_once(report: Report) -> None:
    assert report.text.count("covers sampling, not the model's error") == 1
    assert "at least 10 people" in report.text


def test_the_default_period_is_all_there_is(report: Report) -> None:
    assert report.data.period == Period("sim001", FIRST, LAST)
    assert "Sat 14 November 2026 to Sun 15 November 2026" in report.text


def test_mood_adds_up_the_cells_that_are_shown(report: Report) -> None:
    zones = report.ask(
        "SELECT camera_id, zone_id, hour_local::DATE, sum(positive), sum(negative), sum(with_mood) FROM report.mood"
        " WHERE status = 'ok' GROUP BY ALL"
    )
    assert {day for _, _, day, *_ in zones} == {FIRST, LAST}
    for day, found in report.data.mood_days.items():
        here = [row for row in zones if row[2] == day]
        positive, negative, total = (sum(row[i] for row in here) for i in (3, 4, 5))
        people = sum(max(row[5] for row in here if row[0] == camera) for camera in {row[0] for row in here})
        assert found.value == pytest.approx((positive - negative) / total)
        assert found.n == people < total
        # The interval is no narrower than one that takes nobody twice.
        assert found.low is not None
        assert found.high is not None
        wide = net_sentiment_interval(round(positive * people / total), round(negative * people / total), people)
        assert wide is not None
        assert (found.low, found.high) == pytest.approx(wide, abs=0.01)
    assert f"net sentiment {report.data.mood.value:+.2f}" in report.text.replace("\N{MINUS SIGN}", "-")


def test_a_zone_has_the_interval_of_its_counts(report: Report) -> None:
    row = next(r for r in report.data.zones if r["zone_id"] == "queue")
    positive, negative, total = report.ask(
        "SELECT sum(positive), sum(negative), sum(with_mood) FROM report.mood WHERE zone_id = 'queue' AND status = 'ok'"
    )[0]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(net_sentiment_interval(positive, negative, total))
    assert row["n"] == total


def test_footfall_is_the_views_by_camera(report: Report) -> None:
    wanted = report.ask("SELECT sum(footfall) FROM report.footfall WHERE status = 'ok'")[0][0]
    assert [(r["camera_id"], r["footfall"]) for r in report.data.footfall_cameras] == [("sim001-door", wanted)]
    assert sum(r["footfall"] for r in report.data.footfall_days) == wanted
    assert f"{wanted:,} people came in" in report.text
    split = report.ask("SELECT sum(suspected) / sum(tracks) FROM report.track_splits WHERE camera_id LIKE '%door'")
    assert report.data.footfall_cameras[0]["split_share"] == pytest.approx(split[0][0])
    assert "lost in the entrance is not counted" in report.text


def test_the_service_level_of_one_hour_is_the_views(busy: str) -> None:
    period = Period("sim002", FIRST, FIRST)
    connection = open_scope(busy, period)
    data = read_report(connection, period)
    wanted = {
        row[0]: pytest.approx(row[1:])
        for row in connection.execute(
            "SELECT hour(hour_local), service_level, service_level_low, service_level_high FROM report.operations"
            " WHERE status = 'ok' AND service_level IS NOT NULL"
        ).fetchall()
    }
    found = {
        r["hour"]: (r["service_level"], r["service_level_low"], r["service_level_high"])
        for r in data.queue_hours
        if r["service_level"] is not None
    }
    assert len(wanted) >= 8
    assert found == wanted


def test_the_mood_gain_of_all_days_is_that_of_all_people(raw: Report) -> None:
    wanted = raw.ask(
        """
        WITH here AS (
            SELECT zone_id, session_id, track_id, sum(known) AS known, sum(known_s) AS known_s,
                sum(valence_sum) AS valence_sum
            FROM stays WHERE zone_kind = 'product' GROUP BY ALL
        ), gained AS (
            SELECT zone_id, h.valence_sum / h.known_s
                - (t.valence_sum - h.valence_sum) / (t.known_s - h.known_s) AS gain
            FROM here h JOIN tracks t USING (session_id, track_id) WHERE h.known >= 3 AND t.known - h.known >= 3
        )
        SELECT zone_id, count(*), avg(gain), avg(gain) - mean_half(stddev_samp(gain), count(*))
        FROM gained GROUP BY zone_id HAVING count(*) > 1
        """
    )
    found = {r["zone_id"]: (r["gain_n"], r["gain"], r["gain_low"]) for r in raw.data.products}
    assert len(wanted) >= 2
    for zone, *figures in wanted:
        assert found[zone] == pytest.approx(tuple(figures)), zone


def test_products_are_ranked_by_people_engaged(report: Report) -> None:
    engaged = [r["engaged"] for r in report.data.products]
    assert engaged == sorted(engaged, reverse=True)
    total = report.ask("SELECT sum(engaged), sum(tracks) FROM report.product_engagement WHERE zone_id = 'coffee'")[0]
    coffee = next(r for r in report.data.products if r["zone_id"] == "coffee")
    assert (coffee["engaged"], coffee["n"]) == total


def test_coverage_counts_the_hours_that_the_store_was_watched(report: Report) -> None:
    rows = report.ask(
        "SELECT camera_id, hour_local::DATE, sum(coverage), count(*) FROM report.camera_hour GROUP BY ALL"
    )
    hours = {day: max(row[3] for row in rows if row[1] == day) for day in (FIRST, LAST)}
    wanted = {(row[0], row[1]): pytest.approx(row[2] / hours[row[1]]) for row in rows}
    assert {(r["camera_id"], r["day"]): r["coverage"] for r in report.data.coverage} == wanted
    down = report.ask("SELECT 10 * count(*) FROM frames WHERE store_id = 'sim001' AND read = 0")[0][0]
    assert sum(r["down_s"] for r in report.data.health) == down


def test_staff_zones_are_outlined_without_a_figure(report: Report) -> None:
    labels = [note["text"] for note in charts(report.html)["zones-0"]["layout"]["annotations"]]  # type: ignore[index]
    assert "Staff &amp; &lt;only&gt;<br>not analysed" in labels
    assert all(r["zone_id"] != "staff-only" for r in report.data.zones)
    assert STAFF not in report.html


def test_cells_below_the_floor_are_named_and_never_zero(sparse: Report) -> None:
    assert sparse.data.mood.value is None
    assert "Empty: no hour of any zone has a mood to show." in sparse.text
    assert "fewer than 10 people" in sparse.text
    assert "Empty: no hour can be shown." in sparse.text
    assert "net sentiment none" in sparse.text
    assert "footfall none no hour to show" in sparse.text
    assert not re.search(r"net sentiment [+]0[.]00", sparse.text)
    assert sparse.data.coverage
    assert sparse.text.count("Empty:") >= 5


def test_raw_says_so_and_shows_small_groups(raw: Report) -> None:
    assert raw.data.mood.value is not None
    assert "this page can tell about single people" in raw.text
    assert "fewer than" not in raw.text


def test_a_camera_without_zones_says_what_is_missing(tmp_path: Path) -> None:
    common = {"store_id": "007", "camera_id": "cam", "date": FIRST, "valid_from": datetime(2026, 11, 1, tzinfo=UTC)}
    start = datetime(2026, 11, 14, 12, tzinfo=UTC)
    frames = {**common, "session_id": "s", "window_start": start, "window_s": 10.0, "read": 9, "analysed": 9}
    for name, row in (("frames", frames), ("stores", {**common, "name": "<b>Shop</b>", "timezone": "UTC"})):
        partitions = PARTITION_COLUMNS if name in PARTITIONED else None
        write_deltalake(tmp_path / name, pa.Table.from_pylist([row], schema=TABLES[name]), partition_by=partitions)
    found = made(str(tmp_path), tmp_path / "report.html", store="007")
    notes = {section.id: section.note for section in report_sections(found.data)}
    assert notes["mood"].startswith("Empty: no zone is drawn on any camera")
    assert notes["footfall"] == "Empty: no entrance zone is drawn on any camera."
    assert notes["service"] == "Empty: no service zone is drawn on any camera."
    assert notes["content"] == "Empty: no screen is drawn on any camera."
    assert "<b>Shop</b>" in found.text
    assert "invented" not in found.text
    assert list(charts(found.html)) == ["coverage"]


def test_the_scope_of_a_report_changes_no_figure(busy: str) -> None:
    period = Period("sim001", LAST, LAST)
    scopes = [open_dataset(busy), open_scope(busy, period)]
    for view, columns in PAGE_COLUMNS.items():
        rows = []
        for connection in scopes:
            gather(connection, period, {view: columns})
            rows.append(connection.execute(f"FROM report.{view} ORDER BY ALL").fetchall())
        assert rows[0], view
        for whole, scoped in zip(*rows, strict=True):
            for a, b in zip(whole, scoped, strict=True):
                assert a == (pytest.approx(b) if isinstance(b, float) else b), view


def test_no_clear_winner_is_said(raw: Report) -> None:
    verdicts = {r["attention_verdict"] for r in raw.data.content} | {r["valence_verdict"] for r in raw.data.content}
    assert ("no clear winner" in raw.text) == ("no clear winner" in verdicts)


@CHROMIUM
@pytest.mark.timeout(120)
@pytest.mark.parametrize("size", ["1280,1000", "500,900"])
def test_a_browser_draws_every_chart_and_fits_the_window(report: Report, tmp_path: Path, size: str) -> None:
    probe = """<script>addEventListener("error", function (e) { window.failed = e.message; });
    setTimeout(function () {
      var plots = Array.from(document.querySelectorAll(".plot"));
      function width(plot) { var svg = plot.querySelector("svg"); return svg ? svg.clientWidth : 0; }
      function widths() { return plots.map(width); }
      var screen = widths(), over = document.documentElement.scrollWidth - innerWidth;
      dispatchEvent(new Event("beforeprint"));
      document.title = JSON.stringify([screen, widths(), over, window.failed || ""]);
    }, 1500);</script>"""
    end = report.html.rindex("</body>")
    title = re.search(r"<title>(.*?)</title>", dump_dom(report.html[:end] + probe + report.html[end:], tmp_path, size))
    assert title
    screen, paper, over, failed = json.loads(title[1])
    assert len(screen) == len(charts(report.html))
    assert all(width > 200 for width in (*screen, *paper))
    assert over <= 0
    assert not failed
