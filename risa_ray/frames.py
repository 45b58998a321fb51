"""What the parts hand on: frames from the readers, chunks from the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""RGB uint8 (H, W, 3)."""

DropCause = Literal["overrun", "stale", "decode_error", "poison", "lost_in_crash"]
DROP_CAUSES: tuple[DropCause, ...] = ("overrun", "stale", "decode_error", "poison", "lost_in_crash")


@dataclass(frozen=True, slots=True)
class Frame:
    """One sampled picture of one camera.

    Attributes:
        frame_seq: number among the session's sampled frames, from 0, counted before any drop.
        pts: seconds on the stream's clock.
        captured_at: aware UTC time of capture; for a file its start + pts, for a live camera the arrival.
        arrived_at: Unix seconds at which the reader got the picture; every delay is measured from here.
        image: RGB uint8 (H, W, 3), read-only.
        scale: source pixels per image pixel; boxes are multiplied by it on their way out.
    """

    camera_id: str
    session_id: str
    frame_seq: int
    pts: float
    captured_at: datetime
    arrived_at: float
    image: Image
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one frame: analysed (`cause` is None) or dropped with a cause."""

    frame_seq: int
    pts: float
    captured_at: datetime
    arrived_at: float
    cause: DropCause | None = None
    faces: int = 0


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One face on one analysed frame, in source pixels; the columns of `observations` that vision knows."""

    frame_seq: int
    face_index: int
    captured_at: datetime
    pts: float
    track_id: str
    zone_ids: tuple[str, ...]
    x1: float
    y1: float
    x2: float
    y2: float
    detector_score: float
    face_px: float
    yaw_deg: float | None
    probabilities: tuple[float, ...]
    expression: str
    abstain_reason: str | None
    confidence: float
    valence: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """The result of a contiguous run of frames of one session: one outcome per frame, and the face rows.

    `size`: width and height in source pixels of its last analysed frame; None without one.

    Raises:
        ValueError: the outcomes are empty or not contiguous, or a face row belongs to no analysed frame.
    """

    store_id: str
    camera_id: str
    session_id: str
    detector: str
    model_id: str
    outcomes: tuple[Outcome, ...]
    faces: tuple[FaceRow, ...] = ()
    size: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.outcomes:
            raise ValueError(f"a chunk of session {self.session_id} has no frame")
        seqs = [o.frame_seq for o in self.outcomes]
        if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            raise ValueError(f"a chunk of session {self.session_id} has a gap: frames {seqs}")
        analysed = {o.frame_seq for o in self.outcomes if o.cause is None}
        strangers = {f.frame_seq for f in self.faces} - analysed
        if strangers:
            raise ValueError(
                f"a chunk of session {self.session_id} has faces of frames {sorted(strangers)} it did not analyse"
            )

    @property
    def first_seq(self) -> int:
        return self.outcomes[0].frame_seq

    @property
    def last_seq(self) -> int:
        return self.outcomes[-1].frame_seq

    def after(self, mark: int) -> Chunk | None:
        """The part above a high-water mark; None when nothing of it is."""
        if self.first_seq > mark:
            return self
        if self.last_seq <= mark:
            return None
        return replace(
            self,
            outcomes=tuple(o for o in self.outcomes if o.frame_seq > mark),
            faces=tuple(f for f in self.faces if f.frame_seq > mark),
        )


def dropped(frame: Frame, cause: DropCause) -> Outcome:
    """The outcome of a frame that is not analysed."""
    return Outcome(frame.frame_seq, frame.pts, frame.captured_at, frame.arrived_at, cause)


Run = Sequence[Frame | Outcome]
"""A contiguous run of one session: frames to analyse, and outcomes of those already dropped."""


def from_unix(seconds: float) -> datetime:
    """Aware UTC time of Unix seconds, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)
