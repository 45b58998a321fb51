"""The buffer between a camera's decoder and its analysis: where the two frame policies live."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from risa_ray.config import Policy
from risa_ray.frames import Frame, Outcome, dropped


class FrameBuffer:
    """Holds sampled frames in order until they are taken as contiguous runs.

    `every_frame`: `put` waits while the buffer is full, so the reader goes only as fast as the analysis.
    `freshest`: `put` never waits; when the buffer is full the oldest frame is dropped as `overrun`, and frames older
    than `max_staleness_s` when taken are dropped as `stale`. Dropped frames stay in the run as outcomes, so nothing
    goes unaccounted.

    Args:
        policy: one of the two.
        capacity: frames that may wait.
        max_staleness_s: for `freshest`, on the arrival clock.
        clock: Unix seconds.
    """

    def __init__(
        self, policy: Policy, capacity: int, max_staleness_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._policy = policy
        self._capacity = capacity
        self._max_staleness_s = max_staleness_s
        self._clock = clock
        self._items: deque[Frame | Outcome] = deque()
        self._frames = 0
        self._closed = False
        self._woken = False
        self._changed = threading.Condition()

    def put(self, frame: Frame | Outcome) -> bool:
        """Add the next frame, or the outcome of one that could not be decoded; False once the buffer is closed."""
        with self._changed:
            if self._policy == "every_frame":
                self._changed.wait_for(lambda: self._closed or self._frames < self._capacity)
            if self._closed:
                return False
            if isinstance(frame, Frame) and self._frames >= self._capacity:
                self._drop_oldest()
            self._items.append(frame)
            self._frames += isinstance(frame, Frame)
            self._changed.notify_all()
            return True

    def _drop_oldest(self) -> None:
        """Counted from the newest end, where the few frames are; before them stands any number of dropped ones."""
        left = self._frames
        for index in range(len(self._items) - 1, -1, -1):
            item = self._items[index]
            if isinstance(item, Frame):
                left -= 1
                if left == 0:
                    self._items[index] = dropped(item, "overrun")
                    self._frames -= 1
                    return

    def take(self, max_frames: int, timeout_s: float, newest: bool = False) -> list[Frame | Outcome]:
        """The next contiguous run with at most `max_frames` frames; empty when none came in time or all is done.

        Args:
            newest: all frames but the newest that waits are dropped as `overrun`: the others would be stale when their
                turn comes.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._woken or bool(self._items), timeout_s)
            self._woken = False
            while newest and self._frames > 1:
                self._drop_oldest()
            run: list[Frame | Outcome] = []
            frames = 0
            oldest = self._clock() - self._max_staleness_s
            while self._items and frames < max_frames:
                item = self._items.popleft()
                if isinstance(item, Frame):
                    self._frames -= 1
                    if self._policy == "freshest" and item.arrived_at < oldest:
                        item = dropped(item, "stale")
                    else:
                        frames += 1
                run.append(item)
            self._changed.notify_all()
            return run

    def wait(self, timeout_s: float) -> None:
        """Wait until `wake`, or for so long, whatever waits to be taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken, timeout_s)
            self._woken = False

    def wake(self) -> None:
        """Whoever waits to take, or for this, has something else to do."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """No more frames; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Frames and outcomes of dropped ones that wait to be taken."""
        return len(self._items)

    @property
    def exhausted(self) -> bool:
        """Closed, and everything taken."""
        with self._changed:
            return self._closed and not self._items
