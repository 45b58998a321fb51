"""Every window of a live camera tells its state: by its frames, or by a row that says that none came."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clock import Clock

from risa_ray.frames import Chunk
from risa_ray.store.writer import Writer


@pytest.fixture
def clock(tools: Any) -> Clock:
    """At the start of a window, in which frame 10 of `tools.chunk` is taken."""
    return Clock(tools.START.timestamp() + 5)


def at(tools: Any, window: int, first_seq: int) -> datetime:
    """The `start` that puts a frame at the beginning of a window."""
    start: datetime = tools.START + timedelta(seconds=5 + 10 * window - first_seq / 2)
    return start


def live(run: Writer, clock: Clock, states: str, chunks: dict[int, Chunk] | None = None) -> None:
    """A window per letter (l live, s stalled, b backing off); chunks come at the start of their window."""
    names = {"l": "live", "s": "stalled", "b": "backing_off"}
    for number, letter in enumerate(states):
        if chunk := (chunks or {}).get(number):
            run.add(chunk)
        run.flush()
        clock.now += 9
        run.heartbeat({"cam1": ("007", names[letter])})
        run.flush()
        clock.now += 1


def told(tools: Any, data: Path) -> list[tuple[int, str, int]]:
    """Seconds since the first window, state and frames of each row of cam1."""
    rows = [r for r in tools.rows(data, "frames", ("window_start", "read")) if r["camera_id"] == "cam1"]
    assert all((r["session_id"] is None) == (r["read"] == 0) for r in rows)
    return [(int((r["window_start"] - tools.START).total_seconds()) - 5, r["state"], r["read"]) for r in rows]


def test_a_camera_without_a_session_has_a_row_per_window(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    live(writer, clock, "bbb")
    assert told(tools, tmp_path) == [(0, "backing_off", 0), (10, "backing_off", 0)], "the third may still get frames"
    clock.now += 5
    writer.flush()
    writer.flush()
    assert told(tools, tmp_path)[2:] == [(20, "backing_off", 0)]


def test_a_camera_that_stalls_and_comes_back_leaves_no_hole(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session(live=True))
    chunks = {0: tools.chunk(0, 15), 1: tools.chunk(16, 35), 4: tools.chunk(36, 50, start=at(tools, 4, 36))}
    live(writer, clock, "llssll", chunks)
    writer.close_session("s1", "stopped")
    clock.now += 5
    writer.flush()
    assert told(tools, tmp_path) == [
        (-10, "live", 10),
        (0, "live", 20),
        (10, "live", 6),
        (20, "stalled", 0),
        (30, "stalled", 0),
        (40, "stopped", 15),
        (50, "live", 0),
    ]


def test_frames_that_come_late_leave_no_row_without_frames(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session(live=True))
    clock.now += 9
    writer.heartbeat({"cam1": ("007", "live")})
    clock.now += 3
    writer.flush()
    writer.add(tools.chunk(0, 2, start=at(tools, 0, 0)))
    writer.close_session("s1", "broken")
    clock.now += 60
    writer.flush()
    assert told(tools, tmp_path) == [(-10, "live", 0), (0, "broken", 3)], "its session began in the window before"


def test_a_heartbeat_that_comes_late_speaks_for_the_window_before(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    for seconds in (9.9, 10.2, 15):  # none lies in the second window
        clock.now += seconds
        writer.heartbeat({"cam1": ("007", "backing_off")})
        writer.flush()
    clock.now += 10
    writer.flush()
    assert [start for start, _, _ in told(tools, tmp_path)] == [0, 10, 20, 30]


def test_a_writer_started_again_neither_doubles_nor_leaves_out(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session(live=True))
    live(writer, clock, "lss", {0: tools.chunk(0, 15)})
    again = Writer(str(tmp_path), "run1", clock)
    assert again.open_session(tools.session(live=True)) == 9
    again.add(tools.chunk(10, 15))
    live(again, clock, "ss")
    again.close_session("s1", "broken")
    again.flush()
    assert told(tools, tmp_path) == [
        (-10, "live", 10),
        (0, "broken", 6),
        (10, "stalled", 0),
        (20, "stalled", 0),
        (30, "stalled", 0),
    ]


def test_the_last_flush_waits_for_no_window_to_end(writer: Writer, clock: Clock, tmp_path: Path, tools: Any) -> None:
    writer.heartbeat({"cam1": ("007", "connecting")})
    writer.flush()
    assert told(tools, tmp_path) == []
    writer.flush(last=True)
    assert told(tools, tmp_path) == [(0, "connecting", 0)]


def test_a_file_has_no_row_at_the_time_that_it_is_read(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session())
    for _ in range(3):
        writer.heartbeat({"cam1": ("007", "live"), "cam2": ("007", "reading")})
        clock.now += 10
        writer.flush()
    assert tools.rows(tmp_path, "frames") == []


def test_each_run_over_a_camera_tells_what_it_saw(writer: Writer, clock: Clock, tmp_path: Path, tools: Any) -> None:
    other = Writer(str(tmp_path), "run2", clock)
    for run in (writer, other):
        run.heartbeat({"cam1": ("007", "connecting")})
    clock.now += 20
    writer.flush()
    other.flush()
    assert sorted(r["run_id"] for r in tools.rows(tmp_path, "frames")) == ["run1", "run2"]


def test_a_clock_that_was_ahead_for_a_moment_stops_no_heartbeat(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session(live=True))
    writer.add(tools.chunk(0, 30, start=at(tools, 360, 0)))
    writer.close_session("s1", "broken")
    writer.flush()
    live(writer, clock, "bbb")
    assert [start for start, state, _ in told(tools, tmp_path) if state == "backing_off"] == [10]


def test_a_camera_that_is_added_later_has_no_row_before(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    clock.now += 3600
    live(writer, clock, "ll")
    clock.now += 10
    writer.flush()
    assert [start for start, _, _ in told(tools, tmp_path)] == [3600, 3610]


def test_a_camera_that_was_removed_for_a_while_has_no_row_of_that_time(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    live(writer, clock, "bb")
    for _ in range(5):
        clock.now += 10
        writer.heartbeat({"cam2": ("007", "live")})
        writer.flush()
    live(writer, clock, "bb")
    clock.now += 10
    writer.flush()
    assert [start for start, _, _ in told(tools, tmp_path)] == [0, 10, 70, 80]


def test_a_resumed_run_says_nothing_of_the_time_that_it_was_down(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    live(writer, clock, "bb")
    clock.now += 3595
    began = clock.now
    resumed = Writer(str(tmp_path), "run1", clock, began)
    clock.now += 15
    live(resumed, clock, "l")
    clock.now += 5
    resumed.flush()
    assert [start for start, _, _ in told(tools, tmp_path)] == [0, 3610, 3620, 3630]


def test_a_writer_started_again_speaks_for_the_time_of_its_predecessor(
    clock: Clock, tmp_path: Path, tools: Any
) -> None:
    began = clock.now
    live(Writer(str(tmp_path), "run1", clock, began), clock, "bb")
    clock.now += 20
    again = Writer(str(tmp_path), "run1", clock, began)
    live(again, clock, "b")
    clock.now += 5
    again.flush()
    assert [start for start, _, _ in told(tools, tmp_path)] == [0, 10, 20, 30, 40]


def test_frames_that_an_analyzer_kept_for_long_leave_no_second_row(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any
) -> None:
    writer.open_session(tools.session(live=True))
    live(writer, clock, "llllllll", {0: tools.chunk(0, 29)})
    writer.add(tools.chunk(30, 169))
    writer.flush()
    live(writer, clock, "s")
    windows = [(-10, "live", 10), *((10 * n, "live", 20) for n in range(7))]
    assert told(tools, tmp_path) == windows


@pytest.mark.parametrize("restart", [False, True])
def test_a_live_camera_whose_frames_never_come_is_told_in_the_end(
    writer: Writer, clock: Clock, tmp_path: Path, tools: Any, restart: bool
) -> None:
    """In order: the windows in which it was stalled wait for the one before, and a new writer leaves none out."""
    writer.open_session(tools.session(live=True))
    live(writer, clock, "llssssssss", {0: tools.chunk(0, 29)})
    again = Writer(str(tmp_path), "run1", clock) if restart else writer
    again.open_session(tools.session(live=True))
    live(again, clock, "ss")
    again.close_session("s1", "broken")
    clock.now += 5
    again.flush()
    assert [start for start, _, _ in told(tools, tmp_path) if start > 0] == [10 * n for n in range(1, 12)]
