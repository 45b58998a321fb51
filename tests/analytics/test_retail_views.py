"""The views that retailers ask for, against cases worked out by hand and SciPy's Kaplan-Meier estimate."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pytest
import scipy.stats
from oracle import World
from worlds import STARTS, connect, observe, watch

BASE = STARTS[0]
ZONES = {
    "door": "entrance", "shelf": "product", "rack": "product", "desk": "service", "line": "queue", "till": "checkout",
    "panel": "screen",
}  # fmt: skip
Spans = list[tuple[float, float, dict[str, Any]]]


def rows(connection: duckdb.DuckDBPyConnection, view: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.sql(f"FROM {view}").to_arrow_table().to_pylist()
    return found


def follow(track: str, *spans: tuple[float, float, dict[str, Any]], start: datetime = BASE) -> list[dict[str, Any]]:
    """A track with an observation a second: (from, to, columns), `to` included."""
    return [
        observe("s1", track, s, start + timedelta(seconds=s), float(s), **{"expression": "happiness", **columns})
        for first, last, columns in spans
        for s in range(int(first), int(last) + 1)
    ]


def at(zone: str, valence: float = 0.0, **columns: Any) -> dict[str, Any]:
    return {"zone_ids": [zone], "valence": valence, **columns}


def away(valence: float = 0.0) -> dict[str, Any]:
    return {"zone_ids": [], "valence": valence}


def store(
    observations: list[dict[str, Any]], k: int = 1, windows: int = 360, start: datetime = BASE, **context: Any
) -> duckdb.DuckDBPyConnection:
    """An hour of one camera with a picture a second."""
    frames = [watch("s1", start + timedelta(seconds=10 * i), windows * 10) for i in range(windows)]
    defaults: dict[str, Any] = {"zones": ZONES, "timezone": "UTC", "sampling_fps": 1.0, "size": None}
    connection = connect(World(observations, frames, **(defaults | context)), k)
    for zone, yaw in (("shelf", 20), ("panel", -10)):
        connection.execute(f"UPDATE zones SET look_yaw = {yaw} WHERE zone_id = '{zone}'")
    return connection


def test_only_who_goes_from_the_entrance_into_the_picture_comes_in() -> None:
    observations = [
        *follow("enters", (0, 3, at("door")), (4, 8, away())),
        *follow("leaves", (10, 14, away()), (15, 18, at("door"))),
        *follow("turns", (20, 24, away()), (25, 28, at("door")), (29, 32, away())),
        *follow("waits outside", (40, 44, at("door"))),
    ]
    (cell,) = rows(store(observations), "footfall")
    assert (cell["footfall"], cell["status"], cell["coverage"]) == (1, "ok", 1.0)
    (half,) = rows(store(observations, windows=180), "footfall")
    assert (half["footfall"], half["footfall_per_covered_hour"]) == (1, 2.0)
    (dark,) = rows(store(observations, windows=60), "footfall")
    assert (dark["footfall"], dark["status"]) == (None, "low_coverage")
    (none,) = rows(store(observations, zones={"shelf": "product"}), "footfall")
    assert (none["footfall"], none["status"]) == (None, "no_entrance")


def test_engaged_and_looked() -> None:
    observations = [
        *follow("passes", (0, 1, at("shelf", yaw_deg=80.0))),
        *follow("looks", (0, 5, at("shelf", yaw_deg=0.0, valence=0.6)), (6, 9, away(0.1))),
        *follow("stands", (0, 3, at("shelf", yaw_deg=60.0, valence=-0.4)), (4, 9, away(0.1))),
        *follow("unread", (0, 3, at("shelf", expression="unknown"))),
    ]
    (cell,) = rows(store(observations), "product_engagement")
    assert (cell["tracks"], cell["engaged"], cell["tracks_with_yaw"], cell["looked"]) == (4, 3, 3, 1)
    low, high = scipy.stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert (cell["engaged_share_low"], cell["engaged_share_high"]) == pytest.approx((low, high))
    assert (cell["with_mood"], cell["net_sentiment"]) == (2, 0.0)
    assert cell["dwell_s_median"] == 3.0
    half = scipy.stats.t.ppf(0.975, 1) * np.std([0.5, -0.5], ddof=1) / math.sqrt(2)
    assert cell["gain_tracks"] == 2
    assert cell["valence_gain"] == pytest.approx(0.0, abs=1e-6)
    # The series for Student's t is coarse with one degree of freedom; from k tracks on it is exact to four figures.
    assert cell["gain_high"] == pytest.approx(half, rel=0.15)


def test_the_quantile_of_students_t() -> None:
    connection = store([])
    for nu in (4, 9, 30, 1000):
        (found,) = connection.sql(f"SELECT t95({nu})").fetchall()[0]
        assert found == pytest.approx(scipy.stats.t.ppf(0.975, nu), rel=2e-3 if nu < 9 else 1e-4)


def test_waits_are_estimated_by_kaplan_meier() -> None:
    rng = np.random.default_rng(5)
    lengths, leaves = rng.integers(5, 240, 60), rng.integers(20, 400, 60)
    observations = []
    for i, (served, left) in enumerate(zip(lengths, leaves, strict=True)):
        begin = 10.0 * i
        end = begin + min(served, left)
        spans: Spans = [(begin, end - 1, at("line"))]
        if served <= left:
            spans.append((end, end + 3, at("till")))
        observations += follow(f"t{i}", *spans)
    (cell,) = rows(store(observations), "operations")
    # Who leaves unserved was last seen a second before the next picture.
    data = scipy.stats.CensoredData(
        uncensored=lengths[lengths <= leaves].astype(float), right=leaves[lengths > leaves] - 1.0
    )
    curve = scipy.stats.ecdf(data).sf
    assert (cell["waits"], cell["completed"]) == (60, int((lengths <= leaves).sum()))
    assert cell["service_level"] == pytest.approx(1 - float(curve.evaluate(180)))
    assert cell["wait_s_median"] == curve.quantiles[curve.probabilities <= 0.5][0]
    assert cell["wait_s_p95"] == curve.quantiles[curve.probabilities <= 0.05][0]
    assert cell["service_level_low"] < cell["service_level"] < cell["service_level_high"]
    assert cell["wait_s_median_low"] <= cell["wait_s_median"] <= cell["wait_s_median_high"]


def test_without_anybody_leaving_unserved_the_service_level_is_a_share() -> None:
    observations = [
        o for i in range(20)
        for o in follow(f"t{i}", (0, 100 + 10 * i - 1, at("line")), (100 + 10 * i, 105 + 10 * i, at("desk")))
    ]  # fmt: skip
    (cell,) = rows(store(observations), "operations")
    low, high = scipy.stats.binomtest(9, 20).proportion_ci(method="wilson")
    assert (cell["service_level"], cell["service_level_low"], cell["service_level_high"]) == pytest.approx(
        (9 / 20, low, high)
    )


def test_queue_length_is_weighted_by_time_over_covered_time() -> None:
    observations = [*follow("a", (0, 60, at("line"))), *follow("b", (30, 120, at("line")))]
    (full,) = rows(store(observations), "operations")
    assert full["queue_length_mean"] == pytest.approx((60 + 90) / 3600)
    assert full["queue_length_peak"] == pytest.approx((60 + 30) / 60)
    (half,) = rows(store(observations, windows=180), "operations")
    assert half["queue_length_mean"] == pytest.approx((60 + 90) / 1800)
    (few,) = rows(store(observations, k=10), "operations")
    assert few["status"] == "suppressed"
    assert {few[n] for n in few if n.startswith(("wait", "queue", "service")) or n in ("waits", "completed")} == {None}


def test_who_comes_too_late_to_the_desk_did_not_wait_for_it() -> None:
    observations = [
        *follow("quick", (0, 29, at("line")), (35, 50, at("desk"))),
        *follow("late", (0, 29, at("line")), (30, 44, away()), (45, 60, at("desk"))),
    ]
    waits = {r["track_id"]: (r["wait_s"], r["completed"]) for r in rows(store(observations), "people.waits")}
    assert waits == {"quick": (35.0, True), "late": (29.0, False)}


def test_valence_before_during_and_after_a_talk() -> None:
    full = follow("a", (0, 40, at("line", -0.5)), (41, 60, at("desk", 0.0)), (61, 90, away(0.5)))
    no_after = follow("b", (100, 140, at("line", -0.1)), (141, 160, at("desk", 0.2)), (161, 162, away(0.9)))
    short = follow("c", (200, 208, at("desk", 1.0)))
    (cell,) = rows(store([*full, *no_after, *short]), "service_interactions")
    assert (cell["tracks"], cell["interactions"], cell["waited"]) == (2, 2, 2)
    assert cell["wait_before_s_mean"] == 41
    assert cell["length_s_mean"] == 19
    assert (cell["valence_before"], cell["valence_during"], cell["valence_after"]) == pytest.approx((-0.3, 0.1, 0.5))
    assert (cell["change_during"], cell["after_share"]) == (pytest.approx(0.4), 0.5)
    assert cell["change_after"] is None, "one pair has no interval"


def test_few_people_who_talk_often_are_few_people() -> None:
    visits = [(60 * i, 60 * i + 20, at("desk", 0.1)) for i in range(4)]
    observations = [o for t in range(3) for o in follow(f"t{t}", *visits)]
    (cell,) = rows(store(observations, k=10), "service_interactions")
    assert cell["status"] == "suppressed"
    shown = {n: v for n, v in cell.items() if v is not None}
    assert set(shown) == {"store_id", "camera_id", "zone_id", "day", "covered_hours", "status"}


def test_a_journey_goes_from_the_first_to_the_last_third() -> None:
    observations = [
        *follow("a", (0, 9, away(-0.2)), (10, 19, away(0.0)), (20, 30, away(0.6))),
        *follow("b", (0, 9, at("door", 0.0)), (10, 19, at("shelf", 0.2)), (20, 30, at("desk", 0.4))),
        *follow("brief", (0, 3, away(1.0))),
    ]
    connection = store(observations)
    (cell,) = rows(connection, "journey")
    assert (cell["tracks"], cell["change"]) == (2, pytest.approx((0.8 + 0.4) / 2))
    ladder = {r["step"]: r["valence"] for r in rows(connection, "journey_ladder ORDER BY step_no")}
    assert ladder == {k: pytest.approx(v) for k, v in {"entrance": 0.0, "product": 0.2, "service": 0.4}.items()}
    connection.execute("SET VARIABLE since = DATE '2026-11-23'")
    assert rows(connection, "journey") == []
    assert rows(connection, "journey_ladder") == []
    connection.execute("SET VARIABLE since = DATE '2026-11-22'; SET VARIABLE until = DATE '2026-11-23'")
    assert len(rows(connection, "journey")) == 1


def show(connection: duckdb.DuckDBPyConnection, *shown: tuple[str, int, int]) -> None:
    """Put contents on the panel, each from one second to another."""
    for name, begins, ends in shown:
        connection.execute(
            "INSERT INTO content BY NAME SELECT '007' AS store_id, 'cam1' AS camera_id, 'panel' AS zone_id,"
            f" '{name}' AS content_id, $from AS starts_at, $to AS ends_at, true AS active, $valid AS valid_from",
            {"from": BASE + timedelta(seconds=begins), "to": BASE + timedelta(seconds=ends), "valid": BASE},
        )


def test_all_showings_of_a_content_count_and_each_second_once() -> None:
    observations = [
        *follow("first", (10, 19, at("panel", 0.4, yaw_deg=-10.0))),
        *follow("both", (95, 115, at("panel", 0.4, yaw_deg=-10.0))),
        *follow("between", (160, 169, at("panel", 0.4, yaw_deg=-10.0))),
        *follow("second", (210, 219, at("panel", 0.4, yaw_deg=-10.0))),
    ]
    connection = store(observations)
    show(connection, ("a", 0, 100), ("b", 100, 110), ("a", 110, 150), ("a", 200, 300))
    seconds = {(r["track_id"], r["content_id"]): r["shown_s"] for r in rows(connection, "people.shown")}
    assert {key: round(s) for key, s in seconds.items()} == {
        ("first", "a"): 10, ("both", "a"): 5 + 6, ("both", "b"): 10, ("second", "a"): 10,
    }  # fmt: skip
    cells = {r["content_id"]: r["tracks"] for r in rows(connection, "content_response")}
    assert cells == {"a": 3, "b": 1}


@pytest.mark.parametrize(("yaw_b", "verdicts"), [(80.0, {"best", "worse"}), (-10.0, {"no clear winner"})])
def test_contents_are_compared_in_the_same_hour_of_the_week(yaw_b: float, verdicts: set[str]) -> None:
    observations = []
    for i in range(24):
        yaw = -10.0 if i < 12 else yaw_b
        observations += follow(f"t{i}", (100 * i, 100 * i + 5, at("panel", 0.3 + 0.01 * (i % 5), yaw_deg=yaw)))
    connection = store(observations)
    show(connection, ("a", 0, 1150), ("b", 1150, 3600))
    cells = {r["content_id"]: r for r in rows(connection, "content_response")}
    assert {c["tracks"] for c in cells.values()} == {12}
    assert cells["a"]["attention"] == 1.0
    assert {c["attention_verdict"] for c in cells.values()} == verdicts
    assert {c["valence_verdict"] for c in cells.values()} == {"no clear winner"}


def test_next_products_rank_by_the_lower_bound_of_lift() -> None:
    both, first, second = 20, 10, 15
    kinds = ["both"] * both + ["shelf"] * first + ["rack"] * second
    observations = []
    for i, kind in enumerate(kinds):
        spans: Spans = []
        if kind in ("both", "shelf"):
            spans.append((50 * i, 50 * i + 4, at("shelf")))
        if kind in ("both", "rack"):
            spans.append((50 * i + 10, 50 * i + 14, at("rack")))
        observations += follow(f"t{i}", *spans)
    cells = {r["zone_id"]: r for r in rows(store(observations, k=10), "next_products")}
    cell = cells["shelf"]
    assert (cell["next_zone_id"], cell["tracks"], cell["zone_tracks"], cell["rank"]) == ("rack", 20, 30, 1)
    assert cell["confidence"] == pytest.approx(20 / 30)
    assert cell["support"] == pytest.approx(20 / 45)
    assert cell["lift"] == pytest.approx((20 / 30) / (35 / 45))
    assert cell["lift_low"] < cell["lift"] < cell["lift_high"]
    assert rows(store(observations, k=21), "next_products") == []


def test_mood_is_compared_with_the_same_hour_of_earlier_weeks() -> None:
    observations, frames = [], []
    for week, happy in enumerate((2, 4, 9)):
        start = BASE + timedelta(days=7 * week)
        frames += [watch(f"w{week}", start + timedelta(seconds=10 * i), 3600) for i in range(360)]
        for i in range(10):
            spans = (60 * i, 60 * i + 5, at("shelf", 0.5 if i < happy else -0.5))
            observations += [o | {"session_id": f"w{week}"} for o in follow(f"t{i}", spans, start=start)]
    connection = connect(World(observations, frames, ZONES, "UTC", 1.0, None), 10)
    cells = rows(connection, "mood WHERE zone_id = 'shelf' ORDER BY hour")
    assert [c["net_sentiment"] for c in cells] == pytest.approx([-0.6, -0.2, 0.8])
    assert [c["baseline_weeks"] for c in cells] == [None, 1, 2]
    assert cells[2]["change"] == pytest.approx(0.8 - (-0.4))
    assert cells[2]["change_low"] > 0 > cells[1]["change_low"]


def test_a_track_that_goes_on_where_another_ended_is_suspected_to_be_its_second_half() -> None:
    observations = [
        *follow("first", (0, 10, {**away(), "x1": 100.0, "x2": 150.0, "face_px": 50.0})),
        *follow("second", (12, 20, {**away(), "x1": 120.0, "x2": 170.0, "face_px": 50.0})),
        *follow("other", (12, 20, {**away(), "x1": 500.0, "x2": 550.0, "face_px": 50.0})),
        *follow("later", (30, 40, {**away(), "x1": 120.0, "x2": 170.0, "face_px": 50.0})),
    ]
    (cell,) = rows(store(observations), "track_splits")
    assert (cell["tracks"], cell["suspected"], cell["split_share"]) == (4, 1, 0.25)


FIGURES = {
    "footfall": ("footfall", "footfall_per_covered_hour"),
    "product_engagement": ("tracks", "engaged", "dwell_s_median", "net_sentiment", "valence_gain", "looked"),
    "service_interactions": ("tracks", "length_s_mean", "valence_before", "valence_during", "change_during"),
    "journey": ("tracks", "valence_first", "change"),
    "journey_ladder": ("tracks", "with_mood", "valence"),
    "mood": ("tracks", "net_sentiment", "positive", "change", "valence_gain"),
    "track_splits": ("tracks", "suspected", "split_share"),
}


@pytest.mark.parametrize("view", FIGURES)
def test_cells_of_few_people_say_nothing(view: str) -> None:
    spans = [(0, 19, at("door", 0.5)), (20, 39, at("shelf", -0.5)), (40, 59, at("desk", 0.5))]
    crowd = [o for i in range(9) for o in follow(f"t{i}", *spans)]
    cells = [c for c in rows(store(crowd, k=10), view) if c["status"] == "suppressed"]
    assert cells
    assert {c[name] for c in cells for name in FIGURES[view]} == {None}
    enough = [*crowd, *follow("t9", *spans)]
    assert any(c[FIGURES[view][0]] for c in rows(store(enough, k=10), view))
