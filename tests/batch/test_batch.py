"""The batch job on real Ray Data, and the invariant that ties it to the stream."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from support import rows

from risa_ray.batch.job import BatchProgress, BatchReport, run_batch
from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import config_for, find_files, recordings_of, units_of
from risa_ray.streaming.driver import stream
from risa_ray.streaming.preflight import preflight
from risa_ray.vision import EXPRESSIONS

FAST = {"detector": "haar", "min_face_size": 30}
NUMBERS = (
    *("x1", "y1", "x2", "y2", "detector_score", "face_px", "yaw_deg", "confidence", "valence", "pts"),
    *(f"p_{expression}" for expression in EXPRESSIONS),
)


def batch(config: ChainConfig) -> BatchReport:
    def ignore(progress: BatchProgress) -> None:
        assert progress.done <= progress.files

    units = units_of(config)
    return run_batch(config, units, preflight(config), stop=threading.Event(), on_progress=ignore)


def same(video: Path, camera: dict[str, Any], tmp_path: Path) -> None:
    """Stream with every_frame and batch give the same keys, and the same numbers within 1e-3."""
    camera = camera | {"policy": "every_frame"}
    streamed = config_for([str(video)], str(tmp_path / "stream"), camera, {"threads": 1})
    batched = config_for([str(video)], str(tmp_path / "batch"), camera, {"threads": 1})
    stream(streamed, preflight(streamed), stop=threading.Event(), on_snapshot=lambda _: None)
    batch(batched)
    columns = ", ".join(NUMBERS)
    sql = f"SELECT frame_seq, face_index, captured_at, zone_ids, {columns} FROM observations ORDER BY 1, 2"
    one, other = rows(tmp_path / "stream", sql), rows(tmp_path / "batch", sql)
    assert one
    assert [r[:4] for r in one] == [r[:4] for r in other]
    for a, b in zip(one, other, strict=True):
        assert a[4:] == pytest.approx(b[4:], abs=1e-3)
    # Sessions differ, so do the ids of tracks; who was one person in one was one in the other.
    first = "min((frame_seq, face_index)) OVER (PARTITION BY track_id)"
    track = (
        "SELECT frame_seq, face_index, dense_rank() OVER (ORDER BY first) "
        f"FROM (SELECT *, {first} AS first FROM observations) ORDER BY 1, 2"
    )
    assert rows(tmp_path / "stream", track) == rows(tmp_path / "batch", track)


@pytest.fixture
def pipeline(tiny_model: Path) -> dict[str, Any]:
    """With a model that is loaded quickly, for tests that are not about its answers."""
    return {"threads": 1, "model": str(tiny_model)}


@pytest.mark.usefixtures("cluster")
class TestBatch:
    def test_stream_and_batch_agree_on_a_rendered_clip(self, clip: Path, tmp_path: Path) -> None:
        same(clip, {"detector": "mtcnn", "min_face_size": 30, "sampling_fps": 4}, tmp_path)

    def test_stream_and_batch_agree_on_real_video(self, shared: Path, tmp_path: Path) -> None:
        same(shared / "video" / "single_face.mp4", {"detector": "mtcnn", "min_face_size": 60}, tmp_path)

    def test_a_folder_of_files(self, clip: Path, tmp_path: Path, pipeline: dict[str, Any]) -> None:
        folder = tmp_path / "archive"
        folder.mkdir()
        for name in ("one.mp4", "two.mp4"):
            (folder / name).write_bytes(clip.read_bytes())
        (folder / "notes.txt").write_text("not a video")
        config = config_for([str(p) for p in find_files([folder])], str(tmp_path / "data"), FAST, pipeline)
        report = batch(config)
        assert (report.progress.done, report.progress.analysed) == (2, 80)
        assert rows(tmp_path / "data", "SELECT camera_id, sum(analysed) FROM frames GROUP BY 1 ORDER BY 1") == [
            ("one", 40),
            ("two", 40),
        ]

    def test_stopped_and_run_again_it_resumes(self, clip: Path, tmp_path: Path, pipeline: dict[str, Any]) -> None:
        config = config_for([str(clip)], str(tmp_path), FAST, pipeline)
        stop = threading.Event()

        def stop_at_once(progress: BatchProgress) -> None:
            stop.set()

        first = run_batch(config, units_of(config), preflight(config), stop=stop, on_progress=stop_at_once)
        assert first.stopped
        second = batch(config)
        assert (second.resumed, second.stopped, second.run_id) == (True, False, first.run_id)
        assert rows(tmp_path, "SELECT count(DISTINCT session_id), sum(analysed), max(last_seq) FROM frames") == [
            (1, 40, 39)
        ]
        once = "SELECT count(*) = count(DISTINCT (frame_seq, face_index)) FROM observations"
        assert rows(tmp_path, once) == [(True,)]

    def test_recordings_of_a_camera_carry_its_id_and_zones(
        self, clip: Path, tmp_path: Path, pipeline: dict[str, Any]
    ) -> None:
        later = tmp_path / "scene_20260314_101500.mp4"
        later.write_bytes(clip.read_bytes())
        zone = {"id": "all", "kind": "product", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
        config = config_for(["rtsp://u:p@192.0.2.1/"], str(tmp_path / "d"), FAST | {"zones": [zone]}, pipeline)
        (camera,) = (c.id for _, c in config.cameras())
        units = recordings_of(config, camera, [clip, later])
        run_batch(config, units, preflight(config, units), stop=threading.Event(), on_progress=lambda _: None)
        sql = (
            "SELECT camera_id, count(DISTINCT session_id), count(DISTINCT hour(captured_at)) "
            "FROM observations GROUP BY 1"
        )
        assert rows(tmp_path / "d", sql) == [(camera, 2, 2)]
        assert rows(tmp_path / "d", "SELECT DISTINCT zone_ids FROM observations") == [(["all"],)]

    def test_live_sources_are_refused(self, tmp_path: Path) -> None:
        config = config_for(["demo:front"], str(tmp_path), FAST, {})
        with pytest.raises(InputError, match="batch reads files"):
            batch(config)
