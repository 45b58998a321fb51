"""The chunks of a dataset once more: what the tables tell of a camera, in time order, an hour at a time.

`observations` has every frame with a face; of the others `frames` knows how many there were in each 10 s window, and
how many of them were dropped. Their times are read off the frames around them, and drops are spread among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa

from risa_ray.config import CameraConfig
from risa_ray.frames import DROP_CAUSES, Chunk, DropCause, FaceRow, Outcome, from_unix
from risa_ray.store.schema import WINDOW_S
from risa_ray.vision.expressions import EXPRESSIONS

_HOUR = timedelta(hours=1)
_WINDOW = timedelta(seconds=WINDOW_S)
_NOT_READ = (0.0,) * len(EXPRESSIONS)

# Of each moment one run counts, as in the views (docs/metrics.md: footage run again).
_WINDOWS = """
    WITH opened AS (SELECT run_id, min("at") AS opened_at FROM runs GROUP BY run_id)
    SELECT session_id, run_id, epoch(window_start) AS start, first_seq, last_seq, read, analysed, faces,
        dropped_overrun, dropped_stale, dropped_decode_error, dropped_poison, dropped_lost_in_crash
    FROM frames LEFT JOIN opened USING (run_id)
    WHERE store_id = $store AND camera_id = $camera AND date BETWEEN $since::DATE AND $until::DATE
        AND window_start >= $since AND window_start < $until
    QUALIFY run_id = first_value(run_id) OVER (
        PARTITION BY window_start ORDER BY analysed > 0 DESC, opened_at DESC NULLS LAST, run_id DESC
    )
    ORDER BY window_start, first_seq
"""
# A frame whose clock jitters back stays in the window of the one before.
_FACES = """
    SELECT session_id, frame_seq, epoch(captured_at) AS t, pts, track_id, zone_ids, expression, valence
    FROM observations
    WHERE store_id = $store AND camera_id = $camera
        AND date BETWEEN ($since - INTERVAL 10 SECOND)::DATE AND $until::DATE
        AND captured_at >= $since - INTERVAL 10 SECOND AND captured_at < $until
    ORDER BY session_id, frame_seq, face_index
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A 10 s window of a camera, or the part of it that is of one session.

    Attributes:
        start: Unix seconds.
        chunk: what was read in it; None where nothing was, as while the camera was away.
        gone: its faces were purged, so that nobody can tell who was there.
    """

    run_id: str
    start: float
    chunk: Chunk | None
    gone: bool = False

    @property
    def end(self) -> float:
        return self.start + WINDOW_S


@dataclass(slots=True)
class _Session:
    """What is known of a session so far: since when, the seconds between its frames, and what comes next."""

    began: float
    interval_s: float | None
    next_seq: int = -1
    faces: dict[int, list[FaceRow]] = field(default_factory=dict)


class History:
    """The windows of one camera.

    Args:
        connection: of `open_dataset(raw=True)`.
        camera: as it is configured; the time between frames is its own where the tables do not tell it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, store_id: str, camera: CameraConfig) -> None:
        self._connection = connection
        self._store_id = store_id
        self._camera_id = camera.id
        self._interval_s = 1 / camera.sampling_fps if camera.sampling_fps else None
        self._sessions: dict[str, _Session] = {}

    def windows(self, since: datetime, until: datetime) -> Iterator[Stored]:
        """The windows that begin from `since` up to, not including, `until` (aware times), by time.

        Raises:
            duckdb.Error: a file cannot be read.
        """
        start = since
        while start < until:
            end = min(start + _HOUR, until)
            yield from self._hour(start, end)
            start = end

    def _hour(self, since: datetime, until: datetime) -> Iterator[Stored]:
        windows: list[dict[str, Any]] = self._read(_WINDOWS, since, until).to_pylist()
        if any(row["faces"] for row in windows):
            self._take_faces(self._read(_FACES, since, until))
        for row in windows:
            if row["session_id"] is not None:
                self._session(row["session_id"], row["start"])
        # Where a camera was connected anew within a window, the older session comes first.
        windows.sort(key=lambda row: (row["start"], self._began(row)))
        following = {(row["session_id"], row["first_seq"]): row["start"] for row in windows}
        for row in windows:
            yield self._window(row, following)
        recent = {row["session_id"] for row in windows if row["start"] >= until.timestamp() - 2 * WINDOW_S}
        self._sessions = {i: replace(session, faces={}) for i, session in self._sessions.items() if i in recent}

    def _read(self, sql: str, since: datetime, until: datetime) -> pa.Table:
        place = {"store": self._store_id, "camera": self._camera_id}
        rows = self._connection.sql(sql, params=place | {"since": since, "until": until}).to_arrow_table()
        return cast(pa.Table, rows)

    def _session(self, session_id: str, at: float) -> _Session:
        return self._sessions.setdefault(session_id, _Session(at, self._interval_s))

    def _began(self, row: Mapping[str, Any]) -> float:
        session = self._sessions.get(row["session_id"])
        return row["start"] if session is None else session.began

    def _take_faces(self, rows: pa.Table) -> None:
        for session_id, *values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            face = _face(*values)
            self._session(session_id, values[1]).faces.setdefault(face.frame_seq, []).append(face)

    def _window(self, row: Mapping[str, Any], following: Mapping[tuple[str, int], float]) -> Stored:
        session_id, run_id, start = row["session_id"], row["run_id"], row["start"]
        if session_id is None or not row["read"]:
            return Stored(run_id, start, None)
        session = self._session(session_id, start)
        seqs = range(row["first_seq"], row["last_seq"] + 1)
        faces = {seq: session.faces[seq] for seq in seqs if seq in session.faces}
        entered = session.next_seq == seqs.start
        left = following.get((session_id, seqs.stop)) == start + WINDOW_S
        if entered and left:
            session.interval_s = WINDOW_S / len(seqs)
        times = _times(seqs, faces, start, session.interval_s, entered=entered, left=left)
        session.next_seq = seqs.stop
        chunk = Chunk(
            self._store_id,
            self._camera_id,
            session_id,
            detector="",
            model_id="",
            outcomes=tuple(_outcomes(seqs, times, faces, row)),
            faces=tuple(face for found in faces.values() for face in found),
        )
        return Stored(run_id, start, chunk, gone=bool(row["faces"]) and not faces)


def _times(
    seqs: range,
    faces: Mapping[int, Sequence[FaceRow]],
    start: float,
    interval_s: float | None,
    *,
    entered: bool,
    left: bool,
) -> list[float]:
    """Capture times of a window's frames (Unix s): known where there are faces, between them at an even pace.

    `entered` and `left` tell that frames came before the window, and after it, without a gap: then they fill it.
    """
    known = [(float(seq), found[0].captured_at.timestamp()) for seq, found in faces.items()]
    if left and seqs[-1] not in faces:
        known.append((seqs[-1] + 0.5, start + WINDOW_S))
    if not known or (entered and seqs.start not in faces):
        known.insert(0, (seqs.start - 0.5, start))
    pace = interval_s or WINDOW_S / len(seqs)
    (first, began), (last, ended) = known[0], known[-1]
    at = np.arange(seqs.start, seqs.stop, dtype=np.float64)
    times = np.interp(at, [seq for seq, _ in known], [t for _, t in known])
    times = np.where(at < first, began + (at - first) * pace, times)
    times = np.where(at > last, ended + (at - last) * pace, times)
    inside = times.clip(start, start + WINDOW_S - 1e-6)
    found = np.array([seq in faces for seq in seqs])
    return [float(t) for t in np.where(found, times, inside)]


def _outcomes(
    seqs: range, times: Sequence[float], faces: Mapping[int, Sequence[FaceRow]], row: Mapping[str, Any]
) -> Iterator[Outcome]:
    dropped = [cause for cause in DROP_CAUSES for _ in range(row[f"dropped_{cause}"])]
    empty = [seq for seq in seqs if seq not in faces]
    causes: dict[int, DropCause] = {}
    for number, cause in enumerate(dropped[: len(empty)]):
        causes[empty[int((number + 0.5) * len(empty) / min(len(dropped), len(empty)))]] = cause
    for seq, t in zip(seqs, times, strict=True):
        found = faces.get(seq, ())
        at = found[0].captured_at if found else from_unix(t)
        yield Outcome(seq, found[0].pts if found else t, at, t, causes.get(seq), len(found))


def _face(
    frame_seq: int, t: float, pts: float, track_id: str, zone_ids: list[str], expression: str, valence: float
) -> FaceRow:
    """A face with what the figures need; boxes and probabilities are left where they are."""
    return FaceRow(
        frame_seq=frame_seq,
        face_index=0,
        captured_at=from_unix(t),
        pts=pts,
        track_id=track_id,
        zone_ids=tuple(zone_ids),
        x1=0.0,
        y1=0.0,
        x2=0.0,
        y2=0.0,
        detector_score=0.0,
        face_px=0.0,
        yaw_deg=None,
        probabilities=_NOT_READ,
        expression=expression,
        abstain_reason=None,
        confidence=0.0,
        valence=valence,
    )
