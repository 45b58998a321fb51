"""What the tables say of live sessions whose reader and writer died: which they are, and what was stored of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from risa_ray.config import redact
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import Partition
from risa_ray.store.schema import WINDOW_S
from risa_ray.store.table import Table
from risa_ray.store.verify.check import UNREADABLE, reason
from risa_ray.store.verify.reading import batches, partitions

_DAY = timedelta(days=1)


class OpenSession(NamedTuple):
    """A live session whose end is in no table; `until` is when its last stored window ended, aware UTC."""

    store_id: str
    camera_id: str
    session_id: str
    until: datetime


def stored_faces(
    observations: Table, store_id: str, session_id: str, mark: int, since: datetime
) -> dict[int, tuple[datetime, int]]:
    """The frames of a session above a mark that have rows in observations: frame_seq -> capture time, number of faces.

    Days are read from the newest back to that of the mark, at most to that of `since`.

    Raises:
        StoreError: a file cannot be read.
    """
    found: dict[int, tuple[datetime, int]] = {}
    for partition in reversed(_partitions(observations, since.date() - _DAY)):
        reached = False
        if dict(partition)["store_id"] != store_id:
            continue
        for rows in _tables(observations, ["session_id", "frame_seq", "captured_at"], partition):
            own = _where(rows, "session_id", session_id)
            above = own.filter(pc.greater(own["frame_seq"], mark))  # type: ignore[call-overload]
            reached |= above.num_rows < own.num_rows
            for row in above.to_pylist():
                seq, at = row["frame_seq"], row["captured_at"]
                found[seq] = at, found[seq][1] + 1 if seq in found else 1
        if reached:
            break
    return found


def open_sessions(
    frames: Table,
    observations: Table,
    run_id: str,
    cameras: frozenset[tuple[str, str]],
    since: datetime,
    until: datetime,
) -> list[OpenSession]:
    """Live sessions of a run whose last row in `frames` is not their end, or that have rows in observations alone.

    Args:
        frames: read from the day of `since`.
        observations: read from the day before the run's last row in `frames`.
        run_id: of a run that is dead.
        cameras: the run's live ones, as (store_id, camera_id).
        since: when the run was opened.
        until: when it was surely dead; what was captured later is another's.

    Raises:
        StoreError: a file cannot be read.
    """
    ends: dict[str, OpenSession] = {}
    closed: set[str] = set()
    last = since
    for partition in _partitions(frames, since.date() - _DAY):
        store_id = dict(partition)["store_id"]
        for rows in _tables(frames, ["camera_id", "session_id", "run_id", "window_start", "state"], partition):
            closed.update(_sessions(_where(rows, "run_id", run_id, same=False)))
            own = _where(rows, "run_id", run_id)
            newest: datetime | None = pc.max(own["window_start"]).as_py()
            last = max(last, newest or last)
            closed.update(_sessions(_where(own, "state", "live", same=False)))
            for session_id, camera_id, start in _each(own, "window_start", "max"):
                found = OpenSession(store_id, camera_id, session_id, start + timedelta(seconds=WINDOW_S))
                ends[session_id] = max(found, ends.get(session_id, found), key=lambda s: s.until)
    for partition in _partitions(observations, last.date() - _DAY):
        store_id = dict(partition)["store_id"]
        for rows in _tables(observations, ["camera_id", "session_id", "captured_at"], partition):
            for session_id, camera_id, began in _each(rows, "captured_at", "min"):
                if session_id not in ends and since <= began <= until:
                    ends[session_id] = OpenSession(store_id, camera_id, session_id, began)
    return [s for s in ends.values() if s.session_id not in closed and (s.store_id, s.camera_id) in cameras]


def _partitions(table: Table, since: date) -> list[Partition]:
    """By date, then store, from a day on."""
    return [p for p in partitions(table) if dict(p)["date"] >= since.isoformat()]


def _tables(table: Table, columns: list[str], partition: Partition) -> Iterator[pa.Table]:
    try:
        for batch in batches(table, columns, partition):
            yield pa.Table.from_batches([batch])
    except UNREADABLE as error:
        raise StoreError(f"{redact(table.path)}: cannot be read ({reason(error)})") from error


def _where(rows: pa.Table, column: str, value: str, *, same: bool = True) -> pa.Table:
    equal = pc.equal if same else pc.not_equal
    return rows.filter(equal(rows[column], value))  # type: ignore[call-overload]


def _sessions(rows: pa.Table) -> list[Any]:
    return rows["session_id"].unique().to_pylist()


def _each(rows: pa.Table, column: str, which: Literal["min", "max"]) -> Iterator[tuple[str, str, datetime]]:
    """session_id, camera_id, and the least or greatest time of each session."""
    grouped = rows.group_by(["session_id", "camera_id"]).aggregate([(column, which)])
    for row in grouped.to_pylist():
        if row["session_id"] is not None:
            yield row["session_id"], row["camera_id"], row[f"{column}_{which}"]
