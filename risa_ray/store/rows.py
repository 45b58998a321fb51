"""From faces, windows and alerts to Arrow tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from risa_ray.frames import Chunk, FaceRow
from risa_ray.store.schema import ALERTS, FRAMES, OBSERVATIONS
from risa_ray.vision.expressions import EXPRESSIONS

_PLAIN = [
    "frame_seq", "face_index", "captured_at", "pts", "track_id", "zone_ids", "x1", "y1", "x2", "y2", "detector_score",
    "face_px", "yaw_deg", "expression", "abstain_reason", "confidence", "valence",
]  # fmt: skip


def warm_up() -> None:
    """Have pyarrow import what it wants for its first conversion (pandas: a second), before anything waits for it."""
    pa.array([0])


def utc_date(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def observation(chunk: Chunk, face: FaceRow) -> dict[str, Any]:
    """One row of `observations`."""
    row = {name: getattr(face, name) for name in _PLAIN}
    row |= {f"p_{name}": p for name, p in zip(EXPRESSIONS, face.probabilities, strict=True)}
    return row | {
        "date": utc_date(face.captured_at),
        "store_id": chunk.store_id,
        "camera_id": chunk.camera_id,
        "session_id": chunk.session_id,
        "model_id": chunk.model_id,
        "detector": chunk.detector,
    }


def alert(row: Any) -> dict[str, Any]:
    """One row of `alerts`, from a mapping or a dataclass with its columns."""
    values = dict(row) if isinstance(row, Mapping) else dataclasses.asdict(row)
    return values | {"date": utc_date(values["fired_at"])}


def observations_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of `observation`, sorted by captured_at."""
    return pa.Table.from_pylist(list(rows), schema=OBSERVATIONS).sort_by(
        [("captured_at", "ascending"), ("camera_id", "ascending"), ("frame_seq", "ascending")]
    )


def frames_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=FRAMES).sort_by(
        [("window_start", "ascending"), ("camera_id", "ascending")]
    )


def alerts_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ALERTS).sort_by("fired_at")
