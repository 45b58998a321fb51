"""Which windows of live cameras need a row of `frames` that no session writes: those in which no frame came."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from risa_ray.frames import from_unix
from risa_ray.store.schema import WINDOW_S

Place = tuple[str, str]
"""A camera: store_id, camera_id."""

_GRACE_S = 5.0
"""A window's frames may come so long after its end: analysis takes its time, and a new writer is sent them again."""
_IN_HANDS_S = 90.0
"""And so long where the camera was live and has an open session: an analyzer that hangs or moves has its frames."""
_CATCH_UP = 12
"""Windows before a heartbeat that it speaks for as well: the driver beats about once a window, and a writer that is
started again knows nothing of what its predecessor was told, or still waited with."""


def number_of(moment: datetime) -> int:
    """The number of a window that starts at an aware time; windows are numbered since 1970."""
    return int(moment.timestamp()) // WINDOW_S


def start_of(number: int) -> datetime:
    """When a window starts, aware UTC."""
    return from_unix(number * WINDOW_S)


@dataclass(slots=True)
class _Camera:
    """One camera's windows: up to `decided` nothing is left to do; the others wait with the state they would tell.

    `since`: no heartbeat speaks for a window before; an edited config had removed the camera.
    """

    decided: int
    newest: int = -1
    since: int = -1
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
        run_began: Unix seconds; before it the run's process looked at no camera. None is not known.
    """

    def __init__(self, run_id: str, clock: Callable[[], float], run_began: float | None = None) -> None:
        self._run_id = run_id
        self._clock = clock
        self._begun = clock()
        self._before = -1 if run_began is None else self._number(run_began) - 1
        self._cameras: dict[Place, _Camera] = {}

    def app_id(self, place: Place) -> str:
        """The name of a camera's mark."""
        return f"heartbeat/{self._run_id}/{place[0]}/{place[1]}"

    def knows(self, place: Place) -> bool:
        return place in self._cameras

    def know(self, place: Place, mark: int, since: datetime | None) -> None:
        """Begin with a camera after the mark in the store; without one (-1) with the window that its session began in,
        or, without that, with the present one."""
        now = from_unix(self._clock())
        first = mark if mark >= 0 else number_of(min(now, since or now)) - 1
        self._cameras[place] = _Camera(max(first, self._before))

    @property
    def waiting(self) -> list[Place]:
        """Cameras with windows that are not decided."""
        return [place for place, camera in self._cameras.items() if camera.states]

    def beat(self, states: Mapping[Place, str]) -> None:
        """All cameras that there are, known ones, are in these states now."""
        now = self._number(self._clock())
        for place, state in states.items():
            camera = self._cameras[place]
            for number in range(max(camera.decided + 1, camera.since, now + 1 - _CATCH_UP), now):
                camera.states.setdefault(number, state)
            if now > camera.decided:
                camera.states[now] = state
        for place in self._cameras.keys() - states.keys():
            self._cameras[place].since = now + 1

    def delivered(self, place: Place, numbers: set[int]) -> None:
        """Frames came in these windows, which so have a row of their session."""
        camera, latest = self._cameras[place], self._number(self._clock()) + 1
        # A clock that was set far ahead for a while says nothing about windows to come.
        numbers = {n for n in numbers if camera.decided < n <= latest}
        camera.delivered |= numbers
        camera.newest = max([camera.newest, *numbers])

    def due(self, last: bool, connected: Collection[Place]) -> Iterator[tuple[Place, int, str]]:
        """Windows without a frame, with the state to tell; with `last` also those that are not over yet.

        Of each camera they come in order, since its mark moves past them.

        Args:
            connected: cameras with an open session.
        """
        now = self._clock()
        for place, camera in self._cameras.items():
            for number, state in sorted(camera.states.items()):
                if number in camera.delivered:
                    continue
                end = (number + 1) * WINDOW_S
                grace = _IN_HANDS_S if state == "live" and place in connected else _GRACE_S
                # Frames come in order: after one of a later window there is none to wait for.
                complete = camera.newest > number or now >= max(end, self._begun) + grace
                if not (last or (now >= end and complete)):
                    break
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
