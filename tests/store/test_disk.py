"""A disk of its own that is full, or read-only: what waits is kept, what was acknowledged stays, readers go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from disks import fill, remount

from risa_ray.analytics import open_dataset
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import compact
from risa_ray.store.table import Table
from risa_ray.store.verify import verify
from risa_ray.store.writer import Writer

FRAMES = 2000


def on_disk(data: Path) -> set[Path]:
    return set((data / "observations").rglob("*.parquet"))


def mentioned(data: Path) -> set[Path]:
    """Files that the table knows."""
    return {Path(uri) for uri in Table(str(data), "observations").delta.file_uris()}


def seen(data: Path) -> tuple[int, int]:
    """What a reader of the dataset finds: faces, frames."""
    with open_dataset(str(data), raw=True) as connection:
        (faces,) = connection.sql("SELECT count(*) FROM observations").fetchall()
        (frames,) = connection.sql("SELECT coalesce(sum(read), 0) FROM frames").fetchall()
    return int(faces[0]), int(frames[0])


def faces(last: int) -> int:
    return sum(seq % 3 for seq in range(last + 1))


@pytest.mark.parametrize("leave", [0, 24_576, 32_768], ids=["at once", "with a file left over", "after the faces"])
def test_a_full_disk(disk: Path, tools: Any, leave: int) -> None:
    data = disk / "data"
    writer = Writer(str(data), "run1")
    writer.open_session(tools.session(live=True))
    writer.add(tools.chunk(0, 14))
    writer.flush()
    acknowledged, before = writer.acknowledged("s1"), seen(data)
    with open_dataset(str(data), raw=True) as connection:
        fill(disk, leave)
        writer.add(tools.chunk(15, FRAMES))
        for _ in range(2):
            with pytest.raises(StoreError, match=str(disk)) as caught:
                writer.flush()
            assert "\n" not in str(caught.value)
            assert writer.acknowledged("s1") >= acknowledged
            assert seen(data) >= before
            assert connection.sql("SELECT count(*) FROM observations").fetchall() == [(before[0],)]
    (disk / "filler").unlink()
    writer.close_session("s1", "stopped")
    writer.flush()
    assert seen(data) == (faces(FRAMES), FRAMES + 1)
    compact(str(data), keep_hours=0)
    assert on_disk(data) == mentioned(data), "what failed writes left behind goes"
    assert [check.line() for check in verify(str(data)) if check.problems] == []


def test_what_a_failed_write_left_behind_harms_nobody_and_goes(disk: Path, tools: Any) -> None:
    data = disk / "data"
    writer = Writer(str(data), "run1")
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, FRAMES))
    writer.flush()
    torn = next(iter(on_disk(data))).with_name("part-00000-torn.zstd.parquet")
    torn.write_bytes(b"PAR1 half of a file")
    assert seen(data) == (faces(FRAMES), FRAMES // 20 * 20 - 10)
    assert [check.line() for check in verify(str(data)) if check.problems] == []
    compact(str(data), clock=lambda: time.time() + 7200)
    assert torn.exists(), "a commit may still be under way"
    compact(str(data), keep_hours=0)
    assert on_disk(data) == mentioned(data)


def test_the_same_trouble_reads_the_same_with_each_attempt(tmp_path: Path, tools: Any) -> None:
    """Each attempt has a file of its own, whose name would make the trouble another."""
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 14))
    day = tmp_path / "observations" / f"date={tools.START.date()}"
    day.write_text("no folder")
    told = set()
    for _ in range(3):
        with pytest.raises(StoreError) as caught:
            writer.flush()
        told.add(str(caught.value))
    (trouble,) = told
    assert f"{day}/store_id=007/part-…" in trouble
    day.unlink()
    assert writer.flush() == {"s1": 9}


def test_a_table_whose_disk_is_gone_is_not_created_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, unmounted = tmp_path / "data", tmp_path / "unmounted"
    table = Table(str(data), "frames")
    table.commit(None, {"s1": 9})
    data.rename(unmounted)

    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "update_incremental", fail)
        with pytest.raises(StoreError, match=str(data)):
            table.refresh()
        with pytest.raises(StoreError, match=str(data)):
            table.commit(None, {"s1": 19})
    assert not data.exists()
    unmounted.rename(data)
    table.refresh()
    assert table.mark("s1") == 9
    table.commit(None, {"s1": 19})


def test_a_path_that_becomes_read_only(disk: Path, tools: Any) -> None:
    data = disk / "data"
    writer = Writer(str(data), "run1")
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 14))
    assert writer.flush() == {"s1": 9}
    remount(disk, "ro")
    writer.add(tools.chunk(15, 40))
    with pytest.raises(StoreError, match=str(disk)):
        writer.flush()
    assert writer.acknowledged("s1") == 9
    assert seen(data) == (faces(14), 10)
    remount(disk, "rw")
    writer.close_session("s1", "complete")
    writer.flush()
    assert seen(data) == (faces(40), 41)
