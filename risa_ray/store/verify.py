"""Whether a dataset holds what its writer promises: nothing twice, nothing lost, every file whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from risa_ray.config import redact
from risa_ray.frames import DROP_CAUSES
from risa_ray.store.context import KEYS
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import Partition, partition_files
from risa_ray.store.paths import has_table, require_dataset
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES, TIME_COLUMNS, WINDOW_S
from risa_ray.store.table import Table, arrow_dataset, file_system

_SHOWN = 3
"""So many places are named per check; the others are counted."""
_WINDOW = timedelta(seconds=WINDOW_S)
_MAX_FACES = 1 << 16
_UNREADABLE = (OSError, DeltaError, pa.ArrowException)

_Ints = npt.NDArray[np.int64]
_Session = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `problems` is empty where all is well; `seen` says how much was looked at."""

    name: str
    problems: tuple[str, ...]
    seen: str

    def line(self) -> str:
        """What the check found, in one line."""
        if not self.problems:
            return f"{self.name}: ok ({self.seen})"
        more = f"; and {len(self.problems) - _SHOWN} more" if len(self.problems) > _SHOWN else ""
        return f"{self.name}: WRONG: {'; '.join(self.problems[:_SHOWN])}{more}"


def verify(data: str) -> Iterator[Check]:
    """Check a dataset, also beside a running job. Memory holds the keys of one day of one store at a time.

    Args:
        data: path or URL of the dataset.

    Yields:
        Each check when it is done.

    Raises:
        InputError: there is no dataset.
        StoreError: the log of a table cannot be read.
    """
    path = require_dataset(data, tuple(TABLES))
    # Marks are written first in observations, so this order cannot find one that a running job is about to write.
    order = ["frames", "observations", *(name for name in TABLES if name not in ("frames", "observations"))]
    tables = {name: Table(path, name) for name in order if has_table(path, name)}
    for name in TABLES:
        if name in tables:
            yield _files(tables[name])
    for name in PARTITIONED:
        if name in tables:
            yield _dates(tables[name])
    if "observations" in tables:
        yield _keys(tables["observations"])
    if "frames" in tables:
        yield _windows(tables["frames"])
    if "frames" in tables and "observations" in tables:
        yield _marks(tables["frames"], tables["observations"])
        yield _faces(tables["frames"], tables["observations"], _erased(tables.get("purges")))
    yield _context(tables)


def _check(name: str, work: Callable[[list[str]], str]) -> Check:
    problems: list[str] = []
    try:
        seen = work(problems)
    except _UNREADABLE as error:
        return Check(name, (*problems, f"cannot be checked ({_reason(error)})"), "")
    except StoreError as error:
        return Check(name, (*problems, str(error)), "")
    return Check(name, tuple(problems), seen)


def _files(table: Table) -> Check:
    """Every file of the snapshot is there, opens, has the rows that the log says, and columns of our types."""

    def work(problems: list[str]) -> str:
        files = file_system(table.delta)
        wanted = {f.name: f.type for f in table.schema if table.name not in PARTITIONED or f.name not in _PARTS}
        count = rows = 0
        for entry in (entry for entries in partition_files(table).values() for entry in entries):
            count += 1
            try:
                with files.open_input_file(entry["path"]) as source:
                    file = pq.ParquetFile(source)
                    found, schema = file.metadata.num_rows, file.schema_arrow
            except (OSError, pa.ArrowException) as error:
                missing = isinstance(error, FileNotFoundError)
                problems.append(f"{entry['path']} {'is missing' if missing else f'does not open ({_reason(error)})'}")
                continue
            rows += found
            if found != entry["num_records"]:
                problems.append(f"{entry['path']} has {found} rows, the log says {entry['num_records']}")
            problems += [
                f"{entry['path']}: column {f.name} is {f.type}, not {wanted[f.name]}"
                for f in schema
                if f.name in wanted and not _same_type(f.type, wanted[f.name])
            ]
        return f"{count:,} files, {rows:,} rows"

    return _check(f"{table.name}: files whole", work)


_PARTS = frozenset(PARTITION_COLUMNS)


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Names of list items and nullability aside, which differ from writer to writer."""
    if pa.types.is_list(a) and pa.types.is_list(b):
        return _same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        # A later version may have added fields.
        ours = {b.field(i).name: b.field(i).type for i in range(b.num_fields)}
        fields = [a.field(i) for i in range(a.num_fields)]
        return all(f.name in ours and _same_type(f.type, ours[f.name]) for f in fields)
    return bool(a == b) or (_is_text(a) and _is_text(b))


def _is_text(kind: pa.DataType) -> bool:
    # One and the same in a Parquet file; which of them Arrow makes of it is the writer's choice.
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _batches(table: Table, columns: list[str], partition: Partition) -> Iterator[pa.RecordBatch]:
    # File by file: a dataset's scanner reads ahead in threads that may outlive it, and then the process aborts at exit.
    files = file_system(table.delta)
    wanted = pa.schema([table.schema.field(name) for name in columns])
    for entry in partition_files(table)[partition]:
        with files.open_input_file(entry["path"]) as source:
            for batch in pq.ParquetFile(source).iter_batches(columns=columns):
                yield batch.select(columns).cast(wanted)


def _partitions(table: Table) -> list[Partition]:
    return sorted(partition_files(table))


def _place(partition: Partition) -> str:
    return "/".join(f"{column}={value}" for column, value in partition)


def _dates(table: Table) -> Check:
    column = TIME_COLUMNS[table.name]

    def work(problems: list[str]) -> str:
        rows = 0
        for partition in _partitions(table):
            day, wrong = date.fromisoformat(dict(partition)["date"]), 0
            names = [column, "track_id"] if table.name == "closed_tracks" else [column]
            for batch in _batches(table, names, partition):
                times = batch.column(0)
                if table.name == "closed_tracks":
                    # The row that says what the partition was made from has no track and no time.
                    times = times.filter(batch.column(1).is_valid())
                right = pc.equal(times.cast(pa.date32()), pa.scalar(day))
                wrong += len(times) - right.true_count
                rows += len(times)
            if wrong:
                problems.append(f"{_place(partition)}: {wrong:,} rows with {column} on another UTC day, or none")
        return f"{rows:,} rows"

    return _check(f"{table.name}: date is the UTC day of {column}", work)


def _keys(table: Table) -> Check:
    """(camera_id, session_id, frame_seq, face_index) is there once."""

    def work(problems: list[str]) -> str:
        rows = 0
        spans: dict[_Session, list[tuple[int, int, Partition]]] = defaultdict(list)
        for partition in _partitions(table):
            for session, numbers in _face_numbers(table, partition).items():
                rows += len(numbers)
                twice = numbers[1:][numbers[1:] == numbers[:-1]]
                if len(twice):
                    frame, face = divmod(int(twice[0]), _MAX_FACES)
                    problems.append(
                        f"{_place(partition)}: camera {session[0]} session {session[1]}: {len(twice):,} keys twice "
                        f"(frame_seq {frame} face_index {face})"
                    )
                spans[session].append((int(numbers[0]), int(numbers[-1]), partition))
        for session, found in spans.items():
            problems += _twice_over_days(table, session, found)
        return f"{rows:,} rows"

    return _check("observations: keys are unique", work)


def _twice_over_days(table: Table, session: _Session, spans: list[tuple[int, int, Partition]]) -> Iterator[str]:
    """Keys of a session in two partitions. Frame numbers of two days only overlap where a clock was set."""
    for i, (low, high, partition) in enumerate(spans):
        for low2, high2, other in spans[i + 1 :]:
            if low <= high2 and low2 <= high:
                both = np.intersect1d(_face_numbers(table, partition)[session], _face_numbers(table, other)[session])
                if len(both):
                    yield (
                        f"camera {session[0]} session {session[1]}: {len(both):,} keys both in {_place(partition)} "
                        f"and {_place(other)} (frame_seq {int(both[0]) // _MAX_FACES})"
                    )


def _face_numbers(table: Table, partition: Partition) -> dict[_Session, _Ints]:
    """(camera, session) -> frame_seq * 65536 + face_index of its faces, sorted."""
    parts: dict[_Session, list[_Ints]] = defaultdict(list)
    for batch in _batches(table, ["camera_id", "session_id", "frame_seq", "face_index"], partition):
        frame_seq = batch.column(2).to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = frame_seq * _MAX_FACES + batch.column(3).to_numpy(zero_copy_only=False).astype(np.int64)
        for session, where in _by_session(batch).items():
            parts[session].append(numbers[where])
    return {session: np.sort(np.concatenate(found)) for session, found in parts.items()}


def _by_session(batch: pa.RecordBatch) -> dict[_Session, _Ints]:
    """(camera, session) -> the rows of a batch that are its."""
    cameras, sessions = (batch.column(name).dictionary_encode() for name in ("camera_id", "session_id"))
    count = max(1, len(sessions.dictionary))
    codes = np.asarray(cameras.indices.fill_null(0)).astype(np.int64) * count
    codes += np.asarray(sessions.indices.fill_null(0))
    order = np.argsort(codes, kind="stable")
    values, starts = np.unique(codes[order], return_index=True)
    return {
        (str(cameras.dictionary[int(v) // count]), str(sessions.dictionary[int(v) % count])): rows
        for v, rows in zip(values, np.split(order, starts[1:]), strict=True)
    }


_WINDOW_COLUMNS = [
    *("camera_id", "session_id", "window_start", "first_seq", "last_seq", "read", "analysed", "faces"),
    *(f"dropped_{cause}" for cause in DROP_CAUSES),
]


def _window_rows(table: Table, partition: Partition) -> dict[_Session, list[dict[str, Any]]]:
    """(camera, session) -> its windows by frame number; heartbeats, which have no session, are left out."""
    found: dict[_Session, list[dict[str, Any]]] = defaultdict(list)
    for batch in _batches(table, _WINDOW_COLUMNS, partition):
        for row in batch.filter(batch.column(1).is_valid()).to_pylist():
            found[row["camera_id"], row["session_id"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda r: r["first_seq"])
    return found


def _windows(table: Table) -> Check:
    """A session's windows hold each frame once, and every frame is accounted for."""

    def work(problems: list[str]) -> str:
        count = 0
        spans: dict[_Session, list[tuple[int, int, Partition]]] = defaultdict(list)
        for partition in _partitions(table):
            for session, rows in _window_rows(table, partition).items():
                count += len(rows)
                where = f"{_place(partition)}: camera {session[0]} session {session[1]}"
                problems += _overlaps(rows, where)
                problems += [
                    f"{where}: window {row['window_start']:%H:%M:%S} read {row['read']} of frames "
                    f"{row['first_seq']}..{row['last_seq']}, {_accounted(row)} accounted for"
                    for row in rows
                    if not row["read"] == _accounted(row) == row["last_seq"] - row["first_seq"] + 1
                ]
                spans[session].append((rows[0]["first_seq"], max(r["last_seq"] for r in rows), partition))
        for session, found in spans.items():
            for i, (low, high, partition) in enumerate(found):
                for low2, high2, other in found[i + 1 :]:
                    if low <= high2 and low2 <= high:
                        both = [row for p in (partition, other) for row in _window_rows(table, p)[session]]
                        both.sort(key=lambda r: r["first_seq"])
                        problems += _overlaps(both, f"camera {session[0]} session {session[1]}")
        return f"{count:,} windows"

    return _check("frames: windows do not overlap, and every frame is accounted for", work)


def _overlaps(rows: list[dict[str, Any]], where: str) -> Iterator[str]:
    last = -1
    for row in rows:
        if row["first_seq"] <= last:
            yield f"{where}: frames {row['first_seq']}..{min(last, row['last_seq'])} are in two windows"
        last = max(last, row["last_seq"])


def _accounted(row: dict[str, Any]) -> int:
    return int(row["analysed"] + sum(row[f"dropped_{cause}"] for cause in DROP_CAUSES))


def _marks(frames: Table, observations: Table) -> Check:
    """A session's frames mark never passes its observations mark, and no row passes its table's."""

    def work(problems: list[str]) -> str:
        windows, faces = _last_frames(frames, "last_seq"), _last_frames(observations, "frame_seq")
        sessions = sorted(windows.keys() | faces.keys())
        for session in sessions:
            in_frames, in_observations = frames.mark(session), observations.mark(session)
            if in_frames < 0 and (in_observations < 0 or session in windows):
                # Marks are forgotten after a month.
                continue
            if in_frames > in_observations:
                problems.append(f"session {session}: frames' mark {in_frames} passes observations' {in_observations}")
            for table, last, mark in ((frames, windows, in_frames), (observations, faces, in_observations)):
                if last.get(session, -1) > mark:
                    problems.append(f"session {session}: {table.name} has frame {last[session]}, its mark is {mark}")
        return f"{len(sessions):,} sessions"

    return _check("marks are consistent", work)


def _last_frames(table: Table, column: str) -> dict[str, int]:
    """Session -> its last frame."""
    ends: dict[str, int] = {}
    for partition in _partitions(table):
        for batch in _batches(table, ["session_id", column], partition):
            for row in pa.Table.from_batches([batch]).group_by("session_id").aggregate([(column, "max")]).to_pylist():
                session, end = row["session_id"], row[f"{column}_max"]
                if session is not None and end is not None:
                    ends[session] = max(end, ends.get(session, -1))
    return ends


def _erased(purges: Table | None) -> list[tuple[str | None, datetime, datetime]]:
    """(camera or None for all, from, to) of what was deleted on purpose from observations."""
    always = datetime(1, 1, 1, tzinfo=UTC)
    try:
        rows = purges.read().to_pylist() if purges is not None else []
    except _UNREADABLE:
        # The check of the table's own files says so.
        return []
    return [
        (row["camera_id"], row["since"] or always, row["until"])
        for row in rows
        if row["observations"] or row["camera_id"] is not None
    ]


def _faces(frames: Table, observations: Table, erased: list[tuple[str | None, datetime, datetime]]) -> Check:
    """A window counts as many faces as observations has rows of its frames, where none were deleted on purpose."""

    def work(problems: list[str]) -> str:
        days = {dict(p)["store_id"]: dict(p)["date"] for p in reversed(_partitions(observations))}
        count = 0
        for partition in _partitions(frames):
            day, store_id = dict(partition)["date"], dict(partition)["store_id"]
            if day < days.get(store_id, "9999"):
                # Before the oldest day of the raw rows: they may have outlived their retention.
                continue
            first_kept = datetime.fromisoformat(days[store_id]).replace(tzinfo=UTC) + _WINDOW
            numbers = _face_numbers(observations, partition)
            for session, rows in _window_rows(frames, partition).items():
                found = numbers.get(session, np.empty(0, np.int64))
                edges = [[row["first_seq"] * _MAX_FACES, (row["last_seq"] + 1) * _MAX_FACES] for row in rows]
                low, high = np.searchsorted(found, np.array(edges, np.int64)).T
                for row, faces in zip(rows, (high - low).tolist(), strict=True):
                    start = row["window_start"]
                    if start < first_kept or _touches(erased, session[0], start):
                        continue
                    count += 1
                    if faces != row["faces"] and (faces := _count(observations, session, row)) != row["faces"]:
                        problems.append(
                            f"{_place(partition)}: camera {session[0]} session {session[1]}: window {start:%H:%M:%S} "
                            f"counts {row['faces']} faces, observations has {faces}"
                        )
        return f"{count:,} windows"

    return _check("faces of frames and observations add up", work)


def _touches(erased: Iterable[tuple[str | None, datetime, datetime]], camera_id: str, start: datetime) -> bool:
    # A window more on each side: a frame whose clock jitters back counts in the window that it came in.
    return any(
        camera in (None, camera_id) and start < until + _WINDOW and start + 2 * _WINDOW > since
        for camera, since, until in erased
    )


def _count(observations: Table, session: _Session, row: dict[str, Any]) -> int:
    """The faces of a window on whatever day: a frame whose clock jitters back over midnight is stored on its own."""
    where = (pc.field("camera_id") == session[0]) & (pc.field("session_id") == session[1])
    where &= (pc.field("frame_seq") >= row["first_seq"]) & (pc.field("frame_seq") <= row["last_seq"])
    day = row["window_start"].date()
    where &= (pc.field("date") >= pa.scalar(day - timedelta(days=1))) & (
        pc.field("date") <= pa.scalar(day + timedelta(days=1))
    )
    return int(arrow_dataset(observations.delta).count_rows(filter=where))


def _context(tables: dict[str, Table]) -> Check:
    """The small tables are readable, and their rows say what they describe and since when."""

    def work(problems: list[str]) -> str:
        count = 0
        for name, table in tables.items():
            if name in PARTITIONED:
                continue
            try:
                rows = table.read()
            except _UNREADABLE as error:
                problems.append(f"{name}: cannot be read ({_reason(error)})")
                continue
            count += rows.num_rows
            for column in (*KEYS[name], "valid_from") if name in KEYS else ():
                if missing := rows[column].null_count:
                    problems.append(f"{name}: {missing} rows without {column}")
        return f"{count:,} rows"

    return _check("context is readable", work)


def _reason(error: BaseException) -> str:
    return redact(" ".join(str(error).split()))[:200] or type(error).__name__
