"""From faces, windows and alerts to Arrow tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from risa_ray.frames import Chunk, FaceRow
from risa_ray.store.schema import ALERTS, FRAMES, OBSERVATIONS
from risa_ray.vision.expressions import EXPRESSIONS

_FACE = [
    "frame_seq", "face_index", "captured_at", "pts", "track_id", "zone_ids", "x1", "y1", "x2", "y2", "detector_score",
    "face_px", "yaw_deg", "expression", "abstain_reason", "confidence", "valence",
]  # fmt: skip
_CHUNK = ["store_id", "camera_id", "session_id", "model_id", "detector"]
_face_values = attrgetter(*_FACE, "probabilities")


class Faces(NamedTuple):
    """Faces of one chunk, which says what they have in common."""

    chunk: Chunk
    rows: Sequence[FaceRow]

    def after(self, mark: int) -> Faces:
        """Those of frames above a mark."""
        return Faces(self.chunk, [face for face in self.rows if face.frame_seq > mark])


def warm_up() -> None:
    """Have pyarrow import what it wants for its first conversion (pandas: a second), before anything waits for it."""
    pa.array([0])


def utc_date(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def alert(row: Any) -> dict[str, Any]:
    """One row of `alerts`, from a mapping or a dataclass with its columns."""
    values = dict(row) if isinstance(row, Mapping) else dataclasses.asdict(row)
    return values | {"date": utc_date(values["fired_at"])}


def observations_table(parts: Sequence[Faces]) -> pa.Table:
    """Rows of `observations`, sorted by captured_at. Column by column: a dict per row would take ten times as long."""
    faces = [_face_values(face) for part in parts for face in part.rows]
    *plain, probabilities = zip(*faces, strict=True) if faces else ((),) * (len(_FACE) + 1)
    columns: dict[str, pa.Array[Any]] = {
        name: pa.array(values, OBSERVATIONS.field(name).type)
        for name, values in zip(_FACE, plain, strict=True)
        if name != "captured_at"
    }
    columns["captured_at"] = _times(plain[_FACE.index("captured_at")])
    # The day in UTC, since the column is.
    columns["date"] = columns["captured_at"].cast(pa.date32())
    shares = np.array(probabilities, np.float32).reshape(len(faces), len(EXPRESSIONS))
    columns |= {f"p_{name}": pa.array(shares[:, i]) for i, name in enumerate(EXPRESSIONS)}
    which = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
    for name in _CHUNK:
        values = pa.array([getattr(part.chunk, name) for part in parts], pa.string())
        columns[name] = values.take(which)
    table = pa.table([columns[name] for name in OBSERVATIONS.names], schema=OBSERVATIONS)
    return table.sort_by([("captured_at", "ascending"), ("camera_id", "ascending"), ("frame_seq", "ascending")])


def _times(moments: Sequence[datetime]) -> pa.Array[Any]:
    """Aware times as a column. The faces of one frame share theirs, so each is converted once."""
    distinct = list(dict.fromkeys(moments))
    number = {moment: i for i, moment in enumerate(distinct)}
    which = np.fromiter(map(number.__getitem__, moments), np.int64, len(moments))
    times: pa.Array[Any] = pa.array(distinct, OBSERVATIONS.field("captured_at").type)
    return times.take(which)


def frames_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=FRAMES).sort_by(
        [("window_start", "ascending"), ("camera_id", "ascending")]
    )


def alerts_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ALERTS).sort_by("fired_at")
