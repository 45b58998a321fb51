"""Upkeep beside running writers: merging the small files of many flushes, sorting days, and deleting replaced files."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from risa_ray.config import redact
from risa_ray.store.errors import StoreError
from risa_ray.store.paths import has_table
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES, TIME_COLUMNS
from risa_ray.store.table import WRITER_PROPERTIES, Table, arrow_dataset

TARGET_BYTES = 64 * 2**20
MIN_FILES = 8
"""A partition with fewer small files is left alone."""
KEEP_HOURS = 1
"""Files that were merged or purged away stay this long for readers that still have them open."""
SORTED = ("observations", "frames", "alerts")

# Row groups of DuckDB's own size, so that a query for an hour of a day reads little more than the hour.
_SORTED_PROPERTIES = WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=122_880)
_SORT_BYTES = 512 * 2**20
"""Memory for one sort; a larger day is sorted on disk."""
_ATTEMPTS = 12

Partition = tuple[tuple[str, str], ...]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done: files merged, files written in their place, files deleted from disk, rows sorted."""

    merged: int = 0
    written: int = 0
    deleted: int = 0
    rows: int = 0

    def __add__(self, other: Upkeep) -> Upkeep:
        return Upkeep(
            self.merged + other.merged,
            self.written + other.written,
            self.deleted + other.deleted,
            self.rows + other.rows,
        )


def compact(
    data: str, older_than_s: float = 60, keep_hours: int = KEEP_HOURS, clock: Callable[[], float] = time.time
) -> Upkeep:
    """Merge the small files of each partition, and delete those merged or purged earlier, and what crashes left over.

    Each flush is sorted by capture time; a merged file is a sequence of such flushes, in no promised order, so its row
    groups overlap in time: `sort_days` puts that right. Safe beside writers: appends never conflict with a merge, and
    readers with an older snapshot keep its files for `keep_hours`; so long a commit may take, too, since files that no
    commit mentions are deleted.

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
            table = Table(data, name)
            total += _merge(table, clock() - older_than_s) + vacuum(table, keep_hours)
    return total


def sort_days(data: str, keep_hours: int = KEEP_HOURS) -> Iterator[tuple[str, Upkeep, float]]:
    """Merge and sort each partition of observations, frames and alerts by time, merge other tables, delete old files.

    A partition becomes one file, or several of `TARGET_BYTES` that follow one another in time; one that is in order
    already is left alone. Each partition is one commit, so no reader sees half of it, and it is as safe beside writers
    as `compact`.

    Args:
        data: path or URL of the dataset.
        keep_hours: how long replaced files stay on disk.

    Yields:
        Each table's name, what was done, and the seconds it took.

    Raises:
        StoreError: a table cannot be read or written.
    """
    for name in TABLES:
        if not has_table(data, name):
            continue
        table = Table(data, name)
        began = time.perf_counter()
        if name in SORTED:
            done = sum((_sort(table, partition) for partition in _unsorted(table)), Upkeep())
        else:
            done = _merge(table, float("inf"), 2)
        took = time.perf_counter() - began
        yield name, done + vacuum(table, keep_hours), took


def replacing(table: Table, work: Callable[[], _T]) -> _T:
    """Do a commit that replaces files, again on a newer snapshot where another writer replaced the same ones.

    Raises:
        StoreError: it failed, or others were faster again and again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except (OSError, DeltaError) as error:
            if not isinstance(error, CommitFailedError) or attempt == _ATTEMPTS - 1:
                reason = redact(" ".join(str(error).split()))[:300]
                raise StoreError(f"{redact(table.path)}: cannot be rewritten ({reason}); nothing is lost") from error
        time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 6)))  # noqa: S311 (jitter, nothing secret)
        table.refresh()
    raise AssertionError


def vacuum(table: Table, keep_hours: int) -> Upkeep:
    """Delete files that no snapshot of the last `keep_hours` has.

    Raises:
        StoreError: the table cannot be read, or a file cannot be deleted.
    """
    # Full: a writer that died before its commit left files that no log mentions, and they hold people's rows too.
    deleted = replacing(
        table,
        lambda: table.delta.vacuum(
            retention_hours=keep_hours, dry_run=False, enforce_retention_duration=False, full=True
        ),
    )
    return Upkeep(deleted=len(deleted))


def partition_files(table: Table) -> dict[Partition, list[dict[str, Any]]]:
    """Partition -> the log's entries of its files, as of the snapshot; `path` is relative to the table."""
    columns = PARTITION_COLUMNS if table.name in PARTITIONED else []
    found: dict[Partition, list[dict[str, Any]]] = defaultdict(list)
    for entry in pa.table(table.delta.get_add_actions(flatten=True)).to_pylist():
        found[tuple((column, str(entry[f"partition.{column}"])) for column in columns)].append(entry)
    return found


def partition_filter(partition: Partition) -> pc.Expression | None:
    """The rows of a partition, for pyarrow."""
    expression: pc.Expression | None = None
    for column, value in partition:
        wanted = pa.scalar(value).cast(pa.date32()) if column == "date" else pa.scalar(value)
        here = pc.field(column) == wanted
        expression = here if expression is None else expression & here
    return expression


def _merge(table: Table, before: float, min_files: int = MIN_FILES) -> Upkeep:
    done = Upkeep()
    for partition in _crowded(table, before, min_files):
        # Bound at once: the work is done within this turn of the loop.
        filters = [(column, "=", value) for column, value in partition] or None
        metrics = replacing(
            table,
            lambda filters=filters: table.delta.optimize.compact(  # type: ignore[misc]
                partition_filters=filters, target_size=TARGET_BYTES, writer_properties=WRITER_PROPERTIES
            ),
        )
        done += Upkeep(metrics["numFilesRemoved"], metrics["numFilesAdded"])
    return done


def _crowded(table: Table, before: float, min_files: int) -> list[Partition]:
    """Partitions with enough small files written before a Unix second."""
    files: Counter[Partition] = Counter()
    for partition, entries in partition_files(table).items():
        files[partition] = sum(
            e["size_bytes"] < TARGET_BYTES // 2 and e["modification_time"] < before * 1000 for e in entries
        )
    return [partition for partition, count in files.items() if count >= min_files]


def _unsorted(table: Table) -> list[Partition]:
    column = TIME_COLUMNS[table.name]
    return [
        partition
        for partition, entries in sorted(partition_files(table).items())
        if not _follow_one_another(entries, column) or not _sorted_inside(table, partition, column)
    ]


def _follow_one_another(entries: list[dict[str, Any]], column: str) -> bool:
    """Whether the files, by the log's statistics, are of full size and do not overlap in time."""
    if sum(e["size_bytes"] < TARGET_BYTES // 2 for e in entries) > 1:
        return False
    if len(entries) > 1 and any(e.get(f"{end}.{column}") is None for e in entries for end in ("min", "max")):
        return False
    ordered = sorted(entries, key=lambda e: e[f"min.{column}"]) if len(entries) > 1 else entries
    return all(a[f"max.{column}"] <= b[f"min.{column}"] for a, b in pairwise(ordered))


def _sorted_inside(table: Table, partition: Partition, column: str) -> bool:
    try:
        dataset = arrow_dataset(table.delta)
        for file in dataset.get_fragments(filter=partition_filter(partition)):
            times = file.to_table(columns=[column])[column].combine_chunks().cast(pa.int64())
            if not pc.all(pc.less_equal(times[:-1], times[1:]), min_count=0).as_py():
                return False
    except (OSError, DeltaError, pa.ArrowException) as error:
        reason = redact(" ".join(str(error).split()))[:300]
        raise StoreError(f"{redact(table.path)}: cannot be read ({reason}); `risa verify` tells more") from error
    return True


def _sort(table: Table, partition: Partition) -> Upkeep:
    def work() -> Upkeep:
        rows = sum(e["num_records"] or 0 for e in partition_files(table).get(partition, []))
        # A Z-order over one column is a sort by it.
        metrics = table.delta.optimize.z_order(
            [TIME_COLUMNS[table.name]],
            partition_filters=[(column, "=", value) for column, value in partition],
            target_size=TARGET_BYTES,
            max_spill_size=_SORT_BYTES,
            writer_properties=_SORTED_PROPERTIES,
        )
        return Upkeep(metrics["numFilesRemoved"], metrics["numFilesAdded"], rows=rows)

    return replacing(table, work)
