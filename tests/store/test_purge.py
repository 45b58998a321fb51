"""What is deleted on purpose is gone, all else stays, and the store says what was deleted."""

from __future__ import annotations

import shutil
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from risa_ray.config import RetentionConfig, parse_config
from risa_ray.errors import InputError
from risa_ray.store.maintenance import compact
from risa_ray.store.purge import _erase, erase, parse_days, parse_moment, purge_older, purge_outlived
from risa_ray.store.schema import CLOSED_TRACKS
from risa_ray.store.table import Table
from risa_ray.store.verify import verify
from risa_ray.store.writer import Writer
from risa_ray.streaming.preflight import _refuse_outlived

NOW = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
SINCE = datetime(2026, 11, 22, 10, 0, 3, tzinfo=UTC)
UNTIL = datetime(2026, 11, 22, 10, 0, 8, 500_000, tzinfo=UTC)


def write(data: Path, tools: Any, *, cameras: tuple[str, ...] = ("cam1", "cam2"), frames: int = 60) -> None:
    writer = Writer(str(data), "run1")
    for camera in cameras:
        writer.open_session(tools.session(f"s-{camera}", camera_id=camera))
    for first in range(0, frames, 10):
        for camera in cameras:
            chunk = tools.chunk(first, first + 9, session_id=f"s-{camera}", camera_id=camera, faces=lambda s: 1)
            writer.add(chunk)
        writer.add_alerts([alert(camera, tools.START + timedelta(seconds=first / 2)) for camera in cameras])
        writer.flush()
    for camera in cameras:
        writer.close_session(f"s-{camera}", "complete")
    writer.flush()


def alert(camera: str, at: datetime) -> dict[str, Any]:
    values = {"store_id": "007", "alert_id": "a", "rule_id": "r", "camera_id": camera, "figure": "people"}
    return values | {"fired_at": at, "zone_id": None, "value": 1.0, "severity": "info"}


def write_tracks(data: Path) -> None:
    """Tracks that end before, touch, span, and begin after the period; one of another camera; the day's own row."""
    times = {
        "before": (SINCE - timedelta(hours=1), SINCE - timedelta(microseconds=1)),
        "touches": (SINCE - timedelta(days=1), SINCE),
        "spans": (SINCE - timedelta(hours=1), UNTIL + timedelta(hours=1)),
        "after": (UNTIL, UNTIL + timedelta(hours=1)),
    }
    rows: list[dict[str, Any]] = [
        {"date": a.date(), "store_id": "007", "camera_id": "cam1", "track_id": name, "first_seen": a, "last_seen": b}
        for name, (a, b) in times.items()
    ]
    rows += [rows[2] | {"camera_id": "cam2", "track_id": "other"}]
    rows += [{"date": SINCE.date(), "store_id": "007", "closed": {"through": SINCE.date(), "sealed": True}}]
    Table(str(data), "closed_tracks").commit(pa.Table.from_pylist(rows, schema=CLOSED_TRACKS), {})


def files_with_erased_rows(data: Path) -> list[str]:
    """Every Parquet file of the folder, known to a log or not, that holds a row of cam1 in the period."""
    found = []
    for path in data.rglob("*.parquet"):
        if "_delta_log" in path.parts:
            continue
        for row in pq.ParquetFile(path).read().to_pylist():
            at = row.get("captured_at") or row.get("window_start") or row.get("fired_at")
            if row.get("camera_id") == "cam1" and at is not None and SINCE <= at < UNTIL:
                found.append(str(path))
    return found


def test_an_erasure_leaves_no_row_in_any_file(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    write_tracks(tmp_path)
    compact(str(tmp_path), older_than_s=-60)
    known = next((tmp_path / "observations").rglob("*.parquet"))
    shutil.copy(known, known.with_name("part-left-by-a-crash.parquet"))
    assert files_with_erased_rows(tmp_path)
    before = {name: tools.rows(tmp_path, name) for name in ("observations", "frames", "alerts", "closed_tracks")}

    counted = erase(str(tmp_path), "cam1", SINCE, UNTIL, dry_run=True)
    assert {name: tools.rows(tmp_path, name) for name in before} == before
    store_id, camera_id, rows = erase(str(tmp_path), "cam1", SINCE, UNTIL, commit_s=0)

    assert (store_id, camera_id, rows) == counted == ("007", "cam1", rows)
    assert rows == {"observations": 11, "frames": 1, "alerts": 1, "alert_events": 0, "closed_tracks": 2}
    assert files_with_erased_rows(tmp_path) == []
    observations = tools.rows(tmp_path, "observations")
    assert not [r for r in observations if r["camera_id"] == "cam1" and SINCE <= r["captured_at"] < UNTIL]
    assert len(observations) == len(before["observations"]) - 11
    windows = [r["window_start"].second for r in tools.rows(tmp_path, "frames") if r["camera_id"] == "cam1"]
    assert sorted(windows) == [10, 20, 50], "the window of the erased seconds must not count as nobody there"
    assert {r["track_id"] for r in tools.rows(tmp_path, "closed_tracks")} == {"before", "after", "other", None}
    (logged,) = tools.rows(tmp_path, "purges")
    assert {name: logged[name] for name in rows} == rows
    assert (logged["kind"], logged["camera_id"], logged["since"], logged["until"]) == ("erasure", "cam1", SINCE, UNTIL)
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


def test_an_erasure_can_be_done_again_and_widened(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    assert erase(str(tmp_path), "cam1", SINCE, UNTIL, commit_s=0)[2]["observations"] == 11
    assert erase(str(tmp_path), "cam1", SINCE, UNTIL, commit_s=0)[2]["observations"] == 0
    wider = erase(str(tmp_path), "cam1", SINCE, UNTIL + timedelta(seconds=5), commit_s=0)[2]
    assert (wider["observations"], wider["frames"]) == (10, 1)
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


def test_an_erasure_that_was_interrupted_leaves_a_whole_store(
    tmp_path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, tools)
    done = []

    def interrupted(table: Table, *rest: Any) -> int:
        if done:
            raise KeyboardInterrupt
        done.append(table.name)
        return _erase(table, *rest)

    monkeypatch.setattr("risa_ray.store.purge._erase", interrupted)
    with pytest.raises(KeyboardInterrupt):
        erase(str(tmp_path), "cam1", SINCE, UNTIL, commit_s=0)
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []
    monkeypatch.undo()
    assert erase(str(tmp_path), "cam1", SINCE, UNTIL, commit_s=0)[2]["observations"] == 11
    assert files_with_erased_rows(tmp_path) == []


def test_an_erasure_goes_on_beside_a_writer(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools, cameras=("cam1",))
    stop, failed = threading.Event(), []

    def keep_writing() -> None:
        writer = Writer(str(tmp_path), "run2")
        writer.open_session(tools.session("live", live=True))
        seq = 0
        try:
            while not stop.is_set():
                start = tools.START + timedelta(hours=1)
                writer.add(tools.chunk(seq, seq, session_id="live", start=start, faces=lambda s: 1))
                writer.flush()
                seq += 1
            writer.close_session("live", "stopped")
            writer.flush()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        time.sleep(0.3)
        assert erase(str(tmp_path), "cam1", SINCE, UNTIL)[2]["observations"] == 11
    finally:
        stop.set()
        thread.join()
    assert failed == []
    assert files_with_erased_rows(tmp_path) == []
    live = [r["frame_seq"] for r in tools.rows(tmp_path, "observations", ["frame_seq"]) if r["session_id"] == "live"]
    assert live == list(range(len(live)))
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


def test_a_file_about_to_be_committed_is_waited_for(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools, cameras=("cam1",))
    known = next((tmp_path / "observations").rglob("*.parquet"))
    fresh, other = known.with_name("part-fresh.parquet"), known.with_name("part-other.parquet")
    table = pq.ParquetFile(known).read()
    for path, camera in ((fresh, "cam1"), (other, "cam2")):
        rows = [row | {"camera_id": camera, "captured_at": SINCE} for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    began = time.monotonic()
    erase(str(tmp_path), "cam1", SINCE, UNTIL, commit_s=1.5)
    assert time.monotonic() - began > 1
    assert (fresh.exists(), other.exists()) == (False, True), "another camera's may be a running writer's"


def test_old_days_go_from_every_table(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    write_tracks(tmp_path)
    later = (datetime(2026, 12, 2, 23, 59, tzinfo=UTC)).timestamp()
    assert sum(purge_older(str(tmp_path), 10, clock=lambda: later).values()) == 1, "the track of the 21st alone"
    dry = purge_older(str(tmp_path), 9, clock=lambda: later, dry_run=True)
    rows = purge_older(str(tmp_path), 9, clock=lambda: later)
    assert rows == dry == {"observations": 120, "frames": 8, "alerts": 12, "alert_events": 0, "closed_tracks": 4}
    assert [tools.rows(tmp_path, name) for name, count in rows.items() if count] == [[], [], [], []]
    logged = tools.rows(tmp_path, "purges", ["at", "until"])
    assert [(r["kind"], r["since"], r["until"].date()) for r in logged] == [
        ("older_than", None, date(2026, 11, 22)),
        ("older_than", None, date(2026, 11, 23)),
    ]
    assert [r["observations"] for r in logged] == [0, 120]


def test_each_table_has_its_own_retention(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    later = datetime(2026, 12, 30, tzinfo=UTC).timestamp()
    kept = RetentionConfig(observations=30, tracks=395, frames=None, alerts=38)
    assert purge_outlived(str(tmp_path), kept, clock=lambda: later) == {
        "observations": 120, "closed_tracks": 0, "alerts": 0, "alert_events": 0,
    }  # fmt: skip
    assert (len(tools.rows(tmp_path, "observations")), len(tools.rows(tmp_path, "frames"))) == (0, 8)
    assert purge_outlived(str(tmp_path), kept, clock=lambda: later)["observations"] == 0
    assert len(tools.rows(tmp_path, "purges")) == 1
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("4w", 28), (" 1D ", 1)])
def test_durations(text: str, days: int) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5d", "3 months", "999999w", "٣d", "1h"])
def test_nonsense_durations_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--older-than.*30d"):
        parse_days(text)


def test_times_need_a_zone_and_dates_are_utc() -> None:
    assert parse_moment("2026-11-22") == datetime(2026, 11, 22, tzinfo=UTC)
    assert parse_moment("2026-11-22T09:00:00+01:00") == datetime(2026, 11, 22, 8, tzinfo=UTC)
    for text in ("2026-11-22T09:00:00", "yesterday", "2026-13-01", "0001-01-01T00:00:00+10:00", ""):
        with pytest.raises(InputError, match="--between"):
            parse_moment(text)


def test_what_cannot_be_erased_is_refused(tmp_path: Path, tools: Any) -> None:
    with pytest.raises(InputError, match="dataset"):
        erase(str(tmp_path), "cam1", SINCE, UNTIL)
    write(tmp_path, tools)
    with pytest.raises(InputError, match="cam9: the dataset has no such camera; there are cam1, cam2"):
        erase(str(tmp_path), "cam9", SINCE, UNTIL)
    with pytest.raises(InputError, match="no such camera"):
        erase(str(tmp_path), "008/cam1", SINCE, UNTIL)
    for until in (SINCE, SINCE - timedelta(days=1)):
        with pytest.raises(InputError, match="must come after"):
            erase(str(tmp_path), "cam1", SINCE, until)
    assert not (tmp_path / "purges").exists()


def test_a_camera_of_two_stores_is_named_with_its_store(tmp_path: Path, tools: Any) -> None:
    for store in ("007", "o'8"):
        writer = Writer(str(tmp_path), "run1")
        name = f"s{store}"
        writer.open_session(type(tools.session())(store, "cam1", name, False, tools.START))
        writer.add(tools.chunk(0, 30, session_id=name, store_id=store, faces=lambda s: 1))
        writer.close_session(name, "complete")
        writer.flush()
    with pytest.raises(InputError, match="007/cam1, o'8/cam1"):
        erase(str(tmp_path), "cam1", SINCE, UNTIL)
    assert erase(str(tmp_path), "o'8/cam1", SINCE, UNTIL, commit_s=0)[2]["observations"] == 11
    left = [r["store_id"] for r in tools.rows(tmp_path, "observations")]
    assert (left.count("007"), left.count("o'8")) == (31, 20)


class Recording:
    """As much of a source as is asked whether it is too old."""

    def __init__(self, days: float, live: bool = False) -> None:
        self.live = live
        self._at = datetime.now(UTC) - timedelta(days=days)

    def started_at(self) -> datetime:
        return self._at


def test_a_recording_that_would_be_deleted_at_once_is_refused() -> None:
    raw: dict[str, Any] = {"stores": [{"id": "007", "cameras": [{"id": "cam1", "source": "monday.mp4"}]}]}
    chain, ad_hoc = parse_config(raw, "test"), parse_config(raw | {"ad_hoc": True}, "test")
    kept = parse_config(raw | {"privacy": {"retention": {"observations": None}}}, "test")
    old: Any = Recording(32)
    with pytest.raises(InputError) as caught:
        _refuse_outlived(chain, "cam1", old, "monday.mp4")
    for part in (
        "cam1",
        "monday.mp4",
        str(old.started_at().date()),
        "30 days",
        "privacy.retention.observations",
        "null",
    ):
        assert part in str(caught.value)
    young: Any = Recording(29)
    live: Any = Recording(99, live=True)
    for config, source in ((chain, young), (chain, live), (ad_hoc, old), (kept, old)):
        _refuse_outlived(config, "cam1", source, "monday.mp4")


BAD: list[tuple[str, ...]] = [
    (),
    ("--older-than", "30d", "--camera", "cam1", "--between", "2026-11-22", "2026-11-23"),
    ("--older-than", "30d", "--camera", "cam1"),
    ("--camera", "cam1"),
    ("--between", "2026-11-22", "2026-11-23"),
    ("--older-than", "soon"),
    ("--camera", "cam1", "--between", "2026-11-22T09:00:00", "2026-11-23"),
    ("--camera", "cam1", "--between", "2026-11-23", "2026-11-22"),
    ("--camera", "cam9", "--between", "2026-11-22", "2026-11-23"),
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_the_command_refuses_in_one_line(tmp_path: Path, tools: Any, refused: Any, arguments: Any) -> None:
    write(tmp_path, tools, frames=10)
    assert refused("purge", "--data", tmp_path, *arguments)
    assert len(tools.rows(tmp_path, "observations")) == 20


def test_the_commands_keep_a_store_in_order(tmp_path: Path, tools: Any, risa: Any) -> None:
    write(tmp_path, tools)
    between = ("--camera", "007/cam1", "--between", "2026-11-22", "2026-11-23T00:00:00+01:00")
    code, said, _ = risa("purge", "--data", tmp_path, *between, "--dry-run")
    assert (code, "would delete rows of 007/cam1" in said) == (0, True)
    code, said, _ = risa("purge", "--data", tmp_path, *between)
    assert code == 0
    assert "deleted rows of 007/cam1 from 2026-11-22T00:00:00+00:00" in said
    assert "60 of observations, 4 of frames, 6 of alerts, 0 of alert_events, 0 of closed_tracks" in said
    code, said, _ = risa("compact", "--data", tmp_path)
    assert (code, "rows/s" in said) == (0, True)
    code, said, _ = risa("verify", "--data", tmp_path)
    assert (code, "WRONG" in said) == (0, False)
    for file in (tmp_path / "observations").rglob("date=*/**/*.parquet"):
        file.unlink()
    code, said, _ = risa("verify", "--data", tmp_path)
    assert (code, "WRONG" in said) == (1, True)
    assert risa("compact", "--data", tmp_path / "nowhere")[0] == 2
