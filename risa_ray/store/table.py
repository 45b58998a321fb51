"""One Delta table: commits that carry rows and high-water marks together.

A mark is a Delta application transaction (app id -> version): it becomes durable in the same atomic commit as the rows
it stands for (Delta protocol, "Transaction Identifiers"). Two commits of the same app id from one snapshot conflict, so
a writer that was taken for dead cannot slip rows in behind its successor.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs

from risa_ray.config import is_url, redact
from risa_ray.store.errors import ConflictError, StoreError
from risa_ray.store.paths import table_path
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES

log = logging.getLogger("risa")

# A commit a second makes 86,400 log files a day: the log is cut at each checkpoint (every 100 commits). What
# compaction replaced stays listed for a day, long past the hour after which `maintenance.compact` deletes it.
# Each session leaves a mark; those of long ago are forgotten, and `runs` takes up no run that could need one.
MARK_DAYS = 30
# Statistics of every column in every log entry would double a commit's CPU time and the memory of a snapshot; DuckDB
# takes them from the Parquet files anyway.
_STATISTICS = {
    "observations": "captured_at,camera_id",
    "frames": "window_start,camera_id",
    "alerts": "fired_at,camera_id",
    "alert_events": "fired_at,camera_id",
    "closed_tracks": "first_seen,camera_id",
}
_T = TypeVar("_T")
_ATTEMPTS = 8
_CHECKPOINT_COMMITS = 100
_CHECKPOINT_COMMITS_OF = {"runs": 10}
"""The library reads all commits since the last checkpoint at a time, each in a thread. The driver, which renews its
lease in this small table for weeks, would have more and more of them."""
_CONFIGURATION: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 days",
    "delta.setTransactionRetentionDuration": f"interval {MARK_DAYS} days",
}
WRITER_PROPERTIES = WriterProperties(compression="ZSTD", compression_level=3)


class Table:
    """A table of a dataset, created when it is missing.

    Args:
        data: path or URL of the dataset.
        name: one of `schema.TABLES`.

    Raises:
        StoreError: it can be neither opened nor created.
    """

    def __init__(self, data: str, name: str) -> None:
        self.name = name
        self.schema = TABLES[name]
        self.path = table_path(data, name)
        self._checkpoint_commits = _CHECKPOINT_COMMITS_OF.get(name, _CHECKPOINT_COMMITS)
        self._partition_by = PARTITION_COLUMNS if name in PARTITIONED else []
        self._delta = self._open()
        self._changed = True
        self._uncertain = False
        self._commits = 0

    def _open(self) -> DeltaTable:
        with self._failures():
            if not is_url(self.path):
                os.makedirs(self.path, exist_ok=True)
            if not DeltaTable.is_deltatable(self.path):
                self._create()
            return DeltaTable(self.path)

    def _create(self) -> None:
        try:
            statistics = {"delta.dataSkippingStatsColumns": s} if (s := _STATISTICS.get(self.name)) else {}
            DeltaTable.create(
                self.path,
                self.schema,
                partition_by=self._partition_by,
                name=self.name,
                configuration={"delta.checkpointInterval": str(self._checkpoint_commits)} | _CONFIGURATION | statistics,
            )
        except DeltaError:
            # Another writer may have been faster.
            if not DeltaTable.is_deltatable(self.path):
                raise

    @property
    def delta(self) -> DeltaTable:
        """The snapshot as of the last `refresh` or commit."""
        return self._delta

    def refresh(self) -> None:
        """Take over what others committed.

        Raises:
            StoreError: the table cannot be read, or is not there any more.
        """
        before = self._delta.version()
        try:
            with self._failures():
                self._delta.update_incremental()
        except StoreError:
            # Never created anew: where a disk is gone, rows would go to an empty table in its place.
            with self._failures():
                self._delta = DeltaTable(self.path)
        self._changed |= self._delta.version() != before

    def has_changed(self) -> bool:
        """Whether marks may have moved since the last `settle`: commits of others came in, or one of ours failed."""
        if self._uncertain:
            self.refresh()
            self._uncertain, self._changed = False, True
        return self._changed

    def settle(self) -> None:
        """The marks of the snapshot have been taken over."""
        self._changed = False

    def mark(self, app_id: str) -> int:
        """The version that `app_id` committed last, as of the snapshot; -1 if none in the last `MARK_DAYS`.

        Raises:
            StoreError: the log cannot be read.
        """
        with self._failures():
            version = self._delta.transaction_version(app_id)
        return -1 if version is None else int(version)

    def commit(self, rows: pa.Table | None, marks: Mapping[str, int]) -> None:
        """Append rows and set marks, both or neither. Without rows no file is written.

        Raises:
            ConflictError: another writer committed one of the same app ids, or the same version, in between.
            StoreError: the commit failed; whether it became durable shows in `mark` after the next `has_changed`.
        """
        self._uncertain = True
        before = self._delta.version()
        now_ms = int(time.time() * 1000)
        properties = CommitProperties(app_transactions=[Transaction(app, mark, now_ms) for app, mark in marks.items()])
        with self._failures():
            write_deltalake(
                self._delta,
                rows if rows is not None else self.schema.empty_table(),
                mode="append",
                writer_properties=WRITER_PROPERTIES,
                commit_properties=properties,
            )
        self._uncertain = False
        self._commits += 1
        if self._commits % self._checkpoint_commits == 0:
            self._condense()
        self._changed |= self._delta.version() != before + 1

    def decide(self, work: Callable[[], _T]) -> _T:
        """Do what reads the newest snapshot and commits what follows from it; again when another writer was faster.

        Raises:
            StoreError: it failed, or others were faster again and again.
        """
        for _ in range(_ATTEMPTS):
            self.refresh()
            with suppress(ConflictError):
                return work()
        raise StoreError(f"{redact(self.path)}: too many writers at once; try again")

    def replace(self, rows: pa.Table, partition: str) -> None:
        """Put rows in the place of whole partitions, in one commit.

        Args:
            rows: all of them in those partitions.
            partition: SQL condition on the partition columns alone.

        Raises:
            ConflictError: another writer changed one of the partitions in between.
            StoreError: the commit failed.
        """
        with self._failures():
            write_deltalake(
                self._delta, rows, mode="overwrite", predicate=partition, writer_properties=WRITER_PROPERTIES
            )
        self._changed = True

    def _condense(self) -> None:
        """Load the snapshot afresh: one that grew commit by commit takes ten times the memory."""
        # The commit is durable by now; where loading fails, the snapshot at hand serves as well.
        with suppress(OSError, DeltaError):
            self._delta = DeltaTable(self.path)

    def read(self, filters: Any = None) -> pa.Table:
        """The rows of the snapshot; for small tables.

        Args:
            filters: as of `DeltaTable.to_pyarrow_table`.

        Raises:
            StoreError: they cannot be read.
        """
        with self._failures():
            return self._delta.to_pyarrow_table(filters=filters, filesystem=file_system(self._delta))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Whatever the libraries raise comes out as one of our errors."""
        try:
            yield
        except CommitFailedError as error:
            raise ConflictError(
                f"{redact(self.path)}: the commit failed ({_reason(error)}); what waits is kept"
            ) from error
        except (OSError, DeltaError, pa.ArrowException) as error:
            raise self._failure(error) from error
        except BaseException as error:
            # The Rust core panics on some I/O faults; PyO3 hides that from `except Exception`.
            if type(error).__name__ != "PanicException":
                raise
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> StoreError:
        return StoreError(f"{redact(self.path)}: cannot be written ({_reason(error)}); what waits is kept")


def with_new_columns(table: Table) -> pa.Schema:
    """The columns to write, after a table of an earlier version was given those that it lacks (NULL in its rows)."""
    there = {column.name for column in table.delta.schema().fields}
    missing = [column for column in table.schema if column.name not in there]
    if missing:
        try:
            table.delta.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields)
        except DeltaError as error:
            # Another run may have been faster; if not, the commit of the rows says what is wrong.
            log.warning("%s: columns were not added (%s)", redact(table.path), " ".join(str(error).split())[:200])
        table.refresh()
    # What an earlier version had beside ours stays, and has to be written.
    gone = there - set(table.schema.names)
    return arrow_dataset(table.delta).schema if gone else table.schema


def file_system(delta: DeltaTable) -> fs.FileSystem:
    """The table's folder as pyarrow opens files in it, wherever it lies."""
    if not is_url(delta.table_uri) or delta.table_uri.startswith("file://"):
        # Through Delta's own handler Arrow's threads call Python, and a process that ends meanwhile is aborted.
        root = unquote(delta.table_uri.removeprefix("file://"))
        return fs.SubTreeFileSystem(root, fs.LocalFileSystem())
    return fs.PyFileSystem(DeltaStorageHandler.from_table(delta._table))  # type: ignore[arg-type]


def log_entries(delta: DeltaTable) -> pa.Table:
    """The snapshot's files as the log describes them: path, size_bytes, num_records, partition.*, min.*, max.*."""
    # Not `pa.table`, which imports pandas to see whether it was given a frame of it: a second of every command.
    entries: Any = delta.get_add_actions(flatten=True)
    return pa.RecordBatchReader.from_stream(entries).read_all()


def read_rows(delta: DeltaTable) -> pa.Table:
    """All rows of a small table that is not partitioned.

    Raises:
        OSError, pa.ArrowException: a file cannot be read.
    """
    schema: pa.Schema = pa.schema(delta.schema().to_arrow())  # type: ignore[arg-type]
    # Not by way of a dataset, which imports pandas.
    files = file_system(delta)
    paths = [unquote(str(path)) for path in log_entries(delta)["path"].to_pylist()]
    tables = [pa.Table.from_batches([], schema)]
    for path in paths:
        with files.open_input_file(path) as file:
            tables.append(pq.ParquetFile(file).read())
    return pa.concat_tables(tables, promote_options="default").select(schema.names).cast(schema)


def arrow_dataset(delta: DeltaTable) -> Any:
    """The snapshot's rows as a `pyarrow.dataset.Dataset`."""
    return delta.to_pyarrow_dataset(filesystem=file_system(delta))


def snapshot_files(delta: DeltaTable) -> list[str]:
    """The Parquet files of a snapshot, as DuckDB and pyarrow open them."""
    # Local paths come percent-encoded.
    return [uri if is_url(uri) else unquote(uri) for uri in delta.file_uris()]


def _reason(error: BaseException) -> str:
    told = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Delta's errors are coloured
    # A file has another name with each attempt, and the same trouble is to read the same.
    told = re.sub(r"part-[\w.#-]+", "part-…", told)
    return redact(" ".join(told.split())).removesuffix(".")[:300] or type(error).__name__
