"""The last hour, stores and alerts say what the tables and the views say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from risa_ray.analytics.dataset import open_dataset, statements
from risa_ray.analytics.recent import open_recent
from risa_ray.analytics.simulate import simulate
from risa_ray.analytics.simulate.scenario import build_stores
from risa_ray.errors import InputError
from risa_ray.live.cells import Cell, Moods, suppress
from risa_ray.serving import models
from risa_ray.serving.last_hour import LastHour, Recent
from risa_ray.serving.stored import MINUTES, Minutes, Place, alerts, queues, stores, stores_with_queues
from risa_ray.store.schema import TABLES

AT = datetime(2026, 3, 2, 12, 47, 31, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("stored") / "data")
    # The third store's hours begin at half past.
    simulate(path, stores=3, days=1, seed=4, start=date(2026, 3, 2), fps=0.5, visits_per_hour=120, outages=False)
    return path


@pytest.fixture(scope="module")
def whole(data: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_dataset(data) as connection:
        yield connection


def telling(data: str, at: datetime) -> models.HourNow:
    """What is told of the last hour."""

    async def ask(work: Callable[[duckdb.DuckDBPyConnection], Any], recent: Recent) -> Any:
        with open_recent(data, *recent) as connection:
            return work(connection)

    async def tell() -> models.HourNow:
        hour = LastHour(ask)
        await hour.see_minutes(at)
        await hour.see_queues(at)
        return hour.told(at)

    return asyncio.run(tell())


def cells(found: models.HourNow) -> dict[tuple[str, str, str | None, datetime], tuple[int | None, float | None, str]]:
    """Each minute that is told of: tracks, net sentiment, status."""
    told = {}
    for mood in found.moods:
        assert len(mood.tracks) == len(mood.net_sentiment) == MINUTES
        why = {number: status for status, numbers in mood.hidden.items() for number in numbers}
        for number, (tracks, net) in enumerate(zip(mood.tracks, mood.net_sentiment, strict=True)):
            if number in why or net is not None:
                minute = found.since + timedelta(minutes=number)
                place = (mood.store_id, mood.camera_id, mood.zone_id, minute)
                told[place] = (tracks, net, why.get(number, "ok"))
    return told


# Now in the midst of a block, and as one has just ended; local hours begin at :00 and at :30.
@pytest.mark.parametrize("at", [AT.replace(minute=2), AT.replace(hour=14, minute=50, second=0)])
def test_the_last_hour_is_what_the_views_say(data: str, whole: duckdb.DuckDBPyConnection, at: datetime) -> None:
    found = telling(data, at)
    assert found.since == at.replace(second=0) - timedelta(hours=1)
    views = whole.sql(
        "SELECT store_id, camera_id, NULL, minute, tracks, round(net_sentiment, 3), status FROM mood_by_minute "
        "WHERE minute >= $since AND minute < $since + INTERVAL 1 HOUR",
        params={"since": found.since},
    ).fetchall()
    cameras = {place: cell for place, cell in cells(found).items() if place[2] is None}
    assert cameras == {row[:4]: row[4:] for row in views}
    assert len({minute for *_, minute in cameras}) == MINUTES
    assert {"suppressed"} < {status for *_, status in cameras.values()}
    assert all(tracks is None for tracks, _, status in cells(found).values() if status == "suppressed")
    waits = whole.sql(
        "SELECT store_id, hour, wait_s_median, wait_s_p95, service_level, target_wait_s, status FROM operations "
        "WHERE camera_id LIKE '%till'"
    ).fetchall()
    hours = {row[:2]: row[2:] for row in waits}
    assert {q.store_id for q in found.queues} == {
        store for store, hour in hours if at - timedelta(hours=1) < hour <= at
    }
    for q in found.queues:
        said = (q.wait_p50_s, q.wait_p95_s, q.service_level, q.target_wait_s, q.status)
        assert said == pytest.approx(hours[q.store_id, q.hour_local.astimezone(UTC)])
        assert q.zone_id == "queue"
        assert (at - q.hour_local) < timedelta(hours=2)


def test_zones_show_what_neither_they_nor_their_camera_would_give_away(busy: str) -> None:
    """The rule of the live figures, on the same minutes, for floors that hide little and much."""
    with open_dataset(busy, raw=True) as raw:
        seen = raw.sql("""
            SELECT camera_id, time_bucket(INTERVAL 1 MINUTE, captured_at) AS minute, track_id, zone_ids, known,
                weight_s, valence FROM people.weighed
        """).fetchall()
        zones = raw.sql("SELECT camera_id, list(zone_id ORDER BY zone_id DESC) FROM zones GROUP BY ALL").fetchall()
    minutes: dict[tuple[str, datetime], list[Any]] = {}
    for camera, minute, *face in seen:
        minutes.setdefault((camera, minute), []).append(face)
    hidden = set()
    with open_recent(busy, AT - timedelta(hours=9)) as recent:
        for k in (2, 4, 6):
            recent.execute(f"SET VARIABLE k = {k}")
            rows = recent.sql("SELECT camera_id, minute, zone_id, tracks, net_sentiment, status FROM place_minutes")
            found = {row[:3]: row[3:] for row in rows.fetchall() if row[-1] != "low_coverage"}
            for (camera, minute), faces in minutes.items():
                names = [None, *dict(zones)[camera]]
                wanted = [Cell(name, None, None, moods_in(faces, name)) for name in names]  # type: ignore[arg-type]
                suppress(wanted, k)
                for cell in wanted:
                    if (camera, minute, cell.zone_id) in found:
                        said = cell.sentiment()
                        tracks, net, status = found[camera, minute, cell.zone_id]
                        assert (tracks, status) == (said["tracks"], said["status"]), (camera, minute, cell.zone_id)
                        assert net == pytest.approx(said.get("net_sentiment"))
                        few = k <= len(cell.moods.tracks) and cell.suppressed
                        hidden.add("by the others" if few else status)
    assert hidden == {"by the others", "ok", "no_mood", "suppressed", "mood_suppressed"}


def moods_in(faces: Sequence[Any], zone: str | None) -> Moods:
    """The people of a minute whose faces lay in a zone (None: anywhere), with their moods."""
    people: dict[str, list[tuple[float, float]]] = {}
    for track, zones, known, weight, valence in faces:
        if zone is None or zone in zones:
            people.setdefault(track, [])
            people[track] += [(weight, valence)] if known else []
    means = {
        track: sum(w * v for w, v in known) / sum(w for w, _ in known)
        for track, known in people.items()
        if len(known) >= 3
    }
    positive, negative = sum(v >= 0.2 for v in means.values()), sum(v <= -0.2 for v in means.values())
    number = {track: n for n, track in enumerate(sorted({face[0] for face in faces}))}
    return Moods(
        frozenset(number[track] for track in people),
        frozenset(number[track] for track in means),
        positive,
        negative,
        len(means) - positive - negative,
        0.0,
    )


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("busy") / "data")
    simulate(path, stores=1, days=1, seed=4, start=date(2026, 3, 2), fps=0.5, visits_per_hour=300, outages=False)
    draw_within(Path(path), "tea", "counter")
    return path


def draw_within(data: Path, outer: str, inner: str) -> None:
    """Give a zone another one that lies in it, with most of its people."""
    seen, zones = (DeltaTable(str(data / name)) for name in ("observations", "zones"))
    rows = seen.to_pyarrow_table().to_pylist()
    for row in rows:
        if outer in row["zone_ids"] and int(row["track_id"][-1], 16) < 11:
            row["zone_ids"] = [*row["zone_ids"], inner]
    described = [row | {"zone_id": inner} for row in zones.to_pyarrow_table().to_pylist() if row["zone_id"] == outer]
    for table, name, told, mode in (
        (seen, "observations", rows, "overwrite"),
        (zones, "zones", described, "append"),
    ):
        columns = table.metadata().partition_columns
        write_deltalake(table, pa.Table.from_pylist(told, TABLES[name]), mode=mode, partition_by=columns)


def test_only_what_may_have_changed_is_read_again() -> None:
    asked: list[Recent] = []
    known = 1

    async def ask(work: Any, recent: Recent) -> Any:
        asked.append(recent)
        here = Minutes([known] * 10, [0.5] * 10, [None] * 10)
        return {Place("007", "till", ""): here} if recent.until else ["007"] if not recent.stores else []

    async def tell(hour: LastHour, after: timedelta) -> tuple[list[str], list[int | None]]:
        asked.clear()
        now = AT.replace(minute=44) + after
        await hour.see_minutes(now)
        await hour.see_queues(now)
        blocks = [recent.since.strftime("%H:%M") for recent in asked if recent.until]
        return blocks, hour.told(now).moods[0].tracks

    async def tellings() -> None:
        nonlocal known
        hour = LastHour(ask)
        blocks, _ = await tell(hour, timedelta())
        assert blocks == ["12:40", "12:30", "12:20", "12:10", "12:00", "11:50", "11:40"]
        assert asked[-1].stores == ("007",)
        known = 2
        assert await tell(hour, timedelta(seconds=40)) == (["12:40"], [1] * 55 + [2] * 5), "the others are settled"
        assert not any(recent.kinds for recent in asked), "waits are read every two minutes"
        blocks, tracks = await tell(hour, timedelta(minutes=8))
        assert blocks == ["12:50", "12:40", "12:30", "12:20", "12:10", "12:00", "11:50"]
        assert tracks == [2] * 60, "what was written late shows, too"
        assert (await tell(hour, timedelta(minutes=8, seconds=30)))[0] == ["12:50", "12:40"], "just ended"

    asyncio.run(tellings())


@pytest.mark.parametrize("url", [False, True])
def test_a_part_of_the_rows_tells_the_same(
    data: str, whole: duckdb.DuckDBPyConnection, url: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The way object stores take, on a local folder: through pyarrow.
    monkeypatch.setattr("risa_ray.analytics.recent.is_url", lambda path: url)
    until = AT.replace(minute=40, second=0)
    minutes = "SELECT * FROM mood_by_minute WHERE minute >= $since AND minute < $until ORDER BY ALL"
    values = {"since": until - timedelta(minutes=10), "until": until}
    with open_recent(data, values["since"], until, stores=["sim001", "sim002"]) as recent:
        (fewer,) = recent.sql("SELECT count(*) FROM frames").fetchall()[0]
        (all_of_them,) = whole.sql("SELECT count(*) FROM frames").fetchall()[0]
        assert 0 < fewer < all_of_them / 20
        assert recent.sql("SELECT getvariable('k')").fetchall() == [(10,)]
        there = recent.sql(minutes, params=values).fetchall()
        assert there == [row for row in whole.sql(minutes, params=values).fetchall() if row[0] != "sim003"]
        assert len(there) == 30, "the second store opens later"


def test_where_nothing_is_recent_there_is_no_hour(data: str, tmp_path: Path) -> None:
    later = AT + timedelta(days=9)
    found = telling(data, later)
    assert (found.moods, found.queues) == ([], [])
    with open_recent(data, later) as recent:
        assert len(stores(recent)) == 3
    with pytest.raises(InputError, match="no such folder"):
        open_recent(tmp_path / "none", AT)


def test_the_hour_of_200_cameras_stays_below_a_megabyte() -> None:
    few = Minutes([None] * 10, [None] * 10, ["mood_suppressed", "suppressed"] * 5)
    many = Minutes([1234] * 10, [-0.999] * 10, [None] * 10)

    async def ask(work: Any, recent: Recent) -> Any:
        places = [
            Place(f"store-{number // 3:03}", f"store-{number // 3:03}-camera-{number % 3}", zone)
            for number in range(200)
            for zone in ("", "zone-left", "zone-middle", "zone-right")
        ]
        return dict.fromkeys(places, few if recent.since.minute % 20 else many) if recent.until else []

    async def tell() -> models.HourNow:
        hour = LastHour(ask)
        await hour.see_minutes(AT)
        await hour.see_queues(AT)
        return hour.told(AT)

    found = asyncio.run(tell())
    assert len(found.moods) == 800
    assert len(found.model_dump_json()) < 1_000_000


def test_stores_are_what_the_context_describes(whole: duckdb.DuckDBPyConnection) -> None:
    found = stores(whole)
    chain = build_stores(3)
    assert [(s.store_id, s.timezone) for s in found] == [(s.id, s.timezone) for s in chain]
    for store, truth in zip(found, chain, strict=True):
        assert {c.camera_id: {z.zone_id: (z.kind, tuple(z.tags)) for z in c.zones} for c in store.cameras} == {
            c.id: {z.id: (z.kind, z.tags) for z in c.zones} for c in truth.cameras
        }
    assert len(found[0].cameras[0].zones[0].polygon) == 4


@pytest.fixture(scope="module")
def made() -> Iterator[duckdb.DuckDBPyConnection]:
    """A store whose camera has two queues, lost a zone, and had alerts."""
    place = {"store_id": "007", "camera_id": "till", "valid_from": LONG_AGO}
    zone = {**place, "kind": "queue", "active": True}
    alert = {"store_id": "007", "camera_id": "till", "date": AT.date(), "figure": "people", "value": 9.0,
             "rule_id": "busy", "threshold": 5.0, "direction": "above", "window_s": 60.0, "severity": "warning",
             "text": "busy"}  # fmt: skip
    event = {"alert_id": "a2", "store_id": "007", "date": AT.date(), "at": AT}
    rows: dict[str, list[dict[str, Any]]] = {
        "stores": [{"store_id": "007", "name": "Old name", "valid_from": LONG_AGO},
                   {"store_id": "007", "name": "Riverside", "valid_from": AT, "timezone": "Asia/Kolkata"}],
        "cameras": [{**place, "name": None}],
        "zones": [{**zone, "zone_id": "left"}, {**zone, "zone_id": "right"}, {**zone, "zone_id": "old"},
                  {**zone, "zone_id": "old", "active": False, "valid_from": AT}],
        "alerts": [{**alert, "alert_id": f"a{n}", "fired_at": AT + timedelta(hours=n)} for n in range(4)],
        "alert_events": [{**event, "kind": "delivered", "channel": "hook", "tries": 2},
                         {**event, "kind": "acknowledged", "by": "Ada"}],
    }  # fmt: skip
    with duckdb.connect() as connection:
        for statement in statements({}, {}, 10):
            connection.execute(statement)
        for table, listed in rows.items():
            names = {name for row in listed for name in row} & set(TABLES[table].names)
            known = [{name: row.get(name) for name in names} for row in listed]
            schema = pa.schema([field for field in TABLES[table] if field.name in names])
            connection.register("filling", pa.Table.from_pylist(known, schema=schema))
            connection.execute(f"INSERT INTO {table} BY NAME FROM filling")
        connection.execute(
            "CREATE TABLE said AS FROM operations; DROP VIEW operations; ALTER TABLE said RENAME TO operations"
        )
        yield connection


@pytest.mark.parametrize(
    ("statuses", "hour", "wait"),
    [
        (["ok", "ok"], "18:00", 20.0),
        (["ok", "low_coverage"], "17:00", 10.0),
        (["ok", "suppressed"], "17:00", 10.0),
        (["ok", "no_queue"], "18:00", 20.0),
        (["suppressed", "low_coverage"], "18:00", 20.0),
        (["ok", None], "17:00", 10.0),
        ([None, None], None, None),
    ],
)
def test_a_young_hour_gives_way_to_the_one_before(
    made: duckdb.DuckDBPyConnection, statuses: list[str | None], hour: str | None, wait: float | None
) -> None:
    """Both queues of a camera together, as the view has them; the last of three hours is over for long."""
    began = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
    rows = [
        {"store_id": "007", "camera_id": "till", "hour": began - timedelta(hours=1 - n), "status": status,
         "wait_s_median": 10.0 * (n + 1), "target_wait_s": 90.0}
        for n, status in enumerate(statuses) if status
    ]  # fmt: skip
    rows.append(dict(rows[0] if rows else {"store_id": "007", "camera_id": "till"}, hour=began - timedelta(hours=2)))
    made.execute("TRUNCATE operations")
    made.register("saying", pa.Table.from_pylist(rows))
    made.execute("INSERT INTO operations BY NAME FROM saying")
    found = [(f"{q.hour_local:%H:%M}", q.hour_local.utcoffset(), q.wait_p50_s, q.zone_id) for q in queues(made, AT)]
    assert found == ([(hour, timedelta(hours=5, minutes=30), wait, None)] if hour else [])
    assert stores_with_queues(made, AT) == ["007"]


def test_the_description_that_holds_now_is_shown(made: duckdb.DuckDBPyConnection) -> None:
    (store,) = stores(made)
    assert (store.name, store.timezone) == ("Riverside", "Asia/Kolkata")
    (camera,) = store.cameras
    assert (camera.name, [zone.zone_id for zone in camera.zones]) == ("", ["left", "right"])


def test_alerts_are_the_newest_first_with_what_became_of_them(made: duckdb.DuckDBPyConnection) -> None:
    assert [alert.alert_id for alert in alerts(made, AT + timedelta(hours=1), 2)] == ["a3", "a2"]
    second = alerts(made, AT, 10)[1]
    assert [(d.channel, d.state, d.tries) for d in second.deliveries] == [("hook", "delivered", 2)]
    assert (second.acknowledged_at, second.acknowledged_by) == (AT, "Ada")
    assert [alert.alert_id for alert in alerts(made, AT, 10)] == ["a3", "a2", "a1", "a0"]
