"""The buffer loses nothing without saying so, and its runs are contiguous whatever happens."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from queue import Queue

import numpy as np
import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from risa_ray.config import Policy
from risa_ray.frames import Frame, Outcome
from risa_ray.streaming.buffer import FrameBuffer

PICTURE = np.zeros((1, 1, 3), np.uint8)
LONG = 60.0  # a time-out that ends the test instead of the wait, and is never used up by one that passes


def frame(seq: int, arrived_at: float = 1e9) -> Frame:
    return Frame("till", "session", seq, seq / 10, datetime(2026, 1, 1, tzinfo=UTC), arrived_at, PICTURE)


def word(item: Frame | Outcome) -> tuple[int, str]:
    return item.frame_seq, "frame" if isinstance(item, Frame) else str(item.cause)


def words(run: list[Frame | Outcome]) -> list[tuple[int, str]]:
    return [word(i) for i in run]


def test_every_frame_waits_while_full_and_loses_nothing() -> None:
    buffer = FrameBuffer("every_frame", 3, 0.1)
    progress: Queue[int] = Queue()

    def read() -> None:
        for seq in range(50):
            assert buffer.put(frame(seq))
            progress.put(seq)
        buffer.close()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    taken: list[Frame | Outcome] = []
    while not buffer.exhausted:
        run = buffer.take(2, LONG)
        assert len(run) <= 2
        taken += run
        # the reader can be ahead by what was taken and what fits in, never by more
        assert progress.qsize() <= len(taken) + 3
    reader.join(LONG)
    assert words(taken) == [(seq, "frame") for seq in range(50)]


def test_every_frame_really_blocks_until_one_is_taken() -> None:
    buffer = FrameBuffer("every_frame", 1, 0.1)
    buffer.put(frame(0))
    done = threading.Event()
    writer = threading.Thread(target=lambda: (buffer.put(frame(1)), done.set()), daemon=True)
    writer.start()
    assert not done.wait(0.05)
    assert words(buffer.take(1, LONG)) == [(0, "frame")]
    assert done.wait(LONG)
    assert words(buffer.take(1, LONG)) == [(1, "frame")]


def test_every_frame_knows_no_staleness() -> None:
    clock = Clock(1e9)
    buffer = FrameBuffer("every_frame", 2, 0.1, clock)
    buffer.put(frame(0))
    clock.now += 3600
    assert words(buffer.take(2, 0)) == [(0, "frame")]


def test_freshest_drops_the_oldest_as_overrun() -> None:
    buffer = FrameBuffer("freshest", 2, 10, Clock(1e9))
    for seq in range(5):
        assert buffer.put(frame(seq))
    run = buffer.take(9, 0)
    assert words(run) == [(0, "overrun"), (1, "overrun"), (2, "overrun"), (3, "frame"), (4, "frame")]
    first = run[0]
    assert isinstance(first, Outcome)
    assert (first.pts, first.captured_at, first.arrived_at) == (0, datetime(2026, 1, 1, tzinfo=UTC), 1e9)


def test_the_newest_alone_is_taken_where_others_would_be_stale() -> None:
    buffer = FrameBuffer("freshest", 3, 1e12)
    for seq in range(3):
        buffer.put(frame(seq))
    assert words(buffer.take(1, 0, newest=True)) == [(0, "overrun"), (1, "overrun"), (2, "frame")]


def test_freshest_drops_the_stale_by_the_arrival_clock() -> None:
    clock = Clock(1e9)
    buffer = FrameBuffer("freshest", 3, 0.5, clock)
    buffer.put(frame(0, clock.now))
    buffer.put(frame(1, clock.now + 0.5))
    buffer.put(frame(2, clock.now + 0.9))
    clock.now += 1.0
    assert words(buffer.take(9, 0)) == [(0, "stale"), (1, "frame"), (2, "frame")]


def test_stale_frames_do_not_use_up_the_run() -> None:
    clock = Clock(1e9)
    buffer = FrameBuffer("freshest", 3, 0.5, clock)
    for seq, age in enumerate([2.0, 2.0, 0.0]):
        buffer.put(frame(seq, clock.now - age))
    assert words(buffer.take(1, 0)) == [(0, "stale"), (1, "stale"), (2, "frame")]


def test_a_time_out_gives_an_empty_run() -> None:
    assert FrameBuffer("freshest", 2, 1).take(4, 0) == []
    assert FrameBuffer("every_frame", 2, 1).take(4, 0.01) == []


def test_a_waiting_taker_gets_the_frame_that_comes() -> None:
    buffer = FrameBuffer("freshest", 2, LONG)
    answer: Queue[list[Frame | Outcome]] = Queue()
    threading.Thread(target=lambda: answer.put(buffer.take(4, LONG)), daemon=True).start()
    buffer.put(frame(0, 1e12))
    assert words(answer.get(timeout=LONG)) == [(0, "frame")]


def test_a_waiting_taker_is_woken_for_something_else() -> None:
    buffer = FrameBuffer("freshest", 2, LONG)
    buffer.wake()
    assert buffer.take(4, LONG) == []
    buffer.wake()
    buffer.wait(LONG)
    answer: Queue[list[Frame | Outcome]] = Queue()
    threading.Thread(target=lambda: answer.put(buffer.take(4, LONG)), daemon=True).start()
    buffer.wake()
    assert answer.get(timeout=LONG) == []


@pytest.mark.parametrize("policy", ["every_frame", "freshest"])
def test_what_waits_at_the_close_can_still_be_taken(policy: Policy) -> None:
    buffer = FrameBuffer(policy, 2, 10, Clock(1e9))
    buffer.put(frame(0))
    buffer.put(frame(1))
    buffer.close()
    assert not buffer.exhausted
    assert not buffer.put(frame(2)), "closed"
    assert words(buffer.take(1, LONG)) == [(0, "frame")]
    assert words(buffer.take(1, LONG)) == [(1, "frame")]
    assert buffer.exhausted
    assert buffer.take(1, LONG) == []


def test_closing_frees_whoever_waits() -> None:
    full, empty = FrameBuffer("every_frame", 1, 1), FrameBuffer("every_frame", 1, 1)
    full.put(frame(0))
    accepted: Queue[bool] = Queue()
    answer: Queue[list[Frame | Outcome]] = Queue()
    threading.Thread(target=lambda: accepted.put(full.put(frame(1))), daemon=True).start()
    threading.Thread(target=lambda: answer.put(empty.take(1, LONG)), daemon=True).start()
    full.close()
    empty.close()
    assert accepted.get(timeout=LONG) is False
    assert answer.get(timeout=LONG) == []
    assert words(full.take(9, 0)) == [(0, "frame")]


@given(
    st.sampled_from(["every_frame", "freshest"]),
    st.integers(1, 4),
    st.lists(st.one_of(st.just("put"), st.integers(1, 5), st.floats(0, 1), st.just("close")), max_size=60),
)
def test_runs_are_contiguous_and_account_for_every_frame(
    policy: Policy, capacity: int, steps: list[str | int | float]
) -> None:
    clock = Clock(1e9)
    buffer = FrameBuffer(policy, capacity, 0.5, clock)
    taken: list[Frame | Outcome] = []
    accepted = waiting = 0
    closed = False
    for step in [*steps, "close"]:
        if step == "put" and (closed or policy == "freshest" or waiting < capacity):
            assert buffer.put(frame(accepted, clock.now)) is not closed
            accepted += not closed
            waiting = min(capacity, waiting + (not closed))
        elif step == "close":
            buffer.close()
            closed = True
        elif isinstance(step, int):
            run = buffer.take(step, 0)
            frames = [i for i in run if isinstance(i, Frame)]
            assert len(frames) <= step
            if policy == "freshest":
                assert all(clock.now - f.arrived_at <= 0.5 for f in frames)
            taken += run
            waiting = max(0, accepted - len(taken)) if policy == "every_frame" else 0
        elif isinstance(step, float):
            clock.now += step
    while not buffer.exhausted:
        taken += buffer.take(2, 0)
    assert [i.frame_seq for i in taken] == list(range(accepted))
    if policy == "every_frame":
        assert all(isinstance(i, Frame) for i in taken)
