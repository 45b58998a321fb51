"""The views against docs/metrics.md: drawn worlds against the naive oracle, and cases worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import World
from worlds import STARTS, ZONES, connect, observe, ran, watch, worlds

BASE = STARTS[0]
DWELT = ("hour_local", "tracks", "stays", "dwell_s_mean", "dwell_s_median", "dwell_s_total", "coverage")


def rows(connection: Any, view: str) -> list[dict[str, Any]]:
    # Not with `sql`, which plans the query twice.
    found = connection.execute(f"FROM {view}").fetchall()
    return [dict(zip((column[0] for column in connection.description), row, strict=True)) for row in found]


def same(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, float | int):
        return found == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    return bool(found == wanted)


def assert_rows(found: dict[Any, dict[str, Any]], wanted: dict[Any, dict[str, Any]]) -> None:
    assert set(found) == set(wanted)
    for key, row in wanted.items():
        differing = {n: (found[key][n], v) for n, v in row.items() if n in found[key] and not same(found[key][n], v)}
        assert not differing, f"{key}: {differing}"


@settings(max_examples=30, deadline=None)
@given(worlds())
def test_tracks_and_stays_agree_with_the_definitions(world: World) -> None:
    connection = connect(world)
    found = {(r["session_id"], r["track_id"]): r for r in rows(connection, "tracks")}
    wanted = {(r["session_id"], r["track_id"]): r for r in oracle.tracks(world)}
    assert_rows(found, wanted)
    for key, row in wanted.items():
        assert found[key]["expression"] in (row["expressions"] or {None})
    names = ("session_id", "track_id", "zone_id", "entered_at")
    assert_rows(
        {tuple(r[n] for n in names): r for r in rows(connection, "stays")},
        {tuple(r[n] for n in names): r for r in oracle.stays(world)},
    )


@settings(max_examples=30, deadline=None)
@given(worlds(), st.sampled_from([1, 3]))
def test_cells_agree_with_the_definitions(world: World, k: int) -> None:
    connection = connect(world, k)
    assert_rows({r["minute"]: r for r in rows(connection, "mood_by_minute")}, oracle.mood_by_minute(world, k))
    wanted = oracle.zone_hour(world, k)
    assert_rows({(r["zone_id"], r["hour"]): r for r in rows(connection, "mood")}, wanted)
    dwelt = {key: {n: v for n, v in row.items() if n in DWELT} for key, row in wanted.items()}
    assert_rows({(r["zone_id"], r["hour"]): r for r in rows(connection, "zone_hour")}, dwelt)


def world(observations: list[Any], frames: list[Any] | None = None, **context: Any) -> World:
    defaults: dict[str, Any] = {"zones": ZONES, "timezone": "UTC", "sampling_fps": 5.0, "size": None}
    return World(observations, frames or [], **(defaults | context))


def seen(seconds: list[float], track: str = "t0", start: datetime = BASE, **columns: Any) -> list[dict[str, Any]]:
    return [observe("s1", track, int(s * 5), start + timedelta(seconds=s), s, **columns) for s in seconds]


def minute(start: datetime = BASE, windows: int = 6, last_seq: int = 299) -> list[dict[str, Any]]:
    return [watch("s1", start + timedelta(seconds=10 * i), last_seq) for i in range(windows)]


def test_weights_keep_a_pause_from_counting_as_a_mood() -> None:
    """0.2 s each, but the one before the pause stands for no more than a second."""
    observations = [
        *seen([0.0, 0.2], expression="happiness", valence=1.0),
        *seen([0.4, 20.4], expression="sadness", valence=-1.0),
    ]
    (track,) = rows(connect(world(observations)), "tracks")
    assert track["valence"] == pytest.approx((0.2 + 0.2 - 1.0 - 0.2) / 1.6)
    assert (track["mood"], track["expression"]) == ("negative", "sadness")


def test_two_known_observations_are_no_mood() -> None:
    observations = [*seen([0, 1], valence=0.9, expression="happiness"), *seen([2, 3], expression="unknown")]
    connection = connect(world(observations, minute()))
    (track,) = rows(connection, "tracks")
    assert (track["valence"], track["mood"], track["known"]) == (None, "unknown", 2)
    (cell,) = rows(connection, "mood_by_minute")
    assert (cell["status"], cell["tracks"], cell["with_mood"], cell["net_sentiment"]) == ("no_mood", 1, 0, None)
    assert cell["unknown_share"] == 1


def test_a_gap_of_two_seconds_is_bridged_and_a_longer_one_is_not() -> None:
    observations = seen([0, 1, 3, 5.2, 6.2], zone_ids=["shelf"])
    stays = sorted(rows(connect(world(observations, minute())), "stays"), key=lambda s: s["entered_at"])
    assert [(s["dwell_s"], s["zone_kind"], s["censored"]) for s in stays] == [
        (3.0, "product", False),
        (1.0, "product", False),
    ]


def test_less_than_a_second_is_no_stay() -> None:
    assert rows(connect(world(seen([0, 0.8], zone_ids=["shelf"]))), "stays") == []


@pytest.mark.parametrize("why", ["session end", "outage", "edge", "none"])
def test_a_stay_cut_short_is_censored(why: str) -> None:
    columns: dict[str, Any] = {"x2": 636.0} if why == "edge" else {}
    frames = minute(windows=1 if why == "outage" else 6, last_seq=48 if why == "session end" else 299)
    stays = rows(connect(world(seen([7, 8, 8.4], zone_ids=["door"], **columns), frames, size=(640, 480))), "stays")
    assert [s["censored"] for s in stays] == [why != "none"]


@pytest.mark.parametrize(("windows", "status"), [(2, "low_coverage"), (3, "ok")])
def test_half_a_minute_must_be_covered(windows: int, status: str) -> None:
    (cell,) = rows(connect(world(seen([0, 1, 2], valence=0.5), minute(windows=windows))), "mood_by_minute")
    assert (cell["status"], cell["coverage"]) == (status, windows / 6)
    assert (cell["net_sentiment"], cell["tracks"]) == ((1.0, 1) if status == "ok" else (None, None))


def test_nobody_there_and_camera_down_do_not_look_alike() -> None:
    down = [f | {"analysed": 0} for f in minute(BASE + timedelta(minutes=1))]
    cells = {r["minute"]: r for r in rows(connect(world([], minute() + down), k=10), "mood_by_minute")}
    empty, dark = cells[BASE], cells[BASE + timedelta(minutes=1)]
    assert (empty["status"], empty["tracks"]) == ("no_mood", 0)
    assert (dark["status"], dark["tracks"], dark["coverage"]) == ("low_coverage", None, 0)


def test_few_people_are_suppressed() -> None:
    observations = [o for t in range(9) for o in seen([0, 1, 2, 3], f"t{t}", zone_ids=["door"])]
    connection = connect(world(observations, [*minute(), *minute(windows=180)]), k=10)
    (cell,) = rows(connection, "mood_by_minute WHERE minute_local = TIMESTAMP '2026-11-22 10:00:00'")
    assert cell["status"] == "suppressed"
    assert {cell[n] for n in ("tracks", "with_mood", "positive", "neutral", "net_sentiment", "ci_low")} == {None}
    cells = {r["zone_id"]: r for r in rows(connection, "zone_hour")}
    assert (cells["door"]["status"], cells["door"]["stays"], cells["door"]["dwell_s_total"]) == (
        "suppressed", None, None,
    )  # fmt: skip
    assert (cells["shelf"]["status"], cells["shelf"]["tracks"]) == ("ok", 0)


def test_where_the_day_would_tell_of_few_people_an_hour_more_is_hidden() -> None:
    hours = [BASE.replace(minute=0, second=0) + timedelta(hours=h) for h in range(3)]
    frames = [watch("s1", hour + timedelta(seconds=10 * i), 10**6) for hour in hours for i in range(360)]
    observations = [
        row
        for hour, people in zip(hours, (12, 11, 4), strict=True)
        for t in range(people)
        for row in seen([0, 1, 2, 3], f"{hour.hour}-{t}", hour, zone_ids=["door", "shelf"])
    ]
    connection = connect(world(observations, frames), k=10)
    for view in ("zone_hour", "mood"):
        cells = {(r["zone_id"], r["hour"]): r for r in rows(connection, f"{view} ORDER BY hour")}
        assert [cells["door", hour]["status"] for hour in hours] == ["ok", "ok", "suppressed"], "no view has its day"
        assert [cells["shelf", hour]["status"] for hour in hours] == ["ok", "suppressed", "suppressed"]
        assert [cells["shelf", hour]["tracks"] for hour in hours] == [12, None, None]
    (day,) = rows(connection, "product_engagement")
    assert (day["tracks"], day["with_mood"]) == (27, 27)


@pytest.mark.parametrize("view", ["observations", "tracks", "stays"])
def test_single_people_need_raw(view: str) -> None:
    connection = connect(world(seen([0, 1, 2], zone_ids=["door"])), k=2)
    with pytest.raises(Exception, match=f"{view} holds single people; use --raw"):
        rows(connection, view)


def test_the_hour_that_comes_twice_stays_two_hours() -> None:
    """Berlin, 25 October: 02:00 to 03:00 local comes at 00:00 and at 01:00 UTC."""
    start = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    observations = seen([0, 1, 2, 3600, 3601, 3602, 3603], start=start, zone_ids=["door"])
    cells = rows(
        connect(world(observations, minute(start, windows=360), timezone="Europe/Berlin")),
        "zone_hour WHERE zone_id = 'door'",
    )
    cells.sort(key=lambda r: r["hour"])
    assert [(c["hour"].hour, c["hour_local"].hour, c["coverage"]) for c in cells] == [(0, 2, 0.5), (1, 2, 0.5)]
    assert [c["dwell_s_total"] for c in cells] == [2.0, 3.0]


def test_local_midnight_belongs_to_the_next_day() -> None:
    start = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
    connection = connect(world(seen([0, 1, 2], start=start), minute(start), timezone="Europe/Berlin"))
    (cell,) = rows(connection, "mood_by_minute")
    assert cell["minute_local"] == datetime(2026, 11, 23, 0, 0)
    assert cell["minute"] == start


def test_context_changes_with_time() -> None:
    """What a zone was when somebody stayed counts, not what it became."""
    connection = connect(world(seen([0, 1, 2, 50, 51, 52], zone_ids=["shelf"]), minute()))
    at = (BASE + timedelta(seconds=30)).isoformat()
    connection.execute(
        "INSERT INTO zones BY NAME SELECT '007' AS store_id, 'cam1' AS camera_id, 'shelf' AS zone_id,"
        f" 'service' AS kind, true AS active, TIMESTAMPTZ '{at}' AS valid_from"
    )
    stays = sorted(rows(connection, "stays"), key=lambda s: s["entered_at"])
    assert [s["zone_kind"] for s in stays] == ["product", "service"]


MORNING = datetime(2026, 11, 23, 8, tzinfo=UTC)


def in_run(run_id: str, session_id: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same footage as seen by a session of another run."""
    return [row | {"session_id": session_id} | ({"run_id": run_id} if "window_start" in row else {}) for row in rows]


def crowd(people: int, seconds: list[float], **columns: Any) -> list[dict[str, Any]]:
    return [o for t in range(people) for o in seen(seconds, f"t{t}", **columns)]


@pytest.mark.parametrize("later", ["a", "b"])
def test_footage_run_twice_counts_once_as_the_later_run_saw_it(later: str) -> None:
    happy = crowd(6, [0, 1, 2], zone_ids=["shelf"], expression="happiness", valence=0.9)
    sad = crowd(5, [0, 1, 2], zone_ids=["shelf"], expression="sadness", valence=-0.9)
    windows = minute(windows=180)
    twice = world(
        in_run("a", "sa", happy) + in_run("b", "sb", sad),
        in_run("a", "sa", windows) + in_run("b", "sb", windows),
        runs=[
            ran("a", MORNING + timedelta(hours=later == "a"), sa=BASE),
            ran("b", MORNING + timedelta(hours=later == "b"), sb=BASE),
        ],
    )
    people, net = (6, 1.0) if later == "a" else (5, -1.0)
    connection = connect(twice)
    (cell,) = rows(connection, "mood_by_minute WHERE tracks > 0")
    assert (cell["tracks"], cell["net_sentiment"], cell["coverage"]) == (people, net, 1.0)
    (zone,) = rows(connection, "zone_hour WHERE tracks > 0")
    assert (zone["tracks"], zone["stays"], zone["coverage"]) == (people, people, 0.5)
    (zone,) = rows(connection, "mood WHERE tracks > 0")
    assert (zone["tracks"], zone["net_sentiment"], zone["coverage"]) == (people, net, 0.5)
    assert len(rows(connection, "tracks")) == len(rows(connection, "stays")) == people
    assert len(rows(connection, "observations")) == 33, "the table itself stays as it is"
    (cell,) = rows(connect(twice, k=10), "mood_by_minute WHERE minute_local = TIMESTAMP '2026-11-22 10:00:00'")
    assert cell["status"] == "suppressed", "a run more must not lift a cell over the floor"


def test_what_a_later_run_did_not_reach_still_counts() -> None:
    """The second run was stopped after 20 s."""
    whole, part = crowd(2, [5, 15, 45, 46]), crowd(2, [5, 15])
    connection = connect(
        world(
            in_run("a", "sa", whole) + in_run("b", "sb", part),
            in_run("a", "sa", minute()) + in_run("b", "sb", minute(windows=2)),
            runs=[ran("a", MORNING, sa=BASE), ran("b", MORNING + timedelta(hours=1), sb=BASE)],
        )
    )
    found = [(r["session_id"], r["pts"]) for r in rows(connection, "people.weighed WHERE track_id = 't0' ORDER BY pts")]
    assert found == [("sb", 5), ("sb", 15), ("sa", 45), ("sa", 46)]


def test_runs_that_follow_one_another_within_a_window_both_count() -> None:
    """A live camera's run ends at 4 s, the next one starts at 7 s."""
    first, second = crowd(2, [1, 3]), crowd(2, [7.2, 8])
    connection = connect(
        world(
            in_run("a", "sa", first) + in_run("b", "sb", second),
            in_run("a", "sa", minute(windows=1)) + in_run("b", "sb", minute()),
            runs=[ran("a", BASE, sa=BASE), ran("b", BASE + timedelta(seconds=7), sb=BASE + timedelta(seconds=7))],
        )
    )
    assert len(rows(connection, "people.weighed")) == 8


def test_sessions_of_one_run_never_replace_each_other() -> None:
    """A live camera that reconnects, and rows whose window is not written yet."""
    observations = in_run("a", "s1", crowd(1, [1, 3])) + in_run("a", "s2", crowd(1, [5, 30]))
    frames = in_run("a", "s1", minute(windows=1)) + in_run("a", "s2", minute(windows=1))
    connection = connect(world(observations, frames, runs=[ran("a", BASE, s1=BASE)]))
    assert len(rows(connection, "people.weighed")) == 4


def test_a_crowd_of_whom_few_have_a_mood_shows_no_mood() -> None:
    readable = crowd(3, [0, 1, 2], zone_ids=["door"], expression="happiness", valence=0.9)
    crowded = [o for t in range(3, 12) for o in seen([0, 1, 2], f"t{t}", zone_ids=["door"], expression="unknown")]
    connection = connect(world(readable + crowded, minute(windows=180)), k=10)
    (cell,) = rows(connection, "mood_by_minute WHERE tracks > 0")
    (zone,) = rows(connection, "mood WHERE tracks > 0")
    (dwelt,) = rows(connection, "zone_hour WHERE tracks > 0")
    assert (cell["tracks"], cell["with_mood"], cell["unknown_share"]) == (12, 3, 0.75)
    assert (zone["tracks"], zone["with_mood"], zone["unknown_share"]) == (12, 3, 0.75)
    assert (dwelt["stays"], dwelt["dwell_s_mean"]) == (12, 2.0)
    for found in (cell, zone):
        hidden = ("positive", "neutral", "negative", "net_sentiment", "ci_low", "ci_high")
        assert found["status"] == "mood_suppressed"
        assert {found[n] for n in hidden if n in found} == {None}


@pytest.mark.parametrize(("fps", "gaps"), [(0.5, [4.0]), (0.3, [6.666667]), (None, [2.0])])
def test_a_stay_bridges_two_pictures_of_a_slow_camera(fps: float | None, gaps: list[float]) -> None:
    observations = seen([0, gaps[0], 2 * gaps[0]], zone_ids=["shelf"])
    stays = rows(connect(world(observations, minute(windows=180), sampling_fps=fps)), "stays")
    assert [s["dwell_s"] for s in stays] == [pytest.approx(2 * gaps[0])]


def test_cameras_of_the_same_name_in_two_stores_are_two() -> None:
    """Store 008 has a cam1 too: half the rate, and the zone is another kind."""
    mine = seen([0, 1, 2], zone_ids=["shelf"])
    theirs = [o | {"store_id": "008", "session_id": "s8"} for o in mine]
    frames = minute(windows=180)
    frames += [f | {"store_id": "008", "session_id": "s8"} for f in frames]
    connection = connect(world(mine + theirs, frames))
    connection.execute(
        "INSERT INTO cameras BY NAME SELECT * REPLACE ('008' AS store_id, 0.5 AS sampling_fps) FROM cameras"
    )
    connection.execute("INSERT INTO zones BY NAME SELECT * REPLACE ('008' AS store_id, 'service' AS kind) FROM zones")
    stays = {s["store_id"]: s["zone_kind"] for s in rows(connection, "stays")}
    assert stays == {"007": "product", "008": "service"}
    weights = {(r["store_id"], r["pts"]): r["weight_s"] for r in rows(connection, "people.weighed")}
    assert (weights["007", 2], weights["008", 2]) == (0.2, 2.0)
    cells = [
        (r["store_id"], r["zone_kind"], r["tracks"]) for r in rows(connection, "zone_hour WHERE zone_id = 'shelf'")
    ]
    assert sorted(cells) == [("007", "product", 1), ("008", "service", 1)]
    assert len(rows(connection, "tracks")) == 2
