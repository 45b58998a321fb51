"""Rows for the views: by hand with `observe` and `watch`, or drawn by hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st
from oracle import World

from risa_ray.analytics.dataset import statements
from risa_ray.store.schema import TABLES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ODD = [-0.8317, -0.3141, 0.0719, 0.3673, 0.7113]
ZONES = {"door": "entrance", "shelf": "product"}
STARTS = (
    datetime(2026, 11, 22, 10, 0, tzinfo=UTC),
    datetime(2026, 11, 22, 22, 59, 40, tzinfo=UTC),  # midnight in Berlin
    datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC),  # Berlin's clocks go back at 01:00 UTC
    datetime(2026, 3, 29, 0, 59, 45, tzinfo=UTC),  # and forward
)


def observe(session_id: str, track_id: str, frame_seq: int, at: datetime, pts: float, **columns: Any) -> dict[str, Any]:
    """One observation of camera cam1 in store 007."""
    defaults = {"x1": 100.0, "y1": 100.0, "x2": 150.0, "y2": 160.0, "zone_ids": [], "expression": "neutral"}
    return {
        "date": at.date(), "store_id": "007", "camera_id": "cam1", "session_id": session_id, "frame_seq": frame_seq,
        "face_index": 0, "captured_at": at, "pts": pts, "track_id": track_id, "valence": 0.0,
        **defaults, **columns,
    }  # fmt: skip


def watch(session_id: str, start: datetime, last_seq: int, analysed: int = 1) -> dict[str, Any]:
    """One window of `frames`."""
    return {
        "date": start.date(), "store_id": "007", "camera_id": "cam1", "session_id": session_id, "window_start": start,
        "window_s": 10.0, "first_seq": 0, "last_seq": last_seq, "read": 1, "analysed": analysed,
    }  # fmt: skip


def window_start(moment: datetime) -> datetime:
    return EPOCH + (moment - EPOCH) // timedelta(seconds=10) * timedelta(seconds=10)


def ran(run_id: str, opened: datetime, **sessions: datetime) -> dict[str, Any]:
    """A row of `runs`; session_id -> start."""
    listed = [
        {"camera_id": "cam1", "store_id": "007", "session_id": name, "started_at": start, "live": False}
        for name, start in sessions.items()
    ]
    return {"run_id": run_id, "key": "k", "generation": 0, "state": "open", "at": opened, "sessions": listed}


def connect(world: World, k: int = 1) -> duckdb.DuckDBPyConnection:
    """The views over the rows of a world, without files; the world before it of the same k is gone."""
    opened, settings, tables = database(k)
    # A cursor has variables of its own: what a test sets ends with it.
    connection = opened.cursor()
    for statement in (*settings, *(f"TRUNCATE {table}" for table in tables)):
        connection.execute(statement)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    width, height = world.size or (None, None)
    place = {"store_id": "007", "camera_id": "cam1", "valid_from": start}
    _fill(connection, "people.observations", "observations", world.observations)
    _fill(connection, "frames", "frames", world.frames)
    _fill(connection, "runs", "runs", world.runs)
    _fill(connection, "stores", "stores", [{"store_id": "007", "timezone": world.timezone, "valid_from": start}])
    camera = place | {"sampling_fps": world.sampling_fps, "width": width, "height": height}
    _fill(connection, "cameras", "cameras", [camera])
    zones = [place | {"zone_id": zone, "kind": kind, "active": True} for zone, kind in world.zones.items()]
    _fill(connection, "zones", "zones", zones)
    return connection


@cache
def database(k: int) -> tuple[duckdb.DuckDBPyConnection, list[str], list[str]]:
    """The empty tables and the views, which take long to make; the settings of a connection; the tables' names."""
    connection = duckdb.connect()
    made = list(statements({}, {}, k))
    for statement in made:
        connection.execute(statement)
    tables = connection.sql("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
    return connection, [s for s in made if s.startswith("SET ")], [name for (name,) in tables]


def _fill(connection: duckdb.DuckDBPyConnection, target: str, name: str, rows: list[dict[str, Any]]) -> None:
    connection.register("filling", pa.Table.from_pylist(rows, schema=TABLES[name]))
    connection.execute(f"INSERT INTO {target} BY NAME FROM filling")
    connection.unregister("filling")


@st.composite
def sessions(draw: st.DrawFn, session_id: str, start: datetime, fps: float) -> tuple[list[Any], list[Any]]:
    """Observations and windows of one session: people who come, go, are missed for a while, and cross zones."""
    rows = []
    for track in range(draw(st.integers(0, 4))):
        seq = draw(st.integers(0, 60))
        for _ in range(draw(st.integers(1, 12))):
            expression = draw(st.sampled_from(["unknown", "neutral", "happiness", "anger"]))
            at = start + timedelta(seconds=seq / fps)
            rows.append(
                observe(
                    session_id, f"t{track}", seq, at, seq / fps,
                    expression=expression,
                    # No weighted mean of these is a threshold but for rounding.
                    valence=0.0 if expression == "unknown" else draw(st.sampled_from(ODD)),
                    zone_ids=draw(st.lists(st.sampled_from(list(ZONES)), unique=True)),
                    x1=draw(st.sampled_from([2.0, 100.0])),
                )
            )  # fmt: skip
            seq += draw(st.sampled_from([1, 1, 1, 2, int(2 * fps), int(2 * fps) + 1, 30]))
    last = max((r["frame_seq"] for r in rows), default=0) + draw(st.integers(0, 40))
    windows: dict[datetime, int] = {}
    for seq in range(last + 1):
        windows[window_start(start + timedelta(seconds=seq / fps))] = seq
    frames = [watch(session_id, w, s, draw(st.sampled_from([1, 1, 1, 0]))) for w, s in windows.items()]
    return rows, frames


@st.composite
def worlds(draw: st.DrawFn) -> World:
    fps = draw(st.sampled_from([0.5, 1.0, 2.0, 5.0]))
    rows, frames = [], []
    for session_id in ("s1", "s2")[: draw(st.integers(1, 2))]:
        start = draw(st.sampled_from(STARTS))
        more_rows, more_frames = draw(sessions(session_id, start, fps))
        rows += more_rows
        frames += more_frames
    return World(
        rows,
        frames,
        ZONES if draw(st.booleans()) else {},
        draw(st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "UTC"])),
        draw(st.sampled_from([fps, None])),
        draw(st.sampled_from([(640, 480), None])),
    )
