"""Files of a table written anew as fewer ones, sorted by time, in one commit that changes no row.

Delta's own optimize lets two rewrites of the same files both succeed, after which every row is there twice. Here a
rewrite is refused where one of its files is no longer in the snapshot, and of two from one snapshot the second
conflicts, since each carries the mark `upkeep`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from risa_ray.config import is_url
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TIME_COLUMNS
from risa_ray.store.table import Table, file_system, log_entries

TARGET_BYTES = 64 * 2**20
"""A file is closed once it is larger."""
ROW_GROUP_ROWS = 122_880
"""Row groups of DuckDB's own size, so that a query for an hour of a day reads little more than the hour."""
_MEMORY = "512MB"
"""For one rewrite: a larger day is sorted on disk."""
_MARK = "upkeep"

Entry = Mapping[str, Any]
"""A file as the log describes it: `path` relative to the table, `size_bytes`, `num_records`, `partition.*`, `min.*`."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """New files that hold the rows of old ones; `commit` puts them in their place, `discard` deletes them.

    Attributes:
        old: the files to replace.
        new: what the log is to say of the new ones.
    """

    table: Table
    old: Sequence[Entry]
    new: list[AddAction]

    def commit(self) -> None:
        """Replace the files in one commit.

        Raises:
            CommitFailedError: another rewrite, a deletion or an overwrite was faster; the new files are gone again.
            OSError, DeltaError: it failed otherwise, and may have been done all the same: the new files stay, and the
                next vacuum but an hour later deletes them where no commit mentions them.
        """
        if not {entry["path"] for entry in self.old} <= set(log_entries(self.table.delta)["path"].to_pylist()):
            self.discard()
            raise CommitFailedError("another writer replaced the files meanwhile")
        now_ms = int(time.time() * 1000)
        removed = [
            RemoveAction(
                path=entry["path"],
                data_change=False,
                deletion_timestamp=now_ms,
                size=entry["size_bytes"],
                partition_values=_partition_values(self.table, entry),
            )
            for entry in self.old
        ]
        mark = Transaction(_MARK, self.table.mark(_MARK) + 1, now_ms)
        delta = self.table.delta
        try:
            delta.create_write_transaction(
                [*self.new, *removed],
                mode="append",
                schema=delta.schema(),
                partition_by=PARTITION_COLUMNS if self.table.name in PARTITIONED else [],
                commit_properties=CommitProperties(app_transactions=[mark]),
            )
        except CommitFailedError:
            self.discard()
            raise
        # The snapshot at hand does not know of it, and would take the new files for left over.
        self.table.refresh()

    def discard(self) -> None:
        """Delete the new files."""
        files = file_system(self.table.delta)
        for action in self.new:
            # Whatever stays, no commit mentions, and the next vacuum deletes.
            with suppress(OSError):
                files.delete_file(action.path)


def rewrite(table: Table, old: Sequence[Entry]) -> Rewritten:
    """Write the rows of some files of one partition anew; nothing changes before the `commit`.

    The new files follow one another in time and are sorted inside; a table without a time column keeps its order.

    Args:
        table: as of the snapshot that `old` is from.
        old: files of one partition, at least one.

    Raises:
        OSError, DeltaError, pa.ArrowException, duckdb.Error: the files cannot be read or written; nothing is left.
    """
    files = file_system(table.delta)
    schema = _schema(table)
    column = TIME_COLUMNS.get(table.name)
    ordered = sorted(old, key=lambda e: e["modification_time"])
    done = Rewritten(table, old, [])
    folder = os.path.dirname(ordered[0]["path"])
    writer = _Writer(files, folder, schema, _partition_values(table, ordered[0]), column)
    try:
        written = 0
        for part in _in_order(table, ordered, schema, column):
            writer.write(part)
            written += part.num_rows
            if writer.size >= TARGET_BYTES:
                done.new.append(writer.close())
        if writer.rows:
            done.new.append(writer.close())
        known = [entry["num_records"] for entry in old]
        if None not in known and written != (expected := sum(known)):
            raise OSError(f"{written:,} rows were read where the log has {expected:,}")
    except BaseException:
        writer.abandon()
        done.discard()
        raise
    return done


def sorted_inside(table: Table, entry: Entry, column: str) -> bool:
    """Whether a file's rows are in the order of a time column.

    Raises:
        OSError, pa.ArrowException: the file cannot be read.
    """
    files = file_system(table.delta)
    rows = pq.read_table(unquote(entry["path"]), columns=[column], filesystem=files, partitioning=None)
    times = rows[column].combine_chunks().cast(pa.int64())
    return bool(pc.all(pc.less_equal(times[:-1], times[1:]), min_count=0).as_py())


def _partition_values(table: Table, entry: Entry) -> dict[str, str | None]:
    return {c: str(entry[f"partition.{c}"]) for c in PARTITION_COLUMNS} if table.name in PARTITIONED else {}


def _schema(table: Table) -> pa.Schema:
    """The columns of the table's files."""
    whole: Any = pa.schema(table.delta.schema().to_arrow())  # type: ignore[arg-type]
    return pa.schema([f for f in whole if not (table.name in PARTITIONED and f.name in PARTITION_COLUMNS)])


def _in_order(table: Table, files: Sequence[Entry], schema: pa.Schema, column: str | None) -> Iterator[pa.Table]:
    """The files' rows, sorted by a time column where there is one, a row group at a time."""
    paths = [unquote(entry["path"]) for entry in files]
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as connection:
        connection.execute("SET temp_directory = $folder", {"folder": spill})
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 1")
        connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        if is_url(table.path):
            import pyarrow.dataset as ds

            source = ds.dataset(paths, schema=schema, format="parquet", filesystem=file_system(table.delta))
            rows = connection.from_arrow(source)
        else:
            # Many small files are read in half the time.
            uris = [os.path.join(table.path, path) for path in paths]
            rows = connection.read_parquet(uris, union_by_name=True, hive_partitioning=False)
        there = set(rows.columns)
        # A file of an earlier version may lack columns.
        rows = rows.project(", ".join(f'"{n}"' if n in there else f'NULL AS "{n}"' for n in schema.names))
        if column:
            rows = rows.order(f'"{column}" NULLS FIRST')
        waiting: list[pa.RecordBatch] = []
        for batch in rows.to_arrow_reader(ROW_GROUP_ROWS):
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= ROW_GROUP_ROWS:
                yield pa.Table.from_batches(waiting).cast(schema)
                waiting = []
        if waiting:
            yield pa.Table.from_batches(waiting).cast(schema)


class _Writer:
    """Writes sorted rows to one new Parquet file after another."""

    def __init__(
        self, files: Any, folder: str, schema: pa.Schema, values: dict[str, str | None], column: str | None
    ) -> None:
        self._files, self._folder, self._schema = files, folder, schema
        self._values, self._column = values, column
        self._options = _encoding(schema)
        self._sink: Any = None
        self.rows = 0

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return int(self._sink.tell())

    def write(self, part: pa.Table) -> None:
        if self._sink is None:
            name = f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"
            self._path = f"{self._folder}/{name}" if self._folder else name
            self._sink = self._files.open_output_stream(unquote(self._path))
            self._parquet = pq.ParquetWriter(self._sink, self._schema, **self._options)
            self.rows, self._nulls, self._first, self._last = 0, 0, None, None
        if self._column:
            times = part[self._column]
            self._nulls += times.null_count
            ends: Any = pc.min_max(times)
            self._first, self._last = self._first or ends["min"].as_py(), ends["max"].as_py() or self._last
        self.rows += part.num_rows
        self._parquet.write_table(part)

    def close(self) -> AddAction:
        self._parquet.close()
        size = self.size
        self._sink.close()
        stats: dict[str, Any] = {"numRecords": self.rows}
        if self._first is not None:
            stats["minValues"] = {self._column: _instant(self._first)}
            stats["maxValues"] = {self._column: _instant(self._last)}
            stats["nullCount"] = {self._column: self._nulls}
        self._sink, self.rows = None, 0
        return AddAction(self._path, size, self._values, int(time.time() * 1000), False, json.dumps(stats))

    def abandon(self) -> None:
        """Delete the file that is being written."""
        if self._sink is not None:
            with suppress(OSError):
                self._sink.close()
                self._files.delete_file(unquote(self._path))


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Byte-stream-split for floats, dictionaries for the rest: an eighth smaller than the defaults, a third faster."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    leaves = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    paths = {leaves.column(i).path: leaves.column(i).physical_type for i in range(len(leaves))}
    floats = [path for path, kind in paths.items() if kind in ("FLOAT", "DOUBLE")]
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": [path for path in paths if path not in floats],
        "use_byte_stream_split": floats,
    }


def _instant(at: Any) -> str:
    return str(at.isoformat(timespec="microseconds").replace("+00:00", "Z"))
