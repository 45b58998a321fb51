"""The tables keep what they promise: a fresh snapshot, a floor, limits, an event loop that is never kept waiting."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi import HTTPException

from risa_ray.analytics.simulate import simulate
from risa_ray.serving.last_hour import Recent
from risa_ray.serving.tables import Limits, Scope, Snapshot, Tables
from risa_ray.store.schema import ALERTS
from risa_ray.store.table import Table

ENDLESS = "SELECT count(*) FROM range(1_000_000_000_000) a(i) WHERE hash(i) = 1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "data"
    little(path)
    return path


def little(path: Path, stores: int = 1) -> None:
    simulate(str(path), stores, days=1, start=date(2026, 3, 2), fps=0.5, visits_per_hour=2, outages=False)


def run(test: Callable[[Tables], Awaitable[Any]], data: Path | None, **limits: Any) -> Any:
    async def inside() -> Any:
        tables = Tables(None if data is None else str(data), Limits(**limits))
        try:
            return await test(tables)
        finally:
            await tables.close()

    return asyncio.run(inside())


def value(sql: str) -> Callable[[Snapshot], Any]:
    return lambda tables: tables.connection.sql(sql).fetchall()[0][0]


async def problem(asked: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(HTTPException) as refused:
        await asked
    assert len(refused.value.detail.splitlines()) == 1
    return refused.value.status_code, refused.value.detail


def test_without_a_dataset_it_says_so_until_there_is_one(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def ask(tables: Tables) -> None:
        status, detail = await problem(tables.ask(value("SELECT 1")))
        assert (status, detail) == (404, "there is no dataset yet; a job that runs writes one soon")
        assert await tables.stores() == []
        assert await tables.hour() is None
        little(data)
        assert [store.store_id for store in await tables.stores()] == ["sim001"]

    run(ask, data)
    assert run(lambda tables: problem(tables.ask(value("SELECT 1"))), None) == (
        404,
        "no dataset is served; start `risa serve` with --data",
    )


def test_the_floor_holds_in_every_reader_and_single_people_do_not_exist(data: Path) -> None:
    async def ask(tables: Tables) -> None:
        work = value("SELECT getvariable('k')")
        scopes = [Scope(), Scope("sim001"), Scope(recent=Recent(datetime(2026, 3, 2, 12, tzinfo=UTC)))] * 4
        assert set(await asyncio.gather(*(tables.ask(work, scope) for scope in scopes))) == {10}
        for relation in ("observations", "tracks", "stays"):
            with pytest.raises(HTTPException):
                await tables.ask(value(f"SELECT count(*) FROM (FROM {relation} LIMIT 1)"))
        with pytest.raises(HTTPException):
            await tables.ask(value("SELECT count(*) FROM people.tracks"))

    run(ask, data)


def test_what_is_written_shows_once_the_snapshot_is_old(tmp_path: Path) -> None:
    little(tmp_path / "data")
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    row = dict.fromkeys(ALERTS.names) | {
        "date": at.date(), "store_id": "sim001", "alert_id": "a1", "rule_id": "r", "camera_id": "sim001-till",
        "figure": "people", "value": 12.0, "threshold": 10.0, "direction": "above", "tracks": 12, "window_s": 60.0,
        "severity": "warning", "text": "busy", "fired_at": at,
    }  # fmt: skip

    async def ask(tables: Tables) -> Any:
        found = [await tables.alerts(at, 10)]
        Table(str(tmp_path / "data"), "alerts").commit(rows, {"test": mark()})
        return [*found, await tables.alerts(at, 10), await tables.alerts(at.replace(hour=13), 10)]

    import pyarrow as pa

    rows = pa.Table.from_pylist([row], schema=ALERTS)
    marks = iter(range(1, 9))

    def mark() -> int:
        return next(marks)

    before, still, _ = run(ask, tmp_path / "data", readers=1, fresh_s=1000)
    assert before == still == []
    (known,), both, later = run(ask, tmp_path / "data", readers=1, fresh_s=0)
    assert (known.alert_id, known.tracks, known.zone_id, known.deliveries) == ("a1", 12, None, [])
    assert (known.acknowledged_at, known.acknowledged_by) == (None, "")
    assert [alert.alert_id for alert in both] == ["a1", "a1"]
    assert later == []


def test_the_last_hour_is_told_and_without_the_waits_where_these_cannot_be_read(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 3, 2, 12, 47, tzinfo=tz)

    monkeypatch.setattr("risa_ray.serving.tables.datetime", Then)
    whole = run(lambda tables: tables.hour(), data)
    assert {mood.camera_id for mood in whole.moods} == {"sim001-door", "sim001-aisle", "sim001-till"}
    assert {mood.zone_id for mood in whole.moods} > {None, "tea", "queue"}
    assert [(queue.camera_id, queue.zone_id) for queue in whole.queues] == [("sim001-till", "queue")]

    def unreadable(*_: Any) -> None:
        raise duckdb.IOException("the disk is gone")

    monkeypatch.setattr("risa_ray.serving.stored.queues", unreadable)
    rest = run(lambda tables: tables.hour(), data)
    assert (rest.moods, rest.queues) == (whole.moods, [])
    assert "waits are not shown: the tables cannot be read" in caplog.text


def test_files_that_went_away_are_not_missed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    little(data)
    count = value("SELECT count(*) FROM camera_hour")

    async def ask(tables: Tables) -> None:
        assert await tables.ask(value("SELECT count(*) FROM stores")) == 1
        shutil.rmtree(data)
        little(data, stores=2)
        assert await tables.ask(count) > 0
        assert await tables.ask(value("SELECT count(*) FROM stores")) == 2

    run(ask, data, readers=1, fresh_s=1000)


def test_a_question_that_takes_too_long_ends_and_its_reader_is_free_again(data: Path) -> None:
    async def ask(tables: Tables) -> None:
        # On a busy machine opening the dataset alone may take so long.
        assert await patiently(tables, value("SELECT 1")) == 1
        status, detail = await problem(tables.ask(value(ENDLESS)))
        assert (status, detail) == (504, "the tables took more than 1 s; narrow the question with store")
        assert await patiently(tables, value("SELECT 2")) == 2

    run(ask, data, readers=1, seconds=1, fresh_s=1000)


def test_what_an_interrupted_question_set_is_unset(data: Path) -> None:
    """Unsetting it can be interrupted too: the next question finds another connection."""

    def half(tables: Snapshot) -> None:
        tables.connection.execute("SET VARIABLE hour = 3")
        tables.connection.execute(ENDLESS)

    async def ask(tables: Tables) -> None:
        assert await patiently(tables, value("SELECT 1")) == 1
        assert (await problem(tables.ask(half)))[0] == 504
        assert await patiently(tables, value("SELECT getvariable('hour')")) is None
        assert await patiently(tables, value("SELECT getvariable('k')")) == 10

    run(ask, data, readers=1, seconds=1, fresh_s=1000)


async def patiently(tables: Tables, work: Callable[[Snapshot], Any], tries: int = 60) -> Any:
    """The answer, however busy the machine is: each try waits for a second, and the last one must do."""
    for _ in range(tries - 1):
        try:
            return await tables.ask(work)
        except HTTPException as error:
            if error.status_code not in (503, 504):
                raise
    return await tables.ask(work)


def test_the_event_loop_and_the_other_reader_go_on_meanwhile(data: Path) -> None:
    async def ask(tables: Tables) -> None:
        endless = asyncio.create_task(tables.ask(value(ENDLESS)))
        assert await tables.ask(value("SELECT 1")) == 1
        assert not endless.done()
        # Whoever asked goes away: both readers are free again.
        endless.cancel()
        assert await asyncio.gather(*(tables.ask(value("SELECT 2")) for _ in range(4))) == [2] * 4

    run(ask, data, readers=2, seconds=1000)


def test_too_many_at_a_time_are_refused(data: Path) -> None:
    async def ask(tables: Tables) -> None:
        endless = [asyncio.create_task(tables.ask(value(ENDLESS))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await tables.ask(value("SELECT 1"))
        assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "2"})
        for task in endless:
            task.cancel()

    run(ask, data, readers=1, waiting=1, seconds=1000)


def test_memory_and_threads_are_bounded_and_nothing_is_spilled(data: Path) -> None:
    async def ask(tables: Tables) -> None:
        assert await tables.ask(value("SELECT current_setting('threads')")) == 1
        assert await tables.ask(value("SELECT current_setting('temp_directory')")) in ("", None)
        asked = tables.ask(value("SELECT count(DISTINCT md5(i::VARCHAR)) FROM range(3_000_000) t(i)"))
        status, detail = await problem(asked)
        assert (status, "more than 64 MB" in detail) == (503, True)
        assert await tables.ask(value("SELECT 1")) == 1

    run(ask, data, memory_mb=64)


def test_a_broken_dataset_is_told_without_its_path(tmp_path: Path) -> None:
    data = tmp_path / "data"
    little(data)
    for file in (data / "stores").glob("*.parquet"):
        file.write_bytes(b"nonsense")

    async def ask(tables: Tables) -> tuple[int, str]:
        assert await tables.hour() is None
        return await problem(tables.ask(value("SELECT 1")))

    status, detail = run(ask, data)
    assert status == 503
    assert str(tmp_path) not in detail
    assert "risa verify" in detail


def test_a_cursor_would_lose_the_floor() -> None:
    """Why a reader answers on its own connection: this must not be made a pool of cursors."""
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE k = 10")
        assert connection.cursor().sql("SELECT getvariable('k')").fetchall() == [(None,)]
