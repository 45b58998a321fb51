"""Merging and purging beside writers that keep writing."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from risa_ray.store.maintenance import compact, purge
from risa_ray.store.writer import Writer


def write(writer: Writer, tools: Any, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        writer.add(tools.chunk(seq, seq, faces=lambda s: 1))
        writer.flush()


def files(data: Path) -> int:
    return len(list((data / "observations").rglob("*.parquet")))


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
    known = next((tmp_path / "observations").rglob("*.parquet"))
    orphan, fresh = known.with_name("part-orphan.parquet"), known.with_name("part-fresh.parquet")
    for left in (orphan, fresh):
        left.write_bytes(known.read_bytes())
    two_hours_ago = time.time() - 7200
    os.utime(orphan, (two_hours_ago, two_hours_ago))
    compact(str(tmp_path))
    assert (orphan.exists(), fresh.exists(), files(tmp_path)) == (False, True, 3)


def test_old_days_are_purged(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    for name, day in (("s1", 1), ("s2", 20)):
        writer.open_session(tools.session(name))
        start = datetime(2026, 11, day, 12, tzinfo=UTC)
        writer.add(tools.chunk(0, 2, session_id=name, start=start, faces=lambda s: 1))
        writer.close_session(name, "complete")
    writer.flush()
    now = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    assert purge(str(tmp_path), 7, clock=lambda: now) == 4
    assert {r["session_id"] for r in tools.rows(tmp_path, "observations")} == {"s2"}
    assert len(tools.rows(tmp_path, "frames")) == 1
    assert purge(str(tmp_path), 7, clock=lambda: now) == 0
