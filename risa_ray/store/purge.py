"""Deleting on purpose: days that outlived their retention, and one camera's rows of a period (erasure)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake.exceptions import DeltaError
from pyarrow import fs

from risa_ray.config import RetentionConfig, redact
from risa_ray.errors import InputError
from risa_ray.frames import from_unix
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import KEEP_HOURS, partition_files, replacing, vacuum
from risa_ray.store.paths import has_table, require_dataset
from risa_ray.store.schema import PARTITIONED, TABLES, TIME_COLUMNS, WINDOW_S
from risa_ray.store.table import WRITER_PROPERTIES, Table, arrow_dataset, file_system, with_new_columns

COMMIT_S = 30.0
"""A file that no commit mentions after so long was left by a crash; a younger one may be about to be committed."""
_SWEEPS = 120
_MAX_DAYS = 36500

_DURATION = re.compile(r"([0-9]{1,6})([dw])")
_DAYS = {"d": 1, "w": 7}


def cutoff(days: int, now: float) -> date:
    """The first UTC day that is kept when rows are kept for so many days; `now` in Unix seconds."""
    return (from_unix(now) - timedelta(days=days)).date()


def parse_days(text: str) -> int:
    """`30d` or `4w` in days.

    Raises:
        InputError: it is no such duration.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    days = int(match[1]) * _DAYS[match[2]] if match else 0
    if not 1 <= days <= _MAX_DAYS:
        raise InputError(f"--older-than {text}: give whole days or weeks, as 30d or 4w (1 to {_MAX_DAYS} days)")
    return days


def parse_moment(text: str) -> datetime:
    """A date (its UTC midnight) or an ISO time with its zone, as aware UTC.

    Raises:
        InputError: it is neither.
    """
    way_out = "give a date, or a time with its zone, as 2026-11-22 or 2026-11-22T09:00:00+01:00"
    try:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise InputError(f"--between {text}: has no time zone; {way_out}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"--between {text}: is no time; {way_out}") from None


def purge_outlived(data: str, retention: RetentionConfig, clock: Callable[[], float] = time.time) -> dict[str, int]:
    """Delete whole UTC days that are older than their table's retention, as a running job does.

    The files go from disk with the first `maintenance.compact` an hour later.

    Args:
        data: path or URL of the dataset.
        clock: Unix seconds.

    Returns:
        Table -> rows deleted.

    Raises:
        StoreError: a table cannot be read or written.
    """
    kept = {
        "observations": retention.observations,
        "closed_tracks": retention.tracks,
        "frames": retention.frames,
        "alerts": retention.alerts,
        "alert_events": retention.alerts,
    }
    now = clock()
    first_days = {name: cutoff(days, now) for name, days in kept.items() if days is not None}
    return _purge_days(data, first_days, "retention", now, dry_run=False)


def purge_older(
    data: str, days: int, *, dry_run: bool = False, clock: Callable[[], float] = time.time
) -> dict[str, int]:
    """Delete every row captured before the UTC day that was `days` days ago.

    Args:
        data: path or URL of the dataset.
        dry_run: count only.
        clock: Unix seconds.

    Returns:
        Table -> rows deleted.

    Raises:
        InputError: there is no dataset.
        StoreError: a table cannot be read or written.
    """
    path = require_dataset(data, tuple(TABLES))
    now = clock()
    rows = _purge_days(path, dict.fromkeys(PARTITIONED, cutoff(days, now)), "older_than", now, dry_run=dry_run)
    for name in PARTITIONED:
        if not dry_run and has_table(path, name):
            vacuum(Table(path, name), KEEP_HOURS)
    return rows


def _purge_days(data: str, first_days: Mapping[str, date], kind: str, now: float, *, dry_run: bool) -> dict[str, int]:
    """Delete the partitions before each table's first day to keep, and log it: a row of `purges` for each such day."""
    rows = {}
    for name, first in first_days.items():
        if not has_table(data, name):
            continue
        table = Table(data, name)
        if any(str(p["date"]) < first.isoformat() for p in table.delta.partitions()):
            where = pc.field("date") < pa.scalar(first)
            rows[name] = _delete(table, f"date < '{first.isoformat()}'", where, dry_run=dry_run)
    for first in sorted(set(first_days.values())):
        of_day = {name: count for name, count in rows.items() if first_days[name] == first and count}
        if of_day and not dry_run:
            until = datetime(first.year, first.month, first.day, tzinfo=UTC)
            _log(data, now, {"kind": kind, "until": until} | of_day)
    return {name: rows.get(name, 0) for name in first_days}


def erase(
    data: str,
    camera: str,
    since: datetime,
    until: datetime,
    *,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
    commit_s: float = COMMIT_S,
) -> tuple[str, str, dict[str, int]]:
    """Delete what one camera saw in [since, until) from every Parquet file of the dataset, at once.

    Observations and alerts of that time, and what reaches into it: 10-second windows of `frames`, without which the
    views would say that nobody was there, and tracks. There is no grace period: a reader with an older snapshot fails.
    A running job may go on. What it has not yet committed of that time is not covered, so leave it two seconds.

    Args:
        data: path or URL of the dataset.
        camera: its id, or STORE/ID where several stores have one of that id.
        since: aware.
        until: aware.
        dry_run: count only.
        clock: Unix seconds.
        commit_s: how long a writer's commit may take, in seconds.

    Returns:
        store_id, camera_id, and table -> rows deleted.

    Raises:
        InputError: no dataset, no such camera, or several; `since` is not before `until`.
        StoreError: a table cannot be read or written, or a run keeps writing rows of that time.
    """
    if since >= until:
        raise InputError(
            f"--between {since.isoformat()} {until.isoformat()}: the second time must come after the first"
        )
    path = require_dataset(data, tuple(TABLES))
    store_id, camera_id = _camera(path, camera)
    rows = {}
    # Frames first: where this is interrupted, no window counts faces that are gone, and the next try does the rest.
    for name in sorted(PARTITIONED, key=lambda name: name != "frames"):
        if has_table(path, name):
            rows[name] = _erase(Table(path, name), _Span(name, store_id, camera_id, since, until), dry_run, commit_s)
    rows = {name: rows.get(name, 0) for name in PARTITIONED}
    if not dry_run:
        place = {"kind": "erasure", "store_id": store_id, "camera_id": camera_id, "since": since, "until": until}
        _log(path, clock(), place | rows)
    return store_id, camera_id, rows


@dataclass(frozen=True, slots=True)
class _Span:
    """One camera's rows of a table that lie in, or reach into, [since, until)."""

    table: str
    store_id: str
    camera_id: str
    since: datetime
    until: datetime

    def _conditions(self) -> list[tuple[str, str, Any]]:
        """(column, operator, value) within a file; all must hold."""
        at = TIME_COLUMNS[self.table]
        held = [("camera_id", "=", self.camera_id), (at, "<", self.until)]
        if self.table == "frames":
            return [*held, (at, ">", self.since - timedelta(seconds=WINDOW_S))]
        if self.table == "closed_tracks":
            return [*held, ("last_seen", ">=", self.since), ("track_id", "!=", "")]
        return [*held, (at, ">=", self.since)]

    def _in_partitions(self) -> list[tuple[str, str, Any]]:
        held = [("store_id", "=", self.store_id), ("date", "<=", self.until.astimezone(UTC).date())]
        if self.table != "closed_tracks":
            # A track of any length may reach into the period; all else begins within it, or one window before.
            held.append(("date", ">=", (self.since.astimezone(UTC) - timedelta(seconds=WINDOW_S)).date()))
        return held

    def sql(self) -> str:
        conditions = self._in_partitions() + self._conditions()
        return " AND ".join(f"{column} {operator} {_literal(value)}" for column, operator, value in conditions)

    def expression(self) -> pc.Expression:
        return _all(self._in_partitions() + self._conditions())

    def within_file(self) -> pc.Expression:
        """The same of a file alone, which does not know its partition."""
        return _all(self._conditions())


_OPERATORS: dict[str, Callable[[Any, Any], pc.Expression]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _all(conditions: list[tuple[str, str, Any]]) -> pc.Expression:
    expression = pc.scalar(True)
    for column, operator, value in conditions:
        kind = pa.timestamp("us", "UTC") if isinstance(value, datetime) else None
        field = pc.field(column)
        if isinstance(value, str):
            # Files that Delta Lake rewrote have views of strings, which Arrow does not compare with strings.
            field = field.cast(pa.string())
        expression &= _OPERATORS[operator](field, pa.scalar(value, kind))
    return expression


def _literal(value: Any) -> str:
    text = value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"


def _delete(table: Table, sql: str, expression: pc.Expression, *, dry_run: bool) -> int:
    """Delete rows from the snapshot; returns how many people's rows that were (those without a track count nothing)."""
    counted = expression & pc.field("track_id").is_valid() if table.name == "closed_tracks" else expression

    def work() -> int:
        rows = int(arrow_dataset(table.delta).count_rows(filter=counted))
        if not dry_run and (rows or table.name == "closed_tracks"):
            table.delta.delete(sql, writer_properties=WRITER_PROPERTIES)
        return rows

    try:
        return replacing(table, work)
    except pa.ArrowException as error:
        raise _unreadable(table, error) from error


def _erase(table: Table, span: _Span, dry_run: bool, commit_s: float) -> int:
    rows = _delete(table, span.sql(), span.expression(), dry_run=dry_run)
    if dry_run:
        return rows
    for _ in range(_SWEEPS):
        if _sweep(table, span, commit_s):
            return rows
        time.sleep(min(1.0, commit_s + 0.05))
        # What was uncommitted a moment ago may be in the snapshot now.
        table.refresh()
        rows += _delete(table, span.sql(), span.expression(), dry_run=False)
    raise StoreError(
        f"{redact(table.path)}: a run keeps writing rows of camera {span.camera_id} of that time; stop it and try again"
    )


def _sweep(table: Table, span: _Span, commit_s: float) -> bool:
    """Delete files outside the snapshot that hold rows of the span; False where one may be about to be committed."""

    def work() -> None:
        # All that the log calls replaced, whatever their age. Files that no commit mentions are looked at one by one
        # instead: among them are those that a running writer commits in a moment, and its table must not miss them.
        table.delta.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)

    replacing(table, work)
    table.refresh()
    done = True
    files = file_system(table.delta)
    known = {_plain(entry["path"]) for entries in partition_files(table).values() for entry in entries}
    # Looked for here and not by the table library, which leaves out what was replaced this very millisecond.
    for found in files.get_file_info(fs.FileSelector("", recursive=True)):
        path = found.path
        if not path.endswith(".parquet") or path.startswith("_delta_log/") or _plain(path) in known:
            continue
        if f"store_id={span.store_id}/" not in _plain(path):
            continue
        try:
            if not _holds(files, path, span):
                continue
            written_ns = files.get_file_info(path).mtime_ns or 0
            if time.time() - written_ns / 1e9 >= commit_s:
                files.delete_file(path)
            else:
                done = False
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{redact(table.path)}/{path}: cannot be deleted ({error}); try again") from error
    return done


def _plain(path: str) -> str:
    """A path without percent-encoding; the log encodes once more than the folder's names."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


def _holds(files: fs.FileSystem, path: str, span: _Span) -> bool:
    """Whether a file has rows of the span. One that cannot be read, half written, may have."""
    try:
        return bool(ds.dataset(path, filesystem=files, format="parquet").count_rows(filter=span.within_file()))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException):
        return True


def _camera(path: str, camera: str) -> tuple[str, str]:
    """(store_id, camera_id) of the camera that a user named."""
    store_id, _, camera_id = camera.rpartition("/")
    known: set[tuple[str, str]] = set()
    # The context tables name every camera that a run had; where they are missing the rows do.
    for name in ("cameras", "frames", "observations", "alerts", "closed_tracks"):
        if has_table(path, name):
            known |= _places(Table(path, name))
        found = sorted(k for k in known if k[1] == camera_id and store_id in ("", k[0]))
        if len(found) == 1:
            return found[0]
        if found:
            stores = ", ".join(f"{store}/{camera_id}" for store, _ in found)
            raise InputError(f"--camera {camera}: several stores have one; name it as one of {stores}")
    names = ", ".join(sorted({k[1] for k in known})) or "none"
    raise InputError(f"--camera {camera}: the dataset has no such camera; there are {names[:300]}")


def _places(table: Table) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    try:
        for batch in arrow_dataset(table.delta).to_batches(columns=["store_id", "camera_id"]):
            places = pa.Table.from_batches([batch]).group_by(["store_id", "camera_id"]).aggregate([]).to_pylist()
            found |= {(p["store_id"], p["camera_id"]) for p in places if p["camera_id"] is not None}
    except (OSError, DeltaError, pa.ArrowException) as error:
        raise _unreadable(table, error) from error
    return found


def _log(data: str, now: float, row: Mapping[str, Any]) -> None:
    counts = dict.fromkeys(PARTITIONED, 0)
    entry = {"at": from_unix(now)} | counts | dict(row)
    table = Table(data, "purges")
    table.commit(pa.Table.from_pylist([entry], schema=with_new_columns(table)), {})


def _unreadable(table: Table, error: BaseException) -> StoreError:
    reason = redact(" ".join(str(error).split()))[:300]
    return StoreError(f"{redact(table.path)}: cannot be read ({reason}); `risa verify` tells more")
