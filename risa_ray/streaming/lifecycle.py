"""What a camera is doing: a state machine with legal transitions only."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Literal, get_args

CameraState = Literal["connecting", "live", "stalled", "backing_off", "stopped", "reading", "complete", "broken"]
"""A live camera is the first five, and `complete` when it plays to an end; a file is `reading` until one of the last
two, or stopped."""

CAMERA_STATES: tuple[CameraState, ...] = get_args(CameraState)
ENDED: frozenset[CameraState] = frozenset({"stopped", "complete", "broken"})

LONGEST_S = 3.0
REFUSED_S = 60.0
_SHORTEST_S = 0.25
_FIND_HOST_S = 10.0
_GOOD_S = 10.0
"""A connection that lasted so long was good: the next attempt comes soon. Others count as failures in a row."""

_LEGAL: dict[CameraState, frozenset[CameraState]] = {
    "connecting": frozenset({"live", "reading", "backing_off", "stopped", "complete", "broken"}),
    "live": frozenset({"stalled", "backing_off", "stopped", "complete"}),
    "stalled": frozenset({"live", "backing_off", "stopped", "complete"}),
    "backing_off": frozenset({"connecting", "stopped"}),
    "reading": frozenset({"stopped", "complete", "broken"}),
    "stopped": frozenset(),
    "complete": frozenset(),
    "broken": frozenset(),
}


class IllegalTransitionError(Exception):
    """A fault of ours: the state machine was asked for a transition that it does not have."""


class Lifecycle:
    """The state of one camera, since when, and how often it connected and stalled. Safe for several threads.

    Args:
        stall_timeout_s: a live camera without a picture for so long is `stalled`, for twice as long `lost`.
        clock: monotonic seconds.

    Attributes:
        connections: times that a first picture came after `connecting`.
        stalls: times that the camera became `stalled`.
    """

    def __init__(self, stall_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._state: CameraState = "connecting"
        self._since = self._heard_at = clock()
        self.connections = 0
        self.stalls = 0

    @property
    def state(self) -> CameraState:
        """The state now; a stall shows at once, whoever asks."""
        with self._lock:
            if self._state == "live" and self._clock() - self._heard_at > self._stall_timeout_s:
                self._go("stalled")
                self.stalls += 1
            return self._state

    @property
    def lasted_s(self) -> float:
        """How long the camera has been in its state."""
        with self._lock:
            return self._clock() - self._since

    @property
    def lost(self) -> bool:
        """Whether a live camera was silent for so long that its connection is worth nothing any more.

        One that is connected gets time to find its host, too, which no time-out of the decoder's covers.
        """
        state, longest_s = self.state, 2 * self._stall_timeout_s
        if state == "connecting":
            return self.lasted_s > longest_s + _FIND_HOST_S
        return state in ("live", "stalled") and self._clock() - self._heard_at > longest_s

    def hold(self) -> None:
        """We make the camera wait: from here to `release` it is not its fault that nothing is heard of it."""
        with self._lock:
            self._heard_at = math.inf

    def release(self) -> None:
        """We are listening again."""
        with self._lock:
            self._heard_at = self._clock()

    def heard(self) -> None:
        """A live camera sent a picture."""
        with self._lock:
            self._heard_at = self._clock()
            if self._state != "live":
                self.connections += self._state == "connecting"
                self._go("live")

    def go(self, state: CameraState) -> None:
        """Change the state; to the same one changes nothing.

        Raises:
            IllegalTransitionError: there is no such transition.
        """
        with self._lock:
            self._go(state)

    def _go(self, state: CameraState) -> None:
        if state == self._state:
            return
        if state not in _LEGAL[self._state]:
            raise IllegalTransitionError(f"a camera that is {self._state} cannot become {state}")
        self._state = state
        self._since = self._clock()


class BackOff:
    """How long to wait before a camera is connected again: exponential, with jitter, never above 3 s.

    After a refusal of the credentials it is a minute, since cameras lock accounts.

    Args:
        jitter: a random number in [0, 1), so that cameras behind one switch do not come back all at once.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._failures = 0

    def next_s(self, lasted_s: float, refused: bool) -> float:
        """Seconds to wait after a connection that lasted so long (0: it never came about)."""
        if refused:
            return REFUSED_S
        self._failures = 0 if lasted_s >= _GOOD_S else self._failures + 1
        longest = min(LONGEST_S, _SHORTEST_S * 2.0 ** min(self._failures, 10))
        return longest * (0.5 + 0.5 * self._jitter())
