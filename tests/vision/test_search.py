"""When whole frames are searched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from risa_ray.vision.search import Search


def searched(every: int, frames: list[int], arrivals: set[int]) -> list[int]:
    """The frames that are searched as a whole; those of `arrivals` show somebody new if they are."""
    search, whole = Search(), []
    for frame in frames:
        if search.due(frame):
            whole.append(frame)
            search = search.after(frame, frame in arrivals, every)
    return whole


def test_every_kth_frame_is_searched_and_sooner_after_somebody_new() -> None:
    assert searched(5, list(range(30)), {0, 18}) == [0, 3, 8, 13, 18, 21, 26]


def test_dropped_frames_count() -> None:
    assert searched(5, [0, 1, 3, 7, 9, 11, 13, 14], set()) == [0, 7, 13]


@given(st.integers(1, 9), st.sets(st.integers(0, 60), max_size=60), st.sets(st.integers(0, 60)))
def test_nobody_waits_longer_than_every(every: int, lost: set[int], arrivals: set[int]) -> None:
    frames = [f for f in range(61) if f not in lost]
    whole = searched(every, frames, arrivals)
    for frame in frames:
        before = [w for w in whole if w <= frame]
        assert before
        assert frame - before[-1] < every
    if every == 1:
        assert whole == frames
