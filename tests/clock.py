"""A clock that the test moves."""

from __future__ import annotations


class Clock:
    """Seconds since whatever the test likes, in `now`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
