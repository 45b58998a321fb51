"""When a camera of a simulated day delivered frames: its sessions, restarts, outages and dropped frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_US = 1_000_000
OUTAGE_CHANCE = 0.3
OUTAGE_S = (120.0, 1200.0)
RESTART_CHANCE = 0.5
_RESTART_S = (3.0, 8.0)
_START_S = (0.0, 30.0)

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Session:
    """One connection of a camera; `start_us` is the Unix microsecond of frame 0, `dropped` says it of each frame."""

    id: str
    camera_id: str
    fps: float
    start_us: int
    dropped: Bools

    @property
    def frames(self) -> int:
        return len(self.dropped)

    def times(self, frame_seq: Ints) -> Ints:
        """Unix microseconds of frames."""
        since: Ints = np.rint(frame_seq * (_US / self.fps)).astype(np.int64)
        return self.start_us + since


@dataclass(frozen=True, slots=True)
class CameraDay:
    """A camera's day; `down` are spans in Unix microseconds."""

    sessions: tuple[Session, ...]
    down: tuple[tuple[int, int], ...]


def plan_day(
    rng: np.random.Generator,
    camera_id: str,
    fps: float,
    opening: tuple[int, int],
    drop_rate: float,
    outages: bool,
) -> CameraDay:
    """Draw a camera's sessions of a day: restarts cut them with a gap of seconds, outages with one of minutes."""
    opens, closes = opening
    length = closes - opens
    start = opens + _between(rng, _START_S)
    # Drawn in any case, so that the same seed has the same people with outages and without.
    restart = rng.random() < RESTART_CHANCE, opens + int(length * rng.uniform(0.35, 0.5)), _between(rng, _RESTART_S)
    outage = rng.random() < OUTAGE_CHANCE, opens + int(length * rng.uniform(0.55, 0.9)), _between(rng, OUTAGE_S)
    cuts = [(at, min(at + gap, closes)) for happens, at, gap in (restart, outage) if happens]
    down = tuple(cuts[-1:]) if outages and outage[0] else ()
    if outage[0] and not outages:
        cuts.pop()
    starts = [start, *(end for _, end in cuts)]
    ends = [*(begin for begin, _ in cuts), closes]
    spans = [(a, max(0, int((b - a) * fps / _US))) for a, b in zip(starts, ends, strict=True)]
    sessions = tuple(
        Session(rng.bytes(6).hex(), camera_id, fps, a, rng.random(count) < drop_rate) for a, count in spans if count
    )
    return CameraDay(sessions, down)


def _between(rng: np.random.Generator, seconds: tuple[float, float]) -> int:
    """Microseconds, whole milliseconds as in the context tables."""
    return int(rng.uniform(*seconds) * 1000) * 1000
