"""The last hour, stores and alerts say what the tables and the views say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from risa_ray.analytics.dataset import open_dataset, statements
from risa_ray.analytics.recent import open_recent
from risa_ray.analytics.simulate import simulate
from risa_ray.analytics.simulate.scenario import build_stores
from risa_ray.errors import InputError
from risa_ray.serving import models
from risa_ray.serving.stored import MINUTES, SEVERAL_QUEUES, alerts, hour, stores
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


def test_the_last_hour_is_what_the_views_say(whole: duckdb.DuckDBPyConnection) -> None:
    found = hour(whole, AT)
    views = whole.sql(
        "SELECT store_id, camera_id, minute, tracks, net_sentiment, status FROM mood_by_minute "
        "WHERE minute >= '2026-03-02 11:47:00Z' AND minute < '2026-03-02 12:47:00Z' ORDER BY ALL"
    ).fetchall()
    minutes = [(m.store_id, m.camera_id, m.minute, m.tracks, m.net_sentiment, m.status) for m in found.minutes]
    assert minutes == views
    assert len({m.minute for m in found.minutes}) == MINUTES
    assert {m.zone_id for m in found.minutes} == {None}
    assert "suppressed" in {m.status for m in found.minutes}
    assert all(m.tracks is None for m in found.minutes if m.status == "suppressed")
    waits = whole.sql(
        "SELECT store_id, wait_s_median, wait_s_p95, service_level, status FROM operations "
        "WHERE camera_id LIKE '%till' AND hour = if(store_id = 'sim003', TIMESTAMPTZ '2026-03-02 12:30:00Z', "
        "TIMESTAMPTZ '2026-03-02 12:00:00Z') ORDER BY store_id"
    ).fetchall()
    queues = [(q.store_id, q.wait_p50_s, q.wait_p95_s, q.service_level, q.status) for q in found.queues]
    assert [pytest.approx(queue) for queue in queues] == waits
    assert {q.zone_id for q in found.queues} == {"queue"}
    assert "ok" in {q.status for q in found.queues}


@pytest.mark.parametrize(("at", "url"), [(AT.replace(minute=2), False), (AT.replace(hour=14, minute=29), True)])
def test_the_recent_rows_alone_tell_the_same(
    data: str, whole: duckdb.DuckDBPyConnection, at: datetime, url: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The way object stores take, on a local folder: through pyarrow.
    monkeypatch.setattr("risa_ray.analytics.recent.is_url", lambda path: url)
    with open_recent(data, at - timedelta(minutes=MINUTES + 1)) as recent:
        (fewer,) = recent.sql("SELECT count(*) FROM frames").fetchall()[0]
        (all_of_them,) = whole.sql("SELECT count(*) FROM frames").fetchall()[0]
        assert fewer < all_of_them
        assert recent.sql("SELECT getvariable('k')").fetchall() == [(10,)]
        assert rounded(hour(recent, at)) == rounded(hour(whole, at))


def rounded(found: models.HourNow) -> list[dict[str, Any]]:
    """Products and sums of several threads differ in the last digit."""
    rows = [row.model_dump() for row in (*found.minutes, *found.queues)]
    return [{name: round(v, 9) if isinstance(v, float) else v for name, v in row.items()} for row in rows]


def test_where_nothing_is_recent_there_is_no_hour(data: str, tmp_path: Path) -> None:
    later = AT + timedelta(days=9)
    with open_recent(data, later) as recent:
        found = hour(recent, later)
        assert (found.minutes, found.queues) == ([], [])
        assert len(stores(recent)) == 3
    with pytest.raises(InputError, match="no such folder"):
        open_recent(tmp_path / "none", AT)


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
        hours = {"store_id": "007", "camera_id": "till", "hour": AT.replace(minute=30, second=0), "status": "ok"}
        connection.execute(
            "CREATE TABLE said AS FROM operations; DROP VIEW operations; ALTER TABLE said RENAME TO operations"
        )
        connection.register("saying", pa.Table.from_pylist([hours | {"wait_s_median": 30.0}]))
        connection.execute("INSERT INTO operations BY NAME FROM saying")
        yield connection


def test_the_waits_of_two_queues_of_a_camera_are_not_told_apart(made: duckdb.DuckDBPyConnection) -> None:
    found = hour(made, AT)
    assert [(q.zone_id, q.wait_p50_s, q.status) for q in found.queues] == [
        ("left", None, SEVERAL_QUEUES),
        ("right", None, SEVERAL_QUEUES),
    ]


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
