"""Upkeep beside running writers: merging the small files of many flushes, and deleting what outlived its retention."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
from deltalake.exceptions import DeltaError

from risa_ray.config import redact
from risa_ray.frames import from_unix
from risa_ray.store.errors import StoreError
from risa_ray.store.paths import dataset_path, has_table
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES
from risa_ray.store.table import WRITER_PROPERTIES, Table

TARGET_BYTES = 64 * 2**20
MIN_FILES = 8
"""A partition with fewer small files is left alone."""
KEEP_HOURS = 1
"""Files that were merged or purged away stay this long for readers that still have them open."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done: small files merged, files written in their place, files deleted from disk."""

    merged: int = 0
    written: int = 0
    deleted: int = 0

    def __add__(self, other: Upkeep) -> Upkeep:
        return Upkeep(self.merged + other.merged, self.written + other.written, self.deleted + other.deleted)


def compact(
    data: str, older_than_s: float = 60, keep_hours: int = KEEP_HOURS, clock: Callable[[], float] = time.time
) -> Upkeep:
    """Merge the small files of each partition, and delete those merged or purged earlier, and what crashes left over.

    Each flush is sorted by capture time; a merged file is a sequence of such flushes, in no promised order, so its row
    groups overlap in time. Safe beside writers: appends never conflict with a merge, and readers with an older snapshot
    keep its files for `keep_hours`; so long a commit may take, too, since files that no commit mentions are deleted.

    Args:
        data: path or URL of the dataset.
        older_than_s: a partition is merged once `MIN_FILES` of its small files are older than this.
        keep_hours: how long replaced files stay on disk.

    Raises:
        StoreError: a table cannot be read or written.
    """
    total = Upkeep()
    for name in TABLES:
        if has_table(data, name):
            total += _upkeep(Table(data, name), clock() - older_than_s, keep_hours)
    return total


def purge(data: str, retention_days: int, clock: Callable[[], float] = time.time) -> int:
    """Delete whole days of observations, frames and alerts older than the retention; returns the rows deleted.

    The files go from disk with the first `compact` an hour later.

    Raises:
        StoreError: a table cannot be read or written.
    """
    oldest = (from_unix(clock()) - timedelta(days=retention_days)).date()
    rows = 0
    for name in PARTITIONED:
        if not has_table(data, name):
            continue
        table = Table(dataset_path(data), name)
        try:
            if any(str(p["date"]) < oldest.isoformat() for p in table.delta.partitions()):
                rows += int(table.delta.delete(f"date < '{oldest.isoformat()}'").get("num_deleted_rows") or 0)
        except DeltaError as error:
            raise StoreError(f"{redact(table.path)}: cannot be purged ({error})") from error
    return rows


def _upkeep(table: Table, before: float, keep_hours: int) -> Upkeep:
    try:
        done = Upkeep()
        for partition in _crowded(table, before):
            metrics = table.delta.optimize.compact(
                partition_filters=[(column, "=", value) for column, value in partition] or None,
                target_size=TARGET_BYTES,
                writer_properties=WRITER_PROPERTIES,
            )
            done += Upkeep(metrics["numFilesRemoved"], metrics["numFilesAdded"])
        # Full: a writer that died before its commit left files that no log mentions, and they hold people's rows too.
        deleted = table.delta.vacuum(
            retention_hours=keep_hours, dry_run=False, enforce_retention_duration=False, full=True
        )
    except DeltaError as error:
        raise StoreError(f"{redact(table.path)}: cannot be merged ({' '.join(str(error).split())[:300]})") from error
    return done + Upkeep(deleted=len(deleted))


def _crowded(table: Table, before: float) -> list[tuple[tuple[str, str], ...]]:
    """Partitions with enough small files written before a Unix second."""
    columns = PARTITION_COLUMNS if table.name in PARTITIONED else []
    files: Counter[tuple[tuple[str, str], ...]] = Counter()
    actions = pa.table(table.delta.get_add_actions(flatten=True))
    names = ["size_bytes", "modification_time", *(f"partition.{column}" for column in columns)]
    for size, modified_ms, *values in zip(*(actions[name].to_pylist() for name in names), strict=True):
        if size < TARGET_BYTES // 2 and modified_ms < before * 1000:
            files[tuple(zip(columns, map(str, values), strict=True))] += 1
    return [partition for partition, count in files.items() if count >= MIN_FILES]
