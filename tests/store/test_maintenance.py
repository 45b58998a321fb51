"""Merging and sorting beside writers that keep writing."""

from __future__ import annotations

import os
import random
import threading
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from risa_ray import open_dataset
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import compact, partition_files, sort_days
from risa_ray.store.rewrite import rewrite
from risa_ray.store.table import Table
from risa_ray.store.verify import verify
from risa_ray.store.writer import Writer


def write(writer: Writer, tools: Any, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        writer.add(tools.chunk(seq, seq, faces=lambda s: 1))
        writer.flush()


def paths(data: Path) -> list[Path]:
    """Of the rows; the log's checkpoints are Parquet, too."""
    return list((data / "observations").glob("date=*/**/*.parquet"))


def files(data: Path) -> int:
    return len(paths(data))


def test_small_files_are_merged_beside_a_writer(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 9)
    before = tools.rows(tmp_path, "observations", ["frame_seq"])
    done = compact(str(tmp_path), older_than_s=-60)
    assert (done.merged, done.written) == (10, 1)
    assert tools.rows(tmp_path, "observations", ["frame_seq"]) == before
    assert files(tmp_path) == 11, "readers of the old snapshot still need the small files"
    write(writer, tools, 10, 19)
    writer.close_session("s1", "complete")
    writer.flush()
    assert [r["frame_seq"] for r in tools.rows(tmp_path, "observations", ["frame_seq"])] == list(range(20))
    compact(str(tmp_path), older_than_s=-60, keep_hours=0)
    assert files(tmp_path) == 1
    assert Writer(str(tmp_path), "run1").open_session(tools.session()) == 19


def test_fresh_and_few_files_are_left_alone(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 9)
    assert compact(str(tmp_path), older_than_s=3600).merged == 0


def test_what_a_crashed_commit_left_is_deleted(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 1)
    known = paths(tmp_path)[0]
    orphan, fresh = known.with_name("part-orphan.parquet"), known.with_name("part-fresh.parquet")
    for left in (orphan, fresh):
        left.write_bytes(known.read_bytes())
    two_hours_ago = time.time() - 7200
    os.utime(orphan, (two_hours_ago, two_hours_ago))
    compact(str(tmp_path))
    assert (orphan.exists(), fresh.exists(), files(tmp_path)) == (False, True, 3)


def test_days_are_sorted_into_one_file_beside_a_writer_and_readers(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    for number in range(3):
        writer.open_session(tools.session(f"s{number}"))
    for first in range(0, 60, 10):
        # Not in the order of capture: cameras are minutes apart.
        for number in (2, 0, 1):
            start = tools.START - timedelta(minutes=number)
            writer.add(tools.chunk(first, first + 9, session_id=f"s{number}", start=start, faces=lambda s: 2))
        writer.flush()
    count = "SELECT count(*), count(DISTINCT (session_id, frame_seq, face_index)) FROM observations"
    before = open_dataset(tmp_path, raw=True)
    stop = threading.Event()

    def keep_writing() -> None:
        seq = 60
        while not stop.is_set():
            writer.add(tools.chunk(seq, seq, session_id="s0", faces=lambda s: 1))
            writer.flush()
            seq += 1

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        done = {name: upkeep for name, upkeep, _ in sort_days(str(tmp_path))}
        during = open_dataset(tmp_path, raw=True)
    finally:
        stop.set()
        thread.join()
    assert done["observations"].merged >= 6
    assert done["observations"].rows >= 360
    assert before.sql(count).fetchall() == [(360, 360)], "the files of an open reader stay"
    ((rows, keys),) = during.sql(count).fetchall()
    assert rows == keys >= 360

    # However many flushes came in beside the sort, there is one more to be sorted in.
    writer.add(tools.chunk(60, 60, session_id="s1", faces=lambda s: 1))
    writer.flush()
    done = {name: upkeep for name, upkeep, _ in sort_days(str(tmp_path), keep_hours=0)}
    assert done["observations"].written == 1
    # What was replaced in the very millisecond of a vacuum waits for the next.
    list(sort_days(str(tmp_path), keep_hours=0))
    assert files(tmp_path) == 1
    (file,) = paths(tmp_path)
    times = pq.ParquetFile(file).read(columns=["captured_at"])["captured_at"].to_pylist()
    assert times == sorted(times)
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []
    assert {name: upkeep.merged for name, upkeep, _ in sort_days(str(tmp_path))}["observations"] == 0, "in order"


def test_a_merged_day_is_sorted_too_and_a_large_one_is_cut(
    tmp_path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(str(tmp_path), "run1")
    rng = random.Random(0)
    for number in rng.sample(range(24), 24):
        writer.open_session(tools.session(f"s{number}"))
        start = tools.START.replace(hour=0, minute=2 * number)
        writer.add(tools.chunk(0, 200, session_id=f"s{number}", start=start, faces=lambda s: 5))
        writer.flush()
    compact(str(tmp_path), older_than_s=-60, keep_hours=0)
    assert files(tmp_path) == 1
    list(sort_days(str(tmp_path), keep_hours=0))
    (file,) = paths(tmp_path)
    times = pq.ParquetFile(file).read(columns=["captured_at"])["captured_at"].to_pylist()
    assert times == sorted(times)

    monkeypatch.setattr("risa_ray.store.rewrite.TARGET_BYTES", file.stat().st_size // 4)
    monkeypatch.setattr("risa_ray.store.rewrite.ROW_GROUP_ROWS", 3000)
    for name in ("s90", "s91"):
        writer.open_session(tools.session(name))
        writer.add(tools.chunk(0, 200, session_id=name, start=tools.START.replace(hour=0), faces=lambda s: 5))
        writer.flush()
    list(sort_days(str(tmp_path), keep_hours=0))
    spans = []
    for file in paths(tmp_path):
        times = pq.ParquetFile(file).read(columns=["captured_at"])["captured_at"].to_pylist()
        assert times == sorted(times)
        spans.append((times[0], times[-1]))
    spans.sort()
    assert len(spans) > 1
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert {name: upkeep.merged for name, upkeep, _ in sort_days(str(tmp_path))}["observations"] == 0, "in order"


def test_of_two_rewrites_of_the_same_files_one_is_refused(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 5)
    first, second = Table(str(tmp_path), "observations"), Table(str(tmp_path), "observations")
    made = [rewrite(table, entries) for table in (first, second) for entries in partition_files(table).values()]
    made[0].commit()
    with pytest.raises(CommitFailedError):
        made[1].commit()
    assert [r["frame_seq"] for r in tools.rows(tmp_path, "observations", ["frame_seq"])] == list(range(6))
    assert files(tmp_path) == 7, "the six and the one, and nothing of the refused rewrite"


def test_a_rewrite_of_files_that_are_gone_is_refused_whatever_the_snapshot_knows(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 5)
    table = Table(str(tmp_path), "observations")
    (entries,) = partition_files(table).values()
    made = rewrite(table, entries)
    DeltaTable(table.path).delete("frame_seq < 3")
    table.refresh()
    with pytest.raises(CommitFailedError):
        made.commit()
    assert [r["frame_seq"] for r in tools.rows(tmp_path, "observations", ["frame_seq"])] == [3, 4, 5]


def test_ctrl_c_as_a_rewrite_is_committed_leaves_its_files(
    tmp_path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 5)
    commit = DeltaTable.create_write_transaction

    def interrupted(*args: Any, **options: Any) -> None:
        commit(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(DeltaTable, "create_write_transaction", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(sort_days(str(tmp_path)))
    assert [r["frame_seq"] for r in tools.rows(tmp_path, "observations", ["frame_seq"])] == list(range(6))


def test_a_broken_file_is_one_line(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 1)
    for file in paths(tmp_path):
        file.write_bytes(b"no rows")
    with pytest.raises(StoreError, match=r"observations.*risa verify") as caught:
        list(sort_days(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_merging_and_sorting_at_once_keep_every_row_once(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    write(writer, tools, 0, 9)
    for number in range(4):
        # Other days, so that a snapshot is newer than the list of files that a rewrite began from.
        writer.open_session(tools.session(f"d{number}"))
        for seq in range(0, 40, 4):
            start = tools.START - timedelta(days=number + 1)
            writer.add(tools.chunk(seq, seq + 3, session_id=f"d{number}", start=start, faces=lambda s: 1))
            writer.flush()
    stop = threading.Event()
    failed: list[BaseException] = []

    def keep(work: Any) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            failed.append(error)

    works = [
        lambda: compact(str(tmp_path), older_than_s=-60),
        lambda: list(sort_days(str(tmp_path))),
        lambda: list(sort_days(str(tmp_path))),
    ]
    threads = [threading.Thread(target=keep, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        write(writer, tools, 10, 39)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert sorted(r["frame_seq"] for r in tools.rows(tmp_path, "observations", ["frame_seq"])) == sorted(
        [*range(40)] * 5
    )
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []
