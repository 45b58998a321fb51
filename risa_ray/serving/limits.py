"""How much a client may ask for: requests over time, and pages open at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Buckets:
    """A token bucket per client, by the generic cell rate algorithm: one number for each (ITU-T I.371, annex A).

    Args:
        rate: per second, on average.
        burst: at once.
        most: clients that are remembered; beyond that those who asked first are forgotten.
    """

    def __init__(
        self, rate: float, burst: int, most: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval, self._slack = 1 / rate, (burst - 1) / rate
        self._most, self._clock = most, clock
        self._due: dict[str, float] = {}

    def take(self, client: str) -> float:
        """0 and one is taken, or the seconds until there is one again."""
        now = self._clock()
        due = max(self._due.get(client, now), now)
        if (wait := due - now - self._slack) > 1e-9:
            return wait
        self._due[client] = due + self._interval
        if len(self._due) > self._most:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop full buckets, which say nothing, and then the oldest, down to half: seldom, so that it costs little."""
        self._due = {client: due for client, due in self._due.items() if due > now}
        for client in list(self._due)[: max(0, len(self._due) - self._most // 2)]:
            del self._due[client]


class Streams:
    """Counts open pages."""

    def __init__(self, each: int, in_all: int) -> None:
        self._each, self._in_all = each, in_all
        self._open: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many are open."""
        return self._open.total()

    def full(self) -> bool:
        return self.count >= self._in_all

    def full_for(self, client: str) -> bool:
        return self._open[client] >= self._each

    @contextmanager
    def opened(self, client: str) -> Iterator[None]:
        """One more is open for as long as this lasts."""
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
