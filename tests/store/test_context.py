"""The context tables tell what held when, and grow only when something changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from risa_ray import open_dataset
from risa_ray.config import ChainConfig, parse_config
from risa_ray.inputs import config_for
from risa_ray.store.context import write_context
from risa_ray.store.schema import CONTENT
from risa_ray.store.table import Table

AT = datetime(2026, 11, 22, tzinfo=UTC)


def write(data: Path, described: ChainConfig, at: datetime = AT, **more: Any) -> None:
    write_context(str(data), described, {"cam1": at}, **more)


def wall(at: datetime) -> Callable[[], float]:
    return at.timestamp


def showing(content_id: str, day: int) -> dict[str, str]:
    """From nine to ten of a day of November."""
    return {"id": content_id, "from": f"2026-11-{day}T09:00:00+01:00", "to": f"2026-11-{day}T10:00:00+01:00"}


def config(
    *,
    source: str = "rtsp://user:secret@cam/1",
    zones: tuple[str, ...] = ("z1",),
    k: int = 10,
    fps: float = 5,
    shown: tuple[tuple[str, int], ...] = (("ad", 22),),
) -> ChainConfig:
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    content = [showing(*item) for item in shown]
    zone: dict[str, Any] = {"kind": "product", "polygon": square, "tags": ["tea"], "content": content}
    camera = {"id": "cam1", "source": source, "sampling_fps": fps, "zones": [zone | {"id": name} for name in zones]}
    raw = {
        "privacy": {"k": k},
        "stores": [{"id": "007", "timezone": "Europe/Berlin", "name": "Mitte", "cameras": [camera]}],
    }
    return parse_config(raw, "test")


def test_a_config_is_described_without_credentials(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, config(), sizes={"cam1": (1920, 1080)})
    (store,) = tools.rows(tmp_path, "stores")
    assert store == {"store_id": "007", "name": "Mitte", "timezone": "Europe/Berlin", "valid_from": AT}
    (camera,) = tools.rows(tmp_path, "cameras")
    assert camera["source"] == "rtsp://***@cam/1"
    assert (camera["sampling_fps"], camera["width"], camera["policy"]) == (5.0, 1920, None)
    (zone,) = tools.rows(tmp_path, "zones")
    assert (zone["kind"], zone["tags"], zone["polygon"][2]) == ("product", ["tea"], {"x": 1.0, "y": 1.0})
    (content,) = tools.rows(tmp_path, "content")
    assert content["starts_at"] == datetime(2026, 11, 22, 8, tzinfo=UTC)
    (privacy,) = tools.rows(tmp_path, "privacy")
    days = {name: privacy[f"{name}_days"] for name in ("observations", "tracks", "frames", "alerts")}
    assert days == {"observations": 30, "tracks": 395, "frames": 395, "alerts": 395}
    assert privacy["k"] == 10


def test_a_table_of_an_earlier_version_gets_its_new_columns(tmp_path: Path, tools: Any) -> None:
    columns = [("chain", pa.string()), ("k", pa.int32()), ("retention_days", pa.int32())]
    schema = pa.schema([*columns, ("valid_from", pa.timestamp("us", "UTC"))])
    old = pa.Table.from_pylist([{"chain": "chain", "k": 10, "retention_days": 90, "valid_from": AT}], schema=schema)
    write_deltalake(str(tmp_path / "privacy"), old)
    write(tmp_path, config(), clock=wall(AT + timedelta(days=1)))
    rows = tools.rows(tmp_path, "privacy", ["valid_from"])
    assert [r["observations_days"] for r in rows] == [None, 30]
    assert open_dataset(tmp_path).sql("SELECT getvariable('k')").fetchall() == [(10,)]


def test_only_changes_are_appended(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, config(), sizes={"cam1": (1920, 1080)})
    write(tmp_path, config(), AT + timedelta(days=1))
    write(tmp_path, config(k=5), AT + timedelta(days=2))
    assert [len(tools.rows(tmp_path, name)) for name in ("stores", "cameras", "zones", "content")] == [1, 1, 1, 1]
    assert [r["k"] for r in tools.rows(tmp_path, "privacy", ["valid_from"])] == [10, 5]


def test_a_zone_that_is_gone_is_inactive(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, config(zones=("z1", "z2")), AT)
    write(tmp_path, config(), AT + timedelta(days=1))
    write(tmp_path, config(), AT + timedelta(days=2))
    rows = tools.rows(tmp_path, "zones", ["valid_from", "zone_id"])
    assert [(r["zone_id"], r["active"]) for r in rows] == [("z1", True), ("z2", True), ("z2", False)]


def schedule(data: Path, at: datetime) -> list[tuple[str, int]]:
    """(content, day of its showing) that the views have for a moment, each as often as they do."""
    connection = open_dataset(data)
    held = f"'{at.isoformat()}'::TIMESTAMPTZ >= valid_from AND '{at.isoformat()}'::TIMESTAMPTZ < valid_to"
    sql = f"SELECT content_id, day(starts_at) FROM content_versions WHERE active AND {held} ORDER BY ALL"
    return connection.sql(sql).fetchall()


TWICE = (("ad", 23), ("ad", 24), ("brand", 25))


def test_a_content_that_comes_back_keeps_every_showing(tmp_path: Path, tools: Any) -> None:
    Table(str(tmp_path), "observations")
    write(tmp_path, config(shown=TWICE))
    write(tmp_path, config(shown=TWICE[::-1]), AT + timedelta(days=1))
    rows = tools.rows(tmp_path, "content", ["starts_at"])
    assert [(r["content_id"], r["starts_at"].day, r["active"]) for r in rows] == [(*item, True) for item in TWICE]
    for moment in (AT - timedelta(days=9), AT, AT + timedelta(days=9)):
        assert schedule(tmp_path, moment) == list(TWICE)


def test_a_showing_that_is_gone_is_inactive_and_the_others_stay(tmp_path: Path, tools: Any) -> None:
    Table(str(tmp_path), "observations")
    moved = (("ad", 24), ("ad", 26), ("brand", 25))
    write(tmp_path, config(shown=TWICE))
    for day in (1, 2):
        write(tmp_path, config(shown=moved), AT + timedelta(days=day))
    write(tmp_path, config(shown=()), AT + timedelta(days=3))
    assert [schedule(tmp_path, AT + timedelta(days=day)) for day in range(4)] == [list(TWICE), *2 * [list(moved)], []]
    rows = [r for r in tools.rows(tmp_path, "content", ["valid_from", "starts_at"]) if not r["active"]]
    assert [(r["valid_from"].day, r["starts_at"].day) for r in rows] == [(23, 23), (25, 24), (25, 25), (25, 26)]


def test_the_last_schedule_for_the_same_footage_holds(tmp_path: Path) -> None:
    Table(str(tmp_path), "observations")
    for shown in (TWICE, (("ad", 24),), (), (("brand", 23), ("brand", 26))):
        write(tmp_path, config(shown=shown))
        assert schedule(tmp_path, AT) == list(shown)


def test_a_schedule_of_an_earlier_version_is_still_replaced_by_the_next(tmp_path: Path) -> None:
    """They had one row per content, which the next row of the content replaced whatever its times."""
    Table(str(tmp_path), "observations")
    place = {"store_id": "007", "camera_id": "cam1", "zone_id": "z1", "active": True}
    rows = [
        place | {"content_id": name, "starts_at": start, "ends_at": start + timedelta(hours=1), "valid_from": begun}
        for name, day, begun in (("ad", 23, 0), ("brand", 25, 0), ("ad", 24, 1))
        for start, begun in [(datetime(2026, 11, day, 8, tzinfo=UTC), AT + timedelta(days=begun))]
    ]
    Table(str(tmp_path), "content").commit(pa.Table.from_pylist(rows, schema=CONTENT), {})
    assert schedule(tmp_path, AT) == [("ad", 23), ("brand", 25)]
    assert schedule(tmp_path, AT + timedelta(days=1)) == [("ad", 24), ("brand", 25)]
    write(tmp_path, config(shown=(("ad", 24), ("ad", 26))), AT + timedelta(days=2))
    assert schedule(tmp_path, AT + timedelta(days=1)) == [("ad", 24), ("brand", 25)]
    assert schedule(tmp_path, AT + timedelta(days=2)) == [("ad", 24), ("ad", 26)]


def in_force(data: Path, at: datetime = AT) -> Any:
    """(sampling_fps, zones) that the views show for a moment."""
    connection = open_dataset(data, raw=True)
    held = f"'{at.isoformat()}'::TIMESTAMPTZ >= valid_from AND '{at.isoformat()}'::TIMESTAMPTZ < valid_to"
    zones = connection.sql(f"SELECT zone_id FROM zone_versions WHERE active AND {held} ORDER BY ALL").fetchall()
    ((fps,),) = connection.sql(f"SELECT sampling_fps FROM camera_versions WHERE {held}").fetchall()
    return fps, [zone for (zone,) in zones]


A, B, C = ({"fps": 5.0}, {"fps": 2.0, "zones": ("z1", "z2")}, {"fps": 1.0, "zones": ("z3",)})
FORCE = [(5.0, ["z1"]), (2.0, ["z1", "z2"]), (1.0, ["z3"])]


@pytest.mark.parametrize("order", ["AB", "ABA", "ABC", "ABAB", "ABCA", "CBAC"])
@pytest.mark.parametrize("at", [AT, AT + timedelta(microseconds=123_999)])
def test_the_last_run_of_the_same_footage_is_in_force(tmp_path: Path, order: str, at: datetime) -> None:
    Table(str(tmp_path), "observations")
    for name in order:
        write(tmp_path, config(**{"A": A, "B": B, "C": C}[name]), at)
    for moment in (at, at + timedelta(seconds=1), at + timedelta(days=9), at - timedelta(days=9)):
        assert in_force(tmp_path, moment) == FORCE["ABC".index(order[-1])]


def test_an_earlier_recording_leaves_later_ones_alone(tmp_path: Path) -> None:
    Table(str(tmp_path), "observations")
    later = AT + timedelta(days=7)
    write(tmp_path, config(fps=5), later)
    write(tmp_path, config(fps=2), AT)
    assert (in_force(tmp_path, AT)[0], in_force(tmp_path, later)[0]) == (2, 5)


def test_each_camera_is_described_from_its_own_start_and_only_where_it_runs(tmp_path: Path, tools: Any) -> None:
    raw = {"stores": [{"id": "007", "cameras": [{"id": name, "source": f"{name}.mp4"} for name in ("a", "b", "c")]}]}
    start = {"a": AT + timedelta(hours=1), "b": AT}
    write_context(str(tmp_path), parse_config(raw, "test"), start)
    rows = tools.rows(tmp_path, "cameras", ["camera_id"])
    assert [(r["camera_id"], r["valid_from"]) for r in rows] == [("a", start["a"]), ("b", start["b"])]
    assert [r["valid_from"] for r in tools.rows(tmp_path, "stores")] == [AT]


def test_cameras_of_the_same_name_in_two_chains_keep_their_zones(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, config(zones=("z1",)))
    other = {"id": "cam1", "source": "b.mp4"}
    write(tmp_path, parse_config({"chain": "b", "stores": [{"id": "008", "cameras": [other]}]}, "test"))
    assert [r["active"] for r in tools.rows(tmp_path, "zones")] == [True]


def test_the_floor_is_the_one_written_last_whatever_the_footage(tmp_path: Path, tools: Any) -> None:
    Table(str(tmp_path), "observations")
    for day, (k, footage) in enumerate([(10, AT), (1, AT + timedelta(days=99)), (10, AT - timedelta(days=99))]):
        write(tmp_path, config(k=k), footage, clock=wall(AT + timedelta(days=day)))
    assert [r["k"] for r in tools.rows(tmp_path, "privacy", ["valid_from"])] == [10, 1, 10]
    assert open_dataset(tmp_path).sql("SELECT getvariable('k')").fetchall() == [(10,)]


def test_a_wall_clock_set_back_hides_no_floor(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, config(k=1), clock=wall(AT))
    write(tmp_path, config(k=20), clock=wall(AT - timedelta(days=1)))
    assert [r["k"] for r in tools.rows(tmp_path, "privacy", ["valid_from"])] == [1, 20]


def test_a_command_line_does_not_set_the_floor(tmp_path: Path, tools: Any) -> None:
    Table(str(tmp_path), "observations")
    write(tmp_path, config(k=25))
    ad_hoc = config_for(["film.mp4"], str(tmp_path), {}, {})
    write_context(str(tmp_path), ad_hoc, {"film": AT})
    assert [r["k"] for r in tools.rows(tmp_path, "privacy")] == [25]
    assert {r["camera_id"] for r in tools.rows(tmp_path, "cameras")} == {"cam1", "film"}
