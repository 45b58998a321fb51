"""The views against docs/metrics.md: drawn worlds against the naive oracle, and cases worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import oracle
import pytest
from hypothesis import given, settings
from oracle import World
from worlds import STARTS, ZONES, connect, observe, watch, worlds

BASE = STARTS[0]


def rows(connection: Any, view: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.sql(f"FROM {view}").to_arrow_table().to_pylist()
    return found


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
@given(worlds())
def test_cells_agree_with_the_definitions(world: World) -> None:
    for k in (1, 3):
        connection = connect(world, k)
        assert_rows({r["minute"]: r for r in rows(connection, "mood_by_minute")}, oracle.mood_by_minute(world, k))
        assert_rows({(r["zone_id"], r["hour"]): r for r in rows(connection, "zone_hour")}, oracle.zone_hour(world, k))


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
    assert (cells["shelf"]["status"], cells["shelf"]["tracks"]) == ("no_mood", 0)


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
