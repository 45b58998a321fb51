"""Chunks of invented sessions for the store's tests, a writer of them, and a dataset that is verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clock import Clock
from deltalake import DeltaTable

from risa_ray.frames import Chunk, DropCause, FaceRow, Outcome
from risa_ray.store.verify import verify
from risa_ray.store.writer import SessionInfo, Writer

START = datetime(2026, 11, 22, 9, 59, 55, tzinfo=UTC)


def make_chunk(
    first: int,
    last: int,
    *,
    session_id: str = "s1",
    camera_id: str = "cam1",
    store_id: str = "007",
    fps: float = 2.0,
    faces: Callable[[int], int] = lambda seq: seq % 3,
    cause: Callable[[int], DropCause | None] = lambda seq: None,
    start: datetime = START,
) -> Chunk:
    """Frames first..last of a session whose content depends on the frame number alone."""
    outcomes, rows = [], []
    for seq in range(first, last + 1):
        at, dropped = start + timedelta(seconds=seq / fps), cause(seq)
        count = 0 if dropped else faces(seq)
        outcomes.append(Outcome(seq, seq / fps, at, 1000.0 + seq / fps, dropped, count))
        rows += [
            FaceRow(
                frame_seq=seq,
                face_index=index,
                captured_at=at,
                pts=seq / fps,
                track_id=f"{session_id}-{index}",
                zone_ids=("z1",) if seq % 2 else (),
                x1=10.0,
                y1=20.0,
                x2=50.0,
                y2=70.0,
                detector_score=0.99,
                face_px=40.0,
                yaw_deg=None,
                probabilities=(0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1),
                expression="neutral",
                abstain_reason=None,
                confidence=0.3,
                valence=0.0,
            )
            for index in range(count)
        ]
    return Chunk(store_id, camera_id, session_id, "mtcnn", "model-1", tuple(outcomes), tuple(rows))


def session(session_id: str = "s1", *, live: bool = False, camera_id: str = "cam1") -> SessionInfo:
    return SessionInfo("007", camera_id, session_id, live, START)


def read_rows(data: Path, table: str, order: Sequence[str] = ()) -> list[dict[str, Any]]:
    """All rows of a table, sorted."""
    rows: pa.Table = DeltaTable(str(data / table)).to_pyarrow_table()
    return rows.sort_by([(name, "ascending") for name in order]).to_pylist() if order else rows.to_pylist()


class Tools:
    START = START
    chunk = staticmethod(make_chunk)
    session = staticmethod(session)
    rows = staticmethod(read_rows)


@pytest.fixture
def tools() -> type[Tools]:
    return Tools


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Writer:
    return Writer(str(tmp_path), "run1", clock)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A dataset that is sound in the end."""
    yield tmp_path
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []
