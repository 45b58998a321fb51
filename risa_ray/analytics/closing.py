"""Closing days: the tracks and stays of days that are over, computed once and kept in `closed_tracks`."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from risa_ray.analytics.closed import DEFINING, ONE_DAY, Day, Fingerprints, Partition, Plan, partitions, read_records
from risa_ray.analytics.dataset import statements
from risa_ray.config import redact
from risa_ray.frames import from_unix
from risa_ray.store.errors import StoreError
from risa_ray.store.paths import dataset_path, has_table
from risa_ray.store.schema import CLOSED_TRACKS, TABLES
from risa_ray.store.table import Table

_Run = tuple[str, date, date]
"""A store, and the first and the last of some of its days."""

BATCH_ROWS = 2_000_000
"""Observations that are worked on at a time."""

_CLOSE = """
WITH minutes AS (
    SELECT store_id, session_id, track_id,
        list({minute: minute, known: known, known_s: known_s, valence_sum: valence_sum} ORDER BY minute) AS minutes
    FROM people.open_minutes GROUP BY ALL
), shown AS (
    SELECT store_id, session_id, track_id, zone_id, stay_no,
        list({content_id: content_id, shown_s: shown_s, looked_s: looked_s, known: known, known_s: known_s,
              valence_sum: valence_sum} ORDER BY content_id) AS shown
    FROM people.open_shown GROUP BY ALL
), stays AS (
    SELECT store_id, session_id, track_id,
        list({zone_id: zone_id, zone_kind: zone_kind, stay_no: stay_no, entered_at: entered_at, left_at: left_at,
              dwell_s: dwell_s, observations: observations, known: known, known_s: known_s, valence_sum: valence_sum,
              censored: censored, looked_s: looked_s, valence_before: valence_before, valence_after: valence_after,
              shown: shown} ORDER BY entered_at, zone_id, stay_no) AS stays
    FROM people.open_stays LEFT JOIN shown USING (store_id, session_id, track_id, zone_id, stay_no) GROUP BY ALL
)
SELECT first_seen::DATE AS date, t.* EXCLUDE (duration_s, valence, mood), minutes, stays
FROM people.open_tracks t
LEFT JOIN minutes USING (store_id, session_id, track_id)
LEFT JOIN stays USING (store_id, session_id, track_id)
WHERE first_seen::DATE BETWEEN $first AND $last
ORDER BY store_id, first_seen
"""

_CROSSED = """
SELECT DISTINCT date FROM (SELECT DISTINCT store_id, session_id, track_id, date FROM people.open_observations)
QUALIFY lag(date) OVER (PARTITION BY store_id, session_id, track_id ORDER BY date) = date - 1
"""

_USED = """store_id, camera_id, session_id, track_id, frame_seq, captured_at, pts, zone_ids, x1, y1, x2, y2, face_px,
yaw_deg, expression, valence, weight_s, known, bridge_s, began, ended"""
_STAYED = """store_id, camera_id, session_id, track_id, zone_id, stay_no, frame_seq, captured_at, x1, y1, x2, y2,
yaw_deg, valence, weight_s, known, bridge_s"""
_COMPUTED = {"weighed": _USED, "stay_observations": _STAYED, "open_stays": "*"}
"""Views that others read several times -> the columns that these need: they are computed once, as tables."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What was done: days closed, tracks written, observations read for it."""

    days: int = 0
    tracks: int = 0
    observations: int = 0

    def __add__(self, other: Closed) -> Closed:
        return Closed(self.days + other.days, self.tracks + other.tracks, self.observations + other.observations)


def close_days(
    data: str, seal_before: date | None = None, clock: Callable[[], float] = time.time, workers: int = 1
) -> Closed:
    """Write the tracks of every day that is over and not closed as it stands, so that views need not compute them.

    A day is over when the UTC day after it is, too: a track may go on past midnight. Safe beside writers and readers: a
    day is replaced in one commit, and a reader passes over one that no longer fits its observations.

    Args:
        data: path or URL of the dataset.
        seal_before: days before this one are sealed: they go on to hold when their observations are deleted.
        clock: Unix seconds.
        workers: batches of days computed side by side, a gigabyte of memory and a share of the cores each.

    Raises:
        StoreError: a table cannot be read or written, or days could not be closed; the others are.
    """
    path = dataset_path(data)
    if not has_table(path, "observations"):
        return Closed()
    target = Table(path, "closed_tracks")
    tables = {name: DeltaTable(f"{path}/{name}") for name in TABLES if has_table(path, name)}
    observations, frames = partitions(tables["observations"]), partitions(tables.get("frames"))
    current = Fingerprints(tables, observations, frames)
    records = read_records(target.delta)
    today = from_unix(clock()).date()
    due = []
    for day in observations:
        record = records.get(day)
        seal = seal_before is not None and day[1] < seal_before
        if day[1] + ONE_DAY >= today or (record is not None and record["sealed"]):
            continue
        if seal or record is None or not current.fits(day, record):
            due.append(day)
    done = Closed()
    failed: list[StoreError] = []
    # What a sealed day has is not closed again, where only its end still has observations.
    kept = [uri for day, part in partitions(target.delta).items() for uri in part.files if _sealed(records, day)]
    context = {name: table for name, table in tables.items() if name not in ("observations", "frames")}
    days = _Days(context, observations, frames, kept, max(1, len(os.sched_getaffinity(0)) // workers))
    pool = ThreadPoolExecutor(workers)
    try:
        compute = partial(_compute, days, current, seal_before=seal_before, today=today)
        for (store, first, last), future in _ahead(pool, workers, compute, _batches(sorted(due), observations)):
            try:
                closed = future.result()
                if closed is not None:
                    target.replace(closed.rows, closed.partition)
                    done += closed.done
            except (duckdb.Error, StoreError) as error:
                # The other days do not wait for it.
                reason = " ".join(str(error).split())[:200]
                failed.append(StoreError(f"{redact(path)}: {store} from {first} to {last} cannot be closed ({reason})"))
                target.refresh()
    finally:
        # Whoever interrupts does not wait for what is being computed.
        pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        more = f"; and so {len(failed) - 1} more" if len(failed) > 1 else ""
        raise StoreError(f"{failed[0]}{more}")
    return done


@dataclass(frozen=True, slots=True)
class _Days:
    """What days are computed from, and on how many threads; `sealed` are the files of sealed days."""

    context: Mapping[str, DeltaTable]
    observations: Mapping[Day, Partition]
    frames: Mapping[Day, Partition]
    sealed: list[str]
    threads: int


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows to put in the place of partitions, which a SQL condition names."""

    rows: pa.Table
    partition: str
    done: Closed


def _sealed(records: Mapping[Day, dict[str, Any]], day: Day) -> bool:
    return day in records and bool(records[day]["sealed"])


def _dates(column: Any) -> list[date]:
    """UTC dates of a column without NULLs."""
    found: list[Any] = pc.cast(column, pa.date32()).to_pylist()
    return found


def _batches(days: Iterable[Day], observations: Mapping[Day, Partition]) -> Iterator[_Run]:
    """Runs of days of one store: (store, first, last)."""
    batch: list[Day] = []
    rows = 0
    for day in days:
        follows = batch and day == (batch[-1][0], batch[-1][1] + ONE_DAY)
        if batch and (not follows or rows + observations[day].rows > BATCH_ROWS):
            yield batch[0][0], batch[0][1], batch[-1][1]
            batch, rows = [], 0
        batch.append(day)
        rows += observations[day].rows
    if batch:
        yield batch[0][0], batch[0][1], batch[-1][1]


def _ahead(
    pool: ThreadPoolExecutor, count: int, work: Callable[[_Run], _Batch | None], items: Iterable[_Run]
) -> Iterator[tuple[_Run, Future[_Batch | None]]]:
    """Each item with its work, in order, while the work of as many more goes on."""
    waiting: deque[tuple[_Run, Future[_Batch | None]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _compute(
    days_of: _Days, current: Fingerprints, batch: _Run, *, seal_before: date | None, today: date
) -> _Batch | None:
    """The tracks that began on the days of a batch; None where each has one that is not over."""
    store, first, last = batch
    observations = days_of.observations
    until = last + ONE_DAY
    while True:
        # The day before tells which tracks began earlier.
        read = [(store, first + i * ONE_DAY) for i in range(-1, (until - first).days + 1)]
        rows, crossed = _tracks(days_of, [d for d in read if d in observations], first, last)
        begins, ends = _dates(rows["date"]), _dates(rows["last_seen"])
        after = observations.get((store, until + ONE_DAY))
        if until >= today - ONE_DAY or after is None or not _go_on(rows, until, after):
            break
        until += ONE_DAY
    # A track that is not over yet keeps its day open.
    still = {begun for begun, end in zip(begins, ends, strict=True) if end >= today - ONE_DAY}
    days = [first + i * ONE_DAY for i in range((last - first).days + 1)]
    through = {day: day for day in days}
    for begun, end in zip(begins, ends, strict=True):
        through[begun] = max(through[begun], end)
    closed = [day for day in days if day not in still]
    if not closed:
        return None
    rows = rows.filter(pc.is_in(rows["date"], pa.array(closed, pa.date32())))
    marks = []
    for day in closed:
        seal = {"sealed": seal_before is not None and day < seal_before, "crosses_in": day in crossed}
        record = current.of((store, day), through[day] + ONE_DAY) | seal
        marks.append({"date": day, "store_id": store, "closed": record})
    listed = ", ".join(f"DATE '{day}'" for day in closed)
    # Identifiers hold no quotes.
    where = f"store_id = '{store}' AND date IN ({listed})"
    done = Closed(len(closed), rows.num_rows, sum(observations[store, day].rows for day in closed))
    return _Batch(pa.concat_tables([pa.Table.from_pylist(marks, schema=CLOSED_TRACKS), rows]), where, done)


def _go_on(rows: pa.Table, until: date, after: Partition) -> bool:
    """Whether a track that was seen on the last day read was seen on the day after it, too."""
    ends: Any = pc.cast(rows["last_seen"], pa.date32())
    late = rows.filter(pc.equal(ends, pa.scalar(until))).select(["session_id", "track_id"])
    if not late.num_rows:
        return False
    with duckdb.connect() as connection:
        connection.register("late", late)
        sql = "FROM read_parquet($uris) SEMI JOIN late USING (session_id, track_id) LIMIT 1"
        return bool(connection.sql(sql, params={"uris": [*after.files]}).fetchall())


def _tracks(days_of: _Days, days: list[Day], first: date, last: date) -> tuple[pa.Table, set[date]]:
    """From the observations of some days: rows of `closed_tracks` of the tracks that began from `first` to `last`, and
    the dates into which a track goes on from the day before."""
    near = {(store, day + i * ONE_DAY) for store, day in days for i in (-1, 0, 1)}
    uris: dict[str, list[str]] = {
        "open_observations": [uri for day in days for uri in days_of.observations[day].files],
        "open_frames": [uri for day in sorted(near) if day in days_of.frames for uri in days_of.frames[day].files],
        "closed_tracks": [],
        "crossing_tracks": [uri for uri in days_of.sealed if f"store_id={days[0][0]}/" in uri],
    }
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {days_of.threads}")
        reading = Plan(frozenset(), frozenset(days), uris=uris)
        for statement in statements(days_of.context, {}, 1, reading, DEFINING, _COMPUTED):
            connection.execute(statement)
        found = connection.sql(_CLOSE, params={"first": first, "last": last}).to_arrow_table()
        crossed = {row[0] for row in connection.sql(_CROSSED).fetchall()}
    columns = [
        found[field.name].cast(field.type) if field.name in found.column_names else pa.nulls(found.num_rows, field.type)
        for field in CLOSED_TRACKS
    ]
    return pa.table(columns, schema=CLOSED_TRACKS), crossed
