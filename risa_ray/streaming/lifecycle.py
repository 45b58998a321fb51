"""What a camera is doing: a state machine with legal transitions only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, get_args

CameraState = Literal["connecting", "live", "stalled", "backing_off", "stopped", "reading", "complete", "broken"]
"""A live camera is the first five, and `complete` when it plays to an end; a file is `reading` until one of the last
two, or stopped."""

CAMERA_STATES: tuple[CameraState, ...] = get_args(CameraState)
ENDED: frozenset[CameraState] = frozenset({"stopped", "complete", "broken"})

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
        """Whether a live camera was silent for so long that its connection is worth nothing any more."""
        silent_s = self._clock() - self._heard_at
        return self.state in ("live", "stalled") and silent_s > 2 * self._stall_timeout_s

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
