"""What a reader and an analyst rely on: nothing twice, nothing lost, every frame accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clock import Clock
from deltalake import DeltaTable
from written import FACES_ORDER, FRAMES_ORDER, finish

from risa_ray.errors import InputError
from risa_ray.store.errors import GapError
from risa_ray.store.table import Table
from risa_ray.store.writer import Writer

ALERT = {
    "alert_id": "a1", "rule_id": "r1", "store_id": "007", "camera_id": "cam1", "zone_id": None,
    "figure": "people", "value": 5.0, "threshold": 4.0, "direction": "above", "tracks": 5, "window_s": 60.0,
    "severity": "warning", "text": "many people", "fired_at": datetime(2026, 11, 22, 23, 59, tzinfo=UTC),
}  # fmt: skip


def marks(data: Path, table: str) -> dict[str, int]:
    """The application transactions of a table's log."""
    logs = sorted((data / table / "_delta_log").glob("*.json"))
    found = [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    return {action["txn"]["appId"]: action["txn"]["version"] for action in found if "txn" in action}


def test_one_row_per_face_with_every_column(writer: Writer, tmp_path: Path, tools: Any) -> None:
    assert writer.open_session(tools.session()) == -1
    writer.add(tools.chunk(0, 9))
    finish(writer)
    rows = tools.rows(tmp_path, "observations", FACES_ORDER)
    assert [(r["frame_seq"], r["face_index"]) for r in rows] == [(s, i) for s in range(10) for i in range(s % 3)]
    assert rows[0]["captured_at"] == tools.START + timedelta(seconds=0.5)
    assert rows[0]["store_id"] == "007"
    assert rows[0]["zone_ids"] == ["z1"]
    assert rows[0]["p_neutral"] == pytest.approx(0.3)
    assert rows[0]["model_id"] == "model-1"


def test_a_window_counts_every_frame_once(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 39, cause=lambda s: "stale" if s % 10 == 3 else "poison" if s == 5 else None))
    finish(writer, "broken", note="the file ends early")
    rows = tools.rows(tmp_path, "frames", FRAMES_ORDER)
    assert [r["window_start"].second for r in rows] == [50, 0, 10]
    assert [(r["first_seq"], r["last_seq"]) for r in rows] == [(0, 9), (10, 29), (30, 39)]
    assert [(r["read"], r["analysed"], r["dropped_stale"], r["dropped_poison"]) for r in rows] == [
        (10, 8, 1, 1),
        (20, 18, 2, 0),
        (10, 9, 1, 0),
    ]
    assert [r["state"] for r in rows] == ["reading", "reading", "broken"]
    assert rows[2]["note"] == "the file ends early"
    assert sum(r["faces"] for r in rows) == len(tools.rows(tmp_path, "observations"))


def test_files_are_sorted_partitioned_and_zstd(writer: Writer, tmp_path: Path, tools: Any) -> None:
    midnight = datetime(2026, 11, 22, 23, 59, 58, tzinfo=UTC)
    for name in ("s1", "s2"):
        writer.open_session(tools.session(name))
        writer.add(tools.chunk(0, 9, session_id=name, start=midnight))
    writer.flush()
    files = sorted((tmp_path / "observations").glob("date=*/store_id=007/*.parquet"))
    assert [f.parent.parent.name for f in files] == ["date=2026-11-22", "date=2026-11-23"]
    for file in files:
        times = pq.ParquetFile(file).read(columns=["captured_at"])["captured_at"].to_pylist()
        assert times == sorted(times)
        assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_chunk_sent_twice_is_stored_once(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    for _ in range(2):
        writer.add(tools.chunk(0, 5))
        writer.add(tools.chunk(3, 9))
        writer.flush()
    finish(writer)
    writer.add(tools.chunk(0, 9))
    writer.close_session("s1", "complete")
    writer.flush()
    assert len(tools.rows(tmp_path, "observations")) == sum(s % 3 for s in range(10))
    assert sum(r["read"] for r in tools.rows(tmp_path, "frames")) == 10


def test_a_gap_is_refused_with_the_frame_to_send(writer: Writer, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 3))
    with pytest.raises(GapError) as caught:
        writer.add(tools.chunk(6, 8))
    assert caught.value.expected_seq == 4
    writer.add(tools.chunk(4, 8))


def test_an_unknown_session_is_refused(writer: Writer, tools: Any) -> None:
    with pytest.raises(KeyError):
        writer.add(tools.chunk(0, 3))


def test_acknowledged_is_the_end_of_the_last_whole_window(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 14))
    assert writer.flush() == {"s1": 9}
    assert Writer(str(tmp_path), "run1").open_session(tools.session()) == 9
    writer.close_session("s1", "stopped")
    assert writer.flush() == {"s1": 14}
    assert writer.flush() == {}


def test_no_faces_still_acknowledge_without_files(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 14, faces=lambda s: 0))
    assert writer.flush() == {"s1": 9}
    assert list((tmp_path / "observations").rglob("*.parquet")) == []
    assert Writer(str(tmp_path), "run1").open_session(tools.session()) == 9


def test_delay_runs_from_arrival_to_the_commit(writer: Writer, tmp_path: Path, clock: Clock, tools: Any) -> None:
    writer.open_session(tools.session())
    clock.now = 1001.0
    writer.add(tools.chunk(0, 1, faces=lambda s: 1, cause=lambda s: "stale" if s == 1 else None))
    writer.flush()
    clock.now = 1003.0
    writer.add(tools.chunk(2, 2))
    finish(writer)
    (row,) = tools.rows(tmp_path, "frames")
    assert (row["delay_p50_s"], row["delay_hist"]) == (1.5, [0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(("live", "delay"), [(True, 0.75), (False, 20.75)])
def test_delay_of_frames_without_a_face_runs_to_the_commit_that_tells_of_them(
    writer: Writer, tmp_path: Path, clock: Clock, tools: Any, live: bool, delay: float
) -> None:
    """Those of a live camera are marked; of a file nothing is stored before their window."""
    writer.open_session(tools.session(live=live))
    clock.now = 1001.0
    writer.add(tools.chunk(0, 1, faces=lambda s: 0))
    writer.flush()
    clock.now = 1021.0
    finish(writer)
    (row,) = tools.rows(tmp_path, "frames")
    assert (row["delay_p50_s"], sum(row["delay_hist"])) == (delay, 2)


def test_lost_frames_are_accounted(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session(live=True))
    writer.add(tools.chunk(0, 4))
    writer.lost("s1", 7)
    writer.lost("s1", 6)
    finish(writer, "broken")
    (row,) = tools.rows(tmp_path, "frames")
    assert (row["read"], row["analysed"], row["dropped_lost_in_crash"], row["last_seq"]) == (8, 5, 3, 7)


def test_a_session_without_a_frame_leaves_nothing_and_heartbeats_cover_its_camera(
    writer: Writer, tmp_path: Path, tools: Any
) -> None:
    for number in range(3):
        name = f"attempt{number}"
        writer.open_session(tools.session(name, live=True))
        writer.heartbeat({"cam1": ("007", "connecting")})
        writer.close_session(name, "broken", "no route to host")
        writer.flush()
        assert writer.acknowledged(name) == -1, "the reader asks once more after it has closed"
        writer.close_session(name, "broken", "no route to host")
    writer.flush(last=True)
    (row,) = tools.rows(tmp_path, "frames")
    assert (row["session_id"], row["state"], row["read"]) == (None, "connecting", 0)
    assert list(marks(tmp_path, "frames")) == ["heartbeat/run1/007/cam1"]
    assert marks(tmp_path, "observations") == {}


def test_what_is_kept_of_closed_sessions_is_bounded(
    writer: Writer, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risa_ray.store.writer._CLOSED_KEPT", 2)
    for number in range(4):
        writer.open_session(tools.session(f"s{number}"))
        writer.add(tools.chunk(0, 3, session_id=f"s{number}"))
        finish(writer, session_id=f"s{number}")
    assert [writer.acknowledged(f"s{n}") for n in (2, 3)] == [3, 3]
    with pytest.raises(KeyError):
        writer.acknowledged("s1")
    assert writer.open_session(tools.session("s1")) == 3, "the table still knows it"


def test_marks_of_long_ago_are_forgotten(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 3))
    finish(writer)
    log = (tmp_path / "observations" / "_delta_log" / f"{1:020}.json").read_text(encoding="utf-8")
    (mark,) = [json.loads(line)["txn"] for line in log.splitlines() if "txn" in line]
    assert abs(mark["lastUpdated"] / 1000 - time.time()) < 600
    configuration = Table(str(tmp_path), "observations").delta.metadata().configuration
    assert configuration["delta.setTransactionRetentionDuration"] == "interval 30 days"


def test_a_clock_set_back_opens_a_new_window(writer: Writer, tmp_path: Path, tools: Any) -> None:
    """Ten minutes back: frames are acknowledged on, and each is counted in a window of its own time."""
    writer.open_session(tools.session(live=True))
    writer.add(tools.chunk(0, 29))
    back = tools.chunk(30, 89, start=tools.START - timedelta(minutes=10))
    writer.add(back)
    assert writer.flush() == {"s1": 69}
    finish(writer)
    rows = tools.rows(tmp_path, "frames", ["first_seq"])
    assert [(r["first_seq"], r["last_seq"]) for r in rows] == [(0, 9), (10, 29), (30, 49), (50, 69), (70, 89)]
    assert [r["window_start"] for r in rows[2:]] == [
        datetime(2026, 11, 22, 9, 50, second, tzinfo=UTC) for second in (10, 20, 30)
    ]


def test_a_clock_that_jitters_opens_no_window(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session(live=True))
    writer.add(tools.chunk(0, 14))
    writer.add(tools.chunk(15, 20, start=tools.START - timedelta(seconds=9)))
    finish(writer)
    assert [r["read"] for r in tools.rows(tmp_path, "frames", ["first_seq"])] == [10, 11]


def test_a_clock_that_stands_still_does_not_stop_the_acknowledgement(
    writer: Writer, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session(live=True))
    writer.add(tools.chunk(0, 10_499, fps=1e6, faces=lambda s: 0))
    assert writer.flush() == {"s1": 9_999}
    finish(writer)
    assert [r["read"] for r in tools.rows(tmp_path, "frames", ["first_seq"])] == [10_000, 500]


def test_alerts_that_cannot_be_stored_hold_nothing_else_up(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 14))
    writer.add_alerts([ALERT])
    folder = tmp_path / "alerts"
    folder.rename(tmp_path / "gone")
    folder.write_text("")
    assert writer.flush() == {"s1": 9}
    assert str(folder) in writer.alert_trouble
    folder.unlink()
    (tmp_path / "gone").rename(folder)
    writer.flush()
    assert writer.alert_trouble == ""
    assert [r["text"] for r in tools.rows(tmp_path, "alerts")] == ["many people"]


def test_alerts_are_stored(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.add_alerts([ALERT])
    writer.flush()
    writer.flush()
    (row,) = tools.rows(tmp_path, "alerts")
    assert {name: row[name] for name in ALERT} == ALERT


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")
    with pytest.raises(InputError, match="is a file"):
        Writer(str(file), "run1")


def test_the_store_needs_neither_torch_nor_ray() -> None:
    code = "import sys, risa_ray.store.writer, risa_ray.store.runs; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_log_is_checkpointed_and_cut(tmp_path: Path, tools: Any) -> None:
    configuration = Table(str(tmp_path), "observations").delta.metadata().configuration
    assert configuration["delta.checkpointInterval"] == "100"
    assert DeltaTable(str(tmp_path / "observations")).metadata().partition_columns == ["date", "store_id"]
