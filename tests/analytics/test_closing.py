"""Closed days: every view says the same with and without them, and a day that changed is computed again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from worlds import observe, watch, window_start

from risa_ray import open_dataset
from risa_ray.analytics.closed import plan
from risa_ray.analytics.closing import Closed, close_days
from risa_ray.analytics.dataset import VIEWS, init_script
from risa_ray.store.schema import TABLES
from risa_ray.store.table import Table

START = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)
DAYS = 5
KINDS = {
    "door": "entrance",
    "shelf": "product",
    "rack": "product",
    "line": "queue",
    "desk": "service",
    "panel": "screen",
}
FOUNDATION = ("tracks", "stays", "people.minutes", "people.shown")
"""What all the other views are made from."""
HIDDEN = ("macros", "observations", "counted_windows", "weighed", "stay_observations")
ASKED = [view for view in VIEWS if not view.startswith(("open_", "people_")) and view not in HIDDEN]


def write(data: Path, name: str, rows: list[dict[str, Any]], **marks: int) -> None:
    Table(str(data), name).commit(pa.Table.from_pylist(rows, schema=TABLES[name]), marks)


def people(session: str, start: datetime, hours: float, seed: int, tracks: int = 20) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for track in range(tracks):
        second = rng.uniform(0, hours * 3600 - 60)
        for zone in rng.sample(list(KINDS), 3):
            for _ in range(rng.randint(3, 20)):
                at = start + timedelta(seconds=round(second, 3))
                rows.append(
                    observe(
                        session, f"{session}t{track}", int(second * 2), at, round(second, 3),
                        zone_ids=[zone], valence=rng.uniform(-1, 1), yaw_deg=rng.uniform(-40, 40), face_px=50.0,
                        expression=rng.choice(["happiness", "sadness", "unknown"]), x1=rng.uniform(0, 500),
                    )
                )  # fmt: skip
                second += rng.choice([0.5, 0.5, 0.5, 3.0])
    return rows


def watching(session: str, start: datetime, hours: float) -> list[dict[str, Any]]:
    first = window_start(start)
    return [
        watch(session, first + timedelta(seconds=10 * i), 20 * (i + 1)) | {"run_id": "r1"}
        for i in range(int(hours * 360))
    ]


@pytest.fixture(scope="module")
def never_closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of one camera, two hours around each midnight; a track of two days, and one past a midnight."""
    tmp_path = tmp_path_factory.mktemp("never closed") / "data"
    place = {"store_id": "007", "camera_id": "cam1", "valid_from": START - timedelta(days=1)}
    write(tmp_path, "stores", [{"store_id": "007", "timezone": "Europe/Berlin", "valid_from": place["valid_from"]}])
    write(tmp_path, "cameras", [place | {"sampling_fps": 2.0, "width": 640, "height": 480}])
    zones = [
        place | {"zone_id": zone, "kind": kind, "active": True, "look_yaw": 10.0, "target_wait_s": 30.0}
        for zone, kind in KINDS.items()
    ]
    write(tmp_path, "zones", zones)
    shown = place | {"zone_id": "panel", "active": True, "starts_at": START, "ends_at": START + timedelta(days=2)}
    write(tmp_path, "content", [shown | {"content_id": "a"}])
    for day in range(DAYS):
        begun = START + timedelta(days=day)
        write(tmp_path, "observations", people(f"s{day}", begun, 2, day))
        write(tmp_path, "frames", watching(f"s{day}", begun, 2))
    stays = [
        observe("s0", "poster", 100_000 + i, START + timedelta(hours=i / 4), 900.0 * i, zone_ids=["shelf"])
        for i in range(160)
    ]
    midnight = START + timedelta(days=2, minutes=59, seconds=30)
    crossing = [
        observe("s2", "crossing", 7000 + i, midnight + timedelta(seconds=i), 3570.0 + i, zone_ids=["shelf"])
        for i in range(60)
    ]
    write(tmp_path, "observations", stays + crossing)
    return tmp_path


@pytest.fixture(scope="module")
def all_closed(never_closed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Closed]:
    """The same after all its days were closed, and what was done for it."""
    path = tmp_path_factory.mktemp("all closed") / "data"
    shutil.copytree(never_closed, path)
    return path, close_days(str(path), clock=later())


@pytest.fixture(scope="module")
def before(never_closed: Path) -> dict[str, list[Any]]:
    """What every view says before a day was closed."""
    return answers(never_closed, {*ASKED, *FOUNDATION})


@pytest.fixture
def data(never_closed: Path, tmp_path: Path) -> Path:
    """A copy of the days, for one test to change."""
    shutil.copytree(never_closed, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def closed(all_closed: tuple[Path, Closed], tmp_path: Path) -> Path:
    """A copy of the closed days, for one test to change."""
    shutil.copytree(all_closed[0], tmp_path / "data")
    return tmp_path / "data"


def answers(data: Path, views: Collection[str] = FOUNDATION) -> dict[str, list[Any]]:
    connection = open_dataset(data, raw=True)
    return {view: rounded(connection, view) for view in views}


def rounded(connection: duckdb.DuckDBPyConnection, view: str) -> list[Any]:
    """Rows in an order of their own; the last bits of a sum depend on the order of its parts."""
    rows = connection.execute(f"FROM {view}").fetchall()
    return sorted(tuple(f"{v:.6f}" if isinstance(v, float) else str(v) for v in row) for row in rows)


def later(days: float = 30) -> Any:
    return (START + timedelta(days=days)).timestamp


def closed_dates(data: Path) -> set[date]:
    from deltalake import DeltaTable

    from risa_ray.store.paths import has_table

    found = plan({n: DeltaTable(f"{data}/{n}") for n in TABLES if has_table(str(data), n)})
    return set() if found is None else {day for _, day in found.closed}


def foundation(told: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {view: told[view] for view in FOUNDATION}


def test_every_view_says_the_same_with_closed_days(
    all_closed: tuple[Path, Closed], closed: Path, before: dict[str, list[Any]]
) -> None:
    done = all_closed[1]
    assert (done.days, done.tracks) == (6, 20 * DAYS + 2)
    assert len(closed_dates(closed)) == 6
    assert answers(closed, before) == before
    assert close_days(str(closed), clock=later()).days == 0, "what holds is not made again"


@pytest.mark.parametrize("days", [2.5, 4.5])
def test_a_day_is_closed_when_the_next_is_over(data: Path, before: dict[str, list[Any]], days: float) -> None:
    close_days(str(data), clock=later(days))
    done = closed_dates(data)
    assert done, "some days are over"
    assert max(done) < (START + timedelta(days=days - 1)).date()
    assert answers(data) == foundation(before)


def test_late_rows_open_their_day_again(closed: Path) -> None:
    write(closed, "observations", people("late", START + timedelta(days=2), 2, 99, tracks=5))
    write(closed, "frames", watching("late", START + timedelta(days=2), 2))
    open_days = {date(2026, 11, d) for d in range(2, 8)} - closed_dates(closed)
    assert {date(2026, 11, 4), date(2026, 11, 5)} <= open_days
    assert date(2026, 11, 7) in closed_dates(closed), "it has nothing to do with the fourth and the fifth"
    found = answers(closed)
    close_days(str(closed), clock=later())
    assert len(closed_dates(closed)) == 6
    assert answers(closed) == found
    assert any("latet3" in row for row in map(str, found["tracks"]))


def test_another_description_of_the_past_opens_its_days(closed: Path) -> None:
    place = {"store_id": "007", "camera_id": "cam1", "zone_id": "shelf", "active": True}
    write(closed, "zones", [place | {"kind": "queue", "valid_from": START + timedelta(days=3)}])
    kept = closed_dates(closed)
    assert kept, "what was before it still holds"
    assert max(kept) < date(2026, 11, 6)
    found = answers(closed)
    close_days(str(closed), clock=later())
    assert answers(closed) == found


def test_sealed_days_outlive_their_observations(data: Path, before: dict[str, list[Any]]) -> None:
    close_days(str(data), seal_before=date(2026, 11, 5), clock=later())
    assert answers(data) == foundation(before), "sealed days are not counted twice while their observations are there"
    Table(str(data), "observations").delta.delete("date < '2026-11-05'")
    assert answers(data) == foundation(before)
    assert min(closed_dates(data)) == date(2026, 11, 2)
    assert close_days(str(data), clock=later()).days > 0, "the days after them are made from less"
    assert answers(data) == foundation(before), "who stayed past midnight is not counted again"


def test_without_seal_the_tracks_go_with_their_observations(closed: Path) -> None:
    Table(str(closed), "observations").delta.delete("date < '2026-11-05'")
    firsts = open_dataset(closed, raw=True).sql("SELECT min(first_seen) FROM tracks").fetchall()[0][0]
    assert firsts >= datetime(2026, 11, 5, tzinfo=UTC)


def test_the_floor_holds_over_closed_days_and_the_shell_sees_them(closed: Path) -> None:
    connection = open_dataset(closed)
    for name in ("people.closed_tracks", "tracks", "people.stays"):
        with pytest.raises(duckdb.Error):
            connection.sql(f"FROM {name}").fetchall()
    shell = duckdb.connect()
    for statement in init_script(closed).split(";\n"):
        if statement.strip():
            shell.execute(statement)
    assert rounded(shell, "mood") == rounded(connection, "mood")
