"""Upkeep beside running writers: merging the small files of many flushes, sorting days, and deleting replaced files."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError

from risa_ray.config import redact
from risa_ray.store import rewrite
from risa_ray.store.errors import StoreError
from risa_ray.store.paths import has_table
from risa_ray.store.rewrite import Rewritten, sorted_inside
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES, TIME_COLUMNS
from risa_ray.store.table import Table, log_entries

MIN_FILES = 8
"""A partition with fewer small files is left alone."""
KEEP_HOURS = 1
"""Files that were merged or purged away stay this long for readers that still have them open."""
SORTED = ("observations", "frames", "alerts", "alert_events")
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

    A merged file is sorted by capture time, but others of its partition may overlap it: `sort_days` puts that right.
    Safe beside writers: appends never conflict with a merge, and readers with an older snapshot keep its files for
    `keep_hours`; so long a commit may take, too, since files that no commit mentions are deleted.

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
            total += _rewrite(table, _small(MIN_FILES, clock() - older_than_s), 1) + vacuum(table, keep_hours)
    return total


def sort_days(data: str, keep_hours: int = KEEP_HOURS) -> Iterator[tuple[str, Upkeep, float]]:
    """Merge and sort each partition of `SORTED` by time, merge other tables, delete old files.

    A partition becomes one file, or several of `rewrite.TARGET_BYTES` that follow one another in time; one that is in
    order already is left alone. Each partition is one commit, so no reader sees half of it, and it is as safe beside
    writers as `compact`. It uses up to four cores.

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
        choose = _unsorted if name in SORTED else _small(2, float("inf"))
        done = _rewrite(table, choose, min(4, len(os.sched_getaffinity(0))))
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
        except (OSError, DeltaError, pa.ArrowException, duckdb.Error) as error:
            if not isinstance(error, CommitFailedError) or attempt == _ATTEMPTS - 1:
                reason = redact(" ".join(str(error).split()))[:300]
                what = f"{redact(table.path)}: cannot be rewritten ({reason})"
                raise StoreError(f"{what}; `risa verify` tells more") from error
        time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 6)))  # noqa: S311 (jitter, nothing secret)
        table.refresh()
    raise AssertionError


def vacuum(table: Table, keep_hours: int) -> Upkeep:
    """Delete files that no snapshot of the last `keep_hours` has.

    Raises:
        StoreError: the table cannot be read, or a file cannot be deleted.
    """
    table.refresh()
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
    for entry in log_entries(table.delta).to_pylist():
        found[tuple((column, str(entry[f"partition.{column}"])) for column in columns)].append(entry)
    return found


Choose = Callable[[Table, list[dict[str, Any]]], Sequence[dict[str, Any]]]
"""Of a partition's files, those to write anew; none where it is in order."""


def _small(min_files: int, before: float) -> Choose:
    """The small files of partitions with enough of them that were written before a Unix second."""

    def choose(_: Table, entries: list[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        small = [e for e in entries if e["size_bytes"] < rewrite.TARGET_BYTES // 2]
        return small if sum(e["modification_time"] < before * 1000 for e in small) >= min_files else ()

    return choose


def _unsorted(table: Table, entries: list[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """All files of a partition that is not in the order of time."""
    column = TIME_COLUMNS[table.name]
    in_order = _follow_one_another(entries, column) and all(sorted_inside(table, e, column) for e in entries)
    return () if in_order else entries


def _follow_one_another(entries: list[dict[str, Any]], column: str) -> bool:
    """Whether the files, by the log's statistics, are of full size and do not overlap in time."""
    if sum(e["size_bytes"] < rewrite.TARGET_BYTES // 2 for e in entries) > 1:
        return False
    if len(entries) > 1 and any(e.get(f"{end}.{column}") is None for e in entries for end in ("min", "max")):
        return False
    ordered = sorted(entries, key=lambda e: e[f"min.{column}"]) if len(entries) > 1 else entries
    return all(a[f"max.{column}"] <= b[f"min.{column}"] for a, b in pairwise(ordered))


def _rewrite(table: Table, choose: Choose, workers: int) -> Upkeep:
    """Write files of each partition anew: prepared side by side, committed one partition at a time."""

    def prepare(entries: list[dict[str, Any]]) -> Rewritten | None:
        chosen = choose(table, entries)
        return rewrite.rewrite(table, chosen) if chosen else None

    done = Upkeep()
    waiting: deque[tuple[Partition, Future[Rewritten | None]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for partition, entries in sorted(partition_files(table).items()):
            waiting.append((partition, pool.submit(prepare, entries)))
            if len(waiting) > workers:
                done += _committed(table, prepare, *waiting.popleft())
        while waiting:
            done += _committed(table, prepare, *waiting.popleft())
    finally:
        # After an error, or Ctrl-C, which does not wait for what is being prepared: the vacuum deletes that. What was
        # being committed is left alone: it may be durable.
        pool.shutdown(wait=False, cancel_futures=True)
        for _, future in waiting:
            if future.done() and not future.cancelled():
                with suppress(Exception):
                    if made := future.result():
                        made.discard()
    return done


def _committed(
    table: Table,
    prepare: Callable[[list[dict[str, Any]]], Rewritten | None],
    partition: Partition,
    future: Future[Rewritten | None],
) -> Upkeep:
    first = True

    def work() -> Upkeep:
        nonlocal first
        # Once another was faster, what it left of the partition is looked at again.
        made = future.result() if first else prepare(partition_files(table).get(partition, []))
        first = False
        if made is None:
            return Upkeep()
        made.commit()
        return Upkeep(len(made.old), len(made.new), rows=sum(e["num_records"] or 0 for e in made.old))

    return replacing(table, work)
