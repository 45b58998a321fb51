"""The rows of `frames`: what became of the frames of one session in one window of 10 s."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from risa_ray.frames import DROP_CAUSES, DropCause, Outcome
from risa_ray.store.schema import DELAY_EDGES_S, WINDOW_FRAMES, WINDOW_S

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_BACK = timedelta(seconds=10)
"""A clock that goes back this far was set; by less it jitters, and the frame stays in the window it came in."""


def window_of(moment: datetime) -> datetime:
    """Start of the window that an aware time lies in, in UTC."""
    return _EPOCH + (moment - _EPOCH) // timedelta(seconds=WINDOW_S) * timedelta(seconds=WINDOW_S)


@dataclass(frozen=True, slots=True)
class _Entry:
    frame_seq: int
    cause: DropCause | None
    faces: int
    arrived_at: float | None = None
    """None where it died with the reader, or says nothing about delay."""


@dataclass(slots=True)
class Window:
    """A contiguous part of a session, still open or waiting for its commit.

    `delays` are seconds from arrival to commit of the analysed frames up to `committed_seq`.
    """

    start: datetime
    entries: list[_Entry] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    committed_seq: int = -1
    newest: datetime | None = None

    @property
    def last_seq(self) -> int:
        return self.entries[-1].frame_seq

    def takes(self, moment: datetime) -> bool:
        """Whether the session's next frame, captured then, belongs here; it depends on this window's frames alone."""
        back = self.newest is not None and self.newest - moment > _STEP_BACK
        return window_of(moment) <= self.start and not back and len(self.entries) < WINDOW_FRAMES

    def add(self, outcome: Outcome, durable: bool = False) -> None:
        """Count a frame; one that was durable before this process began says nothing about delay."""
        self.newest = outcome.captured_at if self.newest is None else max(self.newest, outcome.captured_at)
        arrived_at = None if durable else outcome.arrived_at
        self.entries.append(_Entry(outcome.frame_seq, outcome.cause, outcome.faces, arrived_at))

    def add_lost(self, frame_seq: int) -> None:
        self.entries.append(_Entry(frame_seq, "lost_in_crash", 0))

    def add_stored(self, frame_seq: int, captured_at: datetime, faces: int) -> None:
        """An analysed frame of which the rows in observations are all that is known."""
        self.newest = captured_at if self.newest is None else max(self.newest, captured_at)
        self.entries.append(_Entry(frame_seq, None, faces))

    def committed(self, last_seq: int, at: float) -> None:
        """Frames up to `last_seq` became durable at Unix second `at`."""
        for entry in self.entries:
            new = self.committed_seq < entry.frame_seq <= last_seq
            if new and entry.cause is None and entry.arrived_at is not None:
                self.delays.append(max(0.0, at - entry.arrived_at))
        self.committed_seq = max(self.committed_seq, last_seq)

    def trim(self, mark: int) -> None:
        """Forget frames that another writer committed."""
        self.entries = [entry for entry in self.entries if entry.frame_seq > mark]

    def row(self) -> dict[str, Any]:
        """The window's columns that its frames decide."""
        causes = Counter(entry.cause for entry in self.entries)
        return {
            "first_seq": self.entries[0].frame_seq,
            "last_seq": self.last_seq,
            "read": len(self.entries),
            "analysed": causes[None],
            **{f"dropped_{cause}": causes[cause] for cause in DROP_CAUSES},
            "faces": sum(entry.faces for entry in self.entries),
            **delay_columns(self.delays),
        }


def frames_row(run_id: str, place: tuple[str, str], start: datetime) -> dict[str, Any]:
    """The columns of a window that no frame decides; of a window without a session until one is added."""
    return {
        "date": start.date(),
        "store_id": place[0],
        "camera_id": place[1],
        "session_id": None,
        "run_id": run_id,
        "window_start": start,
        "window_s": float(WINDOW_S),
        "note": "",
    }


def delay_columns(delays: list[float]) -> dict[str, Any]:
    """Percentiles (NULL without a delay) and histogram of delays in seconds."""
    p50, p95 = np.percentile(delays, [50, 95]).tolist() if delays else (None, None)
    buckets = np.bincount(np.searchsorted(DELAY_EDGES_S, delays, side="left"), minlength=len(DELAY_EDGES_S) + 1)
    return {"delay_p50_s": p50, "delay_p95_s": p95, "delay_hist": buckets.tolist()}


def empty_row() -> dict[str, Any]:
    """The same columns of a window in which no frame was read."""
    return {
        "first_seq": None,
        "last_seq": None,
        "read": 0,
        "analysed": 0,
        **{f"dropped_{cause}": 0 for cause in DROP_CAUSES},
        "faces": 0,
        **delay_columns([]),
    }
