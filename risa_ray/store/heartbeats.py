"""Which windows of live cameras need a row of `frames` that no session writes: those in which no frame came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from risa_ray.frames import from_unix
from risa_ray.store.schema import WINDOW_S

Place = tuple[str, str]
"""A camera: store_id, camera_id."""

_GRACE_S = 5.0
"""A window's frames may come so long after its end: analysis takes its time, and a new writer is sent them again."""
_CATCH_UP = 6
"""Windows before a heartbeat that it speaks for as well: the driver beats about once a window, and a writer that is
started again knows nothing of what its predecessor was told."""


def number_of(moment: datetime) -> int:
    """The number of a window that starts at an aware time; windows are numbered since 1970."""
    return int(moment.timestamp()) // WINDOW_S


@dataclass(slots=True)
class _Camera:
    """One camera's windows: up to `decided` nothing is left to do; the others wait with the state they would tell."""

    decided: int
    newest: int = -1
    states: dict[int, str] = field(default_factory=dict)
    delivered: set[int] = field(default_factory=set)

    def settle(self, number: int) -> None:
        self.decided = max(self.decided, number)
        self.states = {n: state for n, state in self.states.items() if n > self.decided}
        self.delivered = {n for n in self.delivered if n > self.decided}


class Heartbeats:
    """The windows without a frame of one run's cameras.

    A window is decided when it is over and its frames would be here. The last decided one is a durable mark per camera,
    which moves in one commit with the rows, those of sessions included: so a writer that is started again neither
    doubles a window nor leaves one out.

    Args:
        run_id: the marks are the run's own; another run over the same cameras tells what it saw itself.
        clock: Unix seconds.
    """

    def __init__(self, run_id: str, clock: Callable[[], float]) -> None:
        self._run_id = run_id
        self._clock = clock
        self._begun = clock()
        self._cameras: dict[Place, _Camera] = {}

    def app_id(self, place: Place) -> str:
        """The name of a camera's mark."""
        return f"heartbeat/{self._run_id}/{place[0]}/{place[1]}"

    def knows(self, place: Place) -> bool:
        return place in self._cameras

    def know(self, place: Place, mark: int, since: datetime | None) -> None:
        """Begin with a camera after the mark in the store; without one (-1) with the window that its session began in,
        or, without that, with the present one."""
        begun = from_unix(self._begun)
        self._cameras[place] = _Camera(mark if mark >= 0 else number_of(min(begun, since or begun)) - 1)

    @property
    def waiting(self) -> list[Place]:
        """Cameras with windows that are not decided."""
        return [place for place, camera in self._cameras.items() if camera.states]

    def beat(self, place: Place, state: str) -> None:
        """A known camera is in this state now."""
        camera, now = self._cameras[place], self._number(self._clock())
        for number in range(max(camera.decided, now - _CATCH_UP) + 1, now):
            camera.states.setdefault(number, state)
        if now > camera.decided:
            camera.states[now] = state

    def delivered(self, place: Place, numbers: set[int]) -> None:
        """Frames came in these windows, which so have a row of their session."""
        camera, latest = self._cameras[place], self._number(self._clock()) + 1
        # A clock that was set far ahead for a while says nothing about windows to come.
        numbers = {n for n in numbers if camera.decided < n <= latest}
        camera.delivered |= numbers
        camera.newest = max([camera.newest, *numbers])

    def due(self, last: bool) -> Iterator[tuple[Place, int, str]]:
        """Windows without a frame, with the state to tell; with `last` also those that are not over yet."""
        now = self._clock()
        for place, camera in self._cameras.items():
            for number, state in sorted(camera.states.items()):
                end = (number + 1) * WINDOW_S
                # Frames come in order: after one of a later window there is none to wait for.
                complete = camera.newest > number or now >= max(end, self._begun) + _GRACE_S
                if number not in camera.delivered and (last or (now >= end and complete)):
                    yield place, number, state

    def marks(self, numbers: Mapping[Place, int]) -> dict[str, int]:
        """The marks that go with a commit of rows up to these windows; never back, nor ahead of the clock."""
        now = self._number(self._clock())
        return {self.app_id(p): max(self._cameras[p].decided, min(n, now)) for p, n in numbers.items()}

    def settle(self, place: Place, number: int) -> None:
        """The rows up to a window are in the store."""
        self._cameras[place].settle(min(number, self._number(self._clock())))

    @staticmethod
    def _number(now: float) -> int:
        return number_of(from_unix(now))
