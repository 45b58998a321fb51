"""Running a stream in a test, and what must hold of its tables."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from risa_ray.analytics import open_dataset
from risa_ray.benchmarks.accounts import frames_accounted
from risa_ray.config import ChainConfig
from risa_ray.inputs import config_for
from risa_ray.streaming.driver import Snapshot, StreamReport, stream
from risa_ray.streaming.preflight import preflight

FAST = {"detector": "haar", "min_face_size": 30}
"""A detector that is quick and finds the rendered faces: most of these tests are not about detection."""


def config_of(sources: list[Path | str], data: Path, **pipeline: Any) -> ChainConfig:
    return config_for([str(s) for s in sources], str(data), FAST, {"threads": 1} | pipeline)


def run(config: ChainConfig, on_snapshot: Callable[[Snapshot], None] = lambda _: None) -> StreamReport:
    return stream(config, preflight(config), stop=threading.Event(), on_snapshot=on_snapshot, interval_s=0.1)


def rows(data: Path | str, sql: str) -> list[tuple[Any, ...]]:
    return open_dataset(str(data), raw=True).sql(sql).fetchall()


def assert_every_frame_once(data: Path | str, camera_id: str, frames: int) -> None:
    """Each session of the camera has every frame in exactly one outcome, and every face row once."""
    counted = rows(
        data,
        "SELECT session_id, sum(read), sum(analysed), min(first_seq), max(last_seq), sum(faces) FROM frames "
        f"WHERE camera_id = '{camera_id}' AND session_id IS NOT NULL GROUP BY 1",
    )
    assert counted
    for session_id, read, analysed, first, last, faces in counted:
        assert (read, analysed, first, last) == (frames, frames, 0, frames - 1)
        keys = rows(
            data,
            "SELECT count(*), count(DISTINCT (frame_seq, face_index)) FROM observations "
            f"WHERE session_id = '{session_id}'",
        )
        assert keys == [(faces, faces)]


def assert_accounted(data: Path | str) -> None:
    """Of every session each frame from 0 to its mark is in exactly one window, and analysed or dropped with a cause."""
    found = frames_accounted(str(data))
    assert found["holds"], found["told"]
    doubles = rows(
        data, "SELECT count(*) - count(DISTINCT (camera_id, session_id, frame_seq, face_index)) FROM observations"
    )
    assert doubles == [(0,)]
