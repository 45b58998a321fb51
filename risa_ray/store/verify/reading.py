"""The rows of a table as the checks need them: a partition at a time, by session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from risa_ray.frames import DROP_CAUSES
from risa_ray.store.maintenance import Partition, partition_files
from risa_ray.store.table import Table, file_system

MAX_FACES = 1 << 16
"""More than any frame has."""
Ints = npt.NDArray[np.int64]
Session = tuple[str, str]
"""A camera and a session."""


def batches(table: Table, columns: list[str], partition: Partition) -> Iterator[pa.RecordBatch]:
    """The rows of a partition, with columns of our types."""
    # File by file: a dataset's scanner reads ahead in threads that may outlive it, and then the process aborts at exit.
    files = file_system(table.delta)
    wanted = pa.schema([table.schema.field(name) for name in columns])
    for entry in partition_files(table)[partition]:
        with files.open_input_file(entry["path"]) as source:
            for batch in pq.ParquetFile(source).iter_batches(columns=columns):
                yield batch.select(columns).cast(wanted)


def partitions(table: Table) -> list[Partition]:
    """By date, then store."""
    return sorted(partition_files(table))


def place(partition: Partition) -> str:
    """A partition as its folder is called."""
    return "/".join(f"{column}={value}" for column, value in partition)


def face_numbers(table: Table, partition: Partition) -> dict[Session, Ints]:
    """(camera, session) -> frame_seq * 65536 + face_index of its faces, sorted."""
    parts: dict[Session, list[Ints]] = defaultdict(list)
    for batch in batches(table, ["camera_id", "session_id", "frame_seq", "face_index"], partition):
        frame_seq = batch.column(2).to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = frame_seq * MAX_FACES + batch.column(3).to_numpy(zero_copy_only=False).astype(np.int64)
        for session, where in _by_session(batch).items():
            parts[session].append(numbers[where])
    return {session: np.sort(np.concatenate(found)) for session, found in parts.items()}


def _by_session(batch: pa.RecordBatch) -> dict[Session, Ints]:
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


def window_rows(table: Table, partition: Partition) -> dict[Session, list[dict[str, Any]]]:
    """(camera, session) -> its windows by frame number; heartbeats, which have no session, are left out."""
    found: dict[Session, list[dict[str, Any]]] = defaultdict(list)
    for batch in batches(table, _WINDOW_COLUMNS, partition):
        for row in batch.filter(batch.column(1).is_valid()).to_pylist():
            found[row["camera_id"], row["session_id"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda r: r["first_seq"])
    return found
