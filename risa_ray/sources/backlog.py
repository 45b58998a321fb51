"""Whether a live stream is read more slowly than it comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

_SPAN_S = 2.0
_IDLE_SHARE = 0.03
_WAITED_S = 0.01
"""A read that takes longer found nothing waiting. One of what is there takes far less."""


class Backlog:
    """Tells by the time that reads wait whether pictures pile up between the camera and us.

    Where decoding is slower than the camera, what is not read yet waits in buffers of the network, seconds of it, and
    every picture is older than the last though it seems to have just arrived. A reader that keeps up waits for the
    next picture; one that has hardly waited for `_SPAN_S` is behind, until a read waits again.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reads: deque[tuple[float, float]] = deque()  # when it was done, how long it took
        self._waited = 0.0
        self._began = clock()
        self._behind = False

    @property
    def behind(self) -> bool:
        """Whether what comes out now is old."""
        return self._behind

    def watch(self, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time that each is waited for counts."""
        while True:
            asked_at = self._clock()
            item = next(items, None)
            self._count(self._clock(), self._clock() - asked_at)
            if item is None:
                return
            yield item

    def _count(self, now: float, waited_s: float) -> None:
        self._reads.append((now, waited_s))
        self._waited += waited_s
        while self._reads[0][0] < now - _SPAN_S:
            self._waited -= self._reads.popleft()[1]
        if self._behind and waited_s >= _WAITED_S:
            self._behind = False
            self._began = now
        elif now - self._began >= _SPAN_S and self._waited < _IDLE_SHARE * _SPAN_S:
            self._behind = True
