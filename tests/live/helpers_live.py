"""Chunks and figures made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from risa_ray.config import ChainConfig, parse_config
from risa_ray.frames import Chunk, FaceRow, Outcome

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]]


def chain(
    k: int = 1,
    source: str = "front.mp4",
    zones: Sequence[str] = ("shelf", "desk"),
    alerts: Sequence[dict[str, Any]] = (),
    sampling_fps: float | None = 5,
    timezone: str = "UTC",
    data: str = "data",
) -> ChainConfig:
    """One store with one camera `front`; a zone called `staff`, `queue` or `checkout` is one, others are shelves."""
    kinds = ("staff", "queue", "checkout")
    camera = {
        "id": "front",
        "source": source,
        "sampling_fps": sampling_fps,
        "zones": [{"id": z, "kind": z if z in kinds else "product", "polygon": SQUARE} for z in zones],
    }
    store = {"id": "007", "timezone": timezone, "cameras": [camera]}
    raw = {"data": data, "stores": [store], "privacy": {"k": k}, "alerts": list(alerts)}
    return parse_config(raw, "test")


def face(
    seq: int,
    pts: float,
    track: str = "a",
    valence: float = 0.0,
    expression: str = "neutral",
    zones: tuple[str, ...] = (),
    index: int = 0,
) -> FaceRow:
    return FaceRow(
        frame_seq=seq,
        face_index=index,
        captured_at=START + timedelta(seconds=pts),
        pts=pts,
        track_id=track,
        zone_ids=zones,
        x1=10,
        y1=10,
        x2=60,
        y2=60,
        detector_score=0.99,
        face_px=50,
        yaw_deg=None,
        probabilities=(0.125,) * 8,
        expression=expression,
        abstain_reason="low_confidence" if expression == "unknown" else None,
        confidence=0.5,
        valence=valence,
    )


def outcome(seq: int, pts: float, cause: Any = None) -> Outcome:
    at = START + timedelta(seconds=pts)
    return Outcome(seq, pts, at, at.timestamp(), cause)


def chunk(outcomes: Sequence[Outcome], faces: Sequence[FaceRow] = (), session: str = "s1") -> Chunk:
    return Chunk("007", "front", session, "haar", "test", tuple(outcomes), tuple(faces))


def people(
    tracks: dict[str, tuple[float, str]],
    seconds: float = 2.0,
    fps: float = 5.0,
    start_seq: int = 0,
    zones: dict[str, tuple[str, ...]] | None = None,
) -> Chunk:
    """All of `tracks` (id -> valence, expression) in view from start_seq / fps on, for some seconds."""
    seqs = range(start_seq, start_seq + round(seconds * fps))
    faces = [
        face(seq, seq / fps, track, valence, expression, (zones or {}).get(track, ()), index)
        for seq in seqs
        for index, (track, (valence, expression)) in enumerate(tracks.items())
    ]
    return chunk([outcome(seq, seq / fps) for seq in seqs], faces)


def wall(pts: float) -> float:
    """Unix seconds of a time on the stream's clock."""
    return START.timestamp() + pts
