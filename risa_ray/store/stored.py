"""What the tables say of live sessions whose reader and writer died: which they are, and what was stored of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from risa_ray.config import redact
from risa_ray.frames import from_unix
from risa_ray.store.deaths import Death
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import Partition
from risa_ray.store.schema import WINDOW_S
from risa_ray.store.table import Table
from risa_ray.store.verify.check import UNREADABLE, reason
from risa_ray.store.verify.reading import batches, partitions

_DAY = timedelta(days=1)
_LIVE_ID = re.compile(r"[0-9a-f]{12}")


class OpenSession(NamedTuple):
    """A live session whose end is in no table; `until` is when its last stored window ended, aware UTC."""

    store_id: str
    camera_id: str
    session_id: str
    until: datetime


def opening_marks(run_id: str, place: tuple[str, str], session_id: str, at: datetime) -> dict[str, int]:
    """Marks that tell of a camera's newest session as long as no row does; `at`: when its first frames were taken.

    Marks hold numbers alone, so of the ids of live sessions, 12 hex digits, their number; of others there are none.
    """
    if not _LIVE_ID.fullmatch(session_id):
        return {}
    name = _opening(run_id, place)
    return {name: int(session_id, 16), f"{name}/at": int(at.timestamp() * 1000)}


def _opening(run_id: str, place: tuple[str, str]) -> str:
    return f"opening/{run_id}/{place[0]}/{place[1]}"


def opened_by(observations: Table, run_id: str, place: tuple[str, str]) -> OpenSession | None:
    """The session that a camera's opening marks tell of; `until` is when its first frames were taken."""
    name = _opening(run_id, place)
    number, at = observations.mark(name), observations.mark(f"{name}/at")
    return None if number < 0 else OpenSession(*place, f"{number:012x}", from_unix(at / 1000))


def stored_faces(
    observations: Table, store_id: str, session_id: str, mark: int, since: datetime
) -> dict[int, tuple[datetime, int]]:
    """The frames of a session above a mark that have rows in observations: frame_seq -> capture time, number of faces.

    Days are read from the newest back to that of the mark, at most to that of `since`.

    Raises:
        StoreError: a file cannot be read.
    """
    found: dict[int, tuple[datetime, int]] = {}
    for partition in reversed(_partitions(observations, {store_id}, since)):
        reached = False
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


def open_sessions(frames: Table, observations: Table, death: Death, *, shared: bool = False) -> list[OpenSession]:
    """Live sessions of a dead run whose last row in `frames` is not their end, or of which observations alone tells.

    Args:
        frames: read from the day of `death.since` to that of `death.until`.
        observations: read from the day before the run's last row in `frames`.
        death: of the run; faces captured after it are another's.
        shared: whether another process took the run up then and may live, so that later sessions under its run_id are
            left alone, those too that began in the same window.

    Raises:
        StoreError: a file cannot be read.
    """
    stores = {store_id for store_id, _ in death.cameras}
    known, others, last = _in_frames(frames, death, stores)
    window = timedelta(seconds=WINDOW_S)
    found: dict[str, OpenSession] = {}
    for session_id, rows in known.items():
        goes_on = rows.ended < rows.last_seq or observations.mark(session_id) > rows.last_seq
        if goes_on and not (shared and rows.began + window > death.until):
            found[session_id] = OpenSession(*rows.place, session_id, rows.newest + window)
    faces = [s for s in _in_observations(observations, death, stores, last) if s.session_id not in {*known, *others}]
    # Another run's session that has no row in `frames` yet is told by that run's marks.
    for place in {(s.store_id, s.camera_id) for s in faces}:
        others |= {opened.session_id for run_id in death.others if (opened := opened_by(observations, run_id, place))}
    for session in faces:
        found.setdefault(session.session_id, session)
    for place in death.cameras:
        opened = opened_by(observations, death.run_id, place)
        if opened is not None and opened.session_id not in known and not (shared and opened.until > death.until):
            found.setdefault(opened.session_id, opened)
    return [s for s in found.values() if s.session_id not in others and (s.store_id, s.camera_id) in death.cameras]


@dataclass(slots=True)
class _Known:
    """What the rows of `frames` say of a session; `ended`: the last frame of those that tell its end.

    A session that was accounted for as dead and went on has rows after its end.
    """

    place: tuple[str, str]
    began: datetime
    newest: datetime
    last_seq: int = -1
    ended: int = -1

    def add(self, row: Mapping[str, Any]) -> None:
        self.began = min(self.began, row["window_start_min"])
        self.newest = max(self.newest, row["window_start_max"])
        self.last_seq = max(self.last_seq, row["last_seq_max"])
        if row["state"] != "live":
            self.ended = max(self.ended, row["last_seq_max"])


def _in_frames(frames: Table, death: Death, stores: set[str]) -> tuple[dict[str, _Known], set[str], datetime]:
    """A run's sessions, those of other runs, and the start of the run's last window, or `death.since`."""
    known: dict[str, _Known] = {}
    others: set[str] = set()
    last = death.since
    columns = ["camera_id", "session_id", "run_id", "window_start", "last_seq", "state"]
    for partition in _partitions(frames, stores, death.since, death.until):
        store_id = dict(partition)["store_id"]
        for rows in _tables(frames, columns, partition):
            theirs = _where(rows, "run_id", death.run_id, same=False)
            others.update(str(i) for i in theirs["session_id"].unique().to_pylist())
            own = _where(rows, "run_id", death.run_id)
            newest: datetime | None = pc.max(own["window_start"]).as_py()
            last = max(last, newest or last)
            for row in _grouped(own, ["session_id", "camera_id", "state"], ["window_start", "last_seq"]):
                new = _Known((store_id, row["camera_id"]), row["window_start_min"], row["window_start_max"])
                known.setdefault(row["session_id"], new).add(row)
    return known, others, last


def _in_observations(observations: Table, death: Death, stores: set[str], last: datetime) -> Iterator[OpenSession]:
    """Sessions of any run that began while the dead one was heard of, by their faces; those of a day more than once."""
    for partition in _partitions(observations, stores, last, death.until):
        store_id = dict(partition)["store_id"]
        for rows in _tables(observations, ["camera_id", "session_id", "captured_at"], partition):
            for row in _grouped(rows, ["session_id", "camera_id"], ["captured_at"]):
                if death.since <= row["captured_at_min"] <= death.heard:
                    yield OpenSession(store_id, row["camera_id"], row["session_id"], row["captured_at_min"])


def _partitions(table: Table, stores: set[str], since: datetime, until: datetime | None = None) -> list[Partition]:
    """By date, then store, from the day before `since` to that after `until`: a camera's clock may be off."""
    first, last = (since.date() - _DAY).isoformat(), (until.date() + _DAY).isoformat() if until else "9999"
    known = [(dict(partition), partition) for partition in partitions(table)]
    return [p for values, p in known if first <= values["date"] <= last and values["store_id"] in stores]


def _tables(table: Table, columns: list[str], partition: Partition) -> Iterator[pa.Table]:
    try:
        for batch in batches(table, columns, partition):
            yield pa.Table.from_batches([batch])
    except UNREADABLE as error:
        raise StoreError(f"{redact(table.path)}: cannot be read ({reason(error)})") from error


def _where(rows: pa.Table, column: str, value: str, *, same: bool = True) -> pa.Table:
    equal = pc.equal if same else pc.not_equal
    return rows.filter(equal(rows[column], value))  # type: ignore[call-overload]


def _grouped(rows: pa.Table, keys: list[str], columns: list[str]) -> Iterator[dict[str, Any]]:
    """Least and greatest values of columns for each group of a session's rows."""
    wanted: Any = [(column, which) for column in columns for which in ("min", "max")]
    for row in rows.group_by(keys).aggregate(wanted).to_pylist():
        if row["session_id"] is not None:
            yield row
