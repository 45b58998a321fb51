"""The streaming pipeline on real Ray and real video files."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import pytest
from support import assert_every_frame_once, config_of, rows, run

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.streaming.cluster import check_resources
from risa_ray.streaming.driver import Snapshot, StreamReport

FRAMES = 40
Chain = Callable[..., ChainConfig]


@pytest.fixture(scope="module")
def chain(tiny_model: Path) -> Chain:
    """Makes a config with a model that is loaded quickly: these tests are about delivery, not about answers."""
    return partial(config_of, model=str(tiny_model))


@pytest.fixture(scope="module")
def streamed(
    cluster: Any, clip: Path, chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StreamReport]:
    """The dataset of one whole run of the clip, and its report."""
    data = tmp_path_factory.mktemp("streamed") / "data"
    return data, run(chain([clip], data))


@pytest.mark.usefixtures("cluster")
class TestStream:
    def test_a_file_is_stored_whole_and_explains_itself(self, clip: Path, streamed: tuple[Path, StreamReport]) -> None:
        data, report = streamed
        camera = clip.stem
        assert report.committer.analysed == {camera: FRAMES}
        assert report.readers[camera].state == "complete"
        assert not report.broken
        assert_every_frame_once(data, camera, FRAMES)
        assert rows(data, "SELECT count(*) > 40, count(DISTINCT track_id) BETWEEN 2 AND 12 FROM observations") == [
            (True, True)
        ]
        # The recorder's time pattern in the file's name says when it was captured.
        started = rows(data, "SELECT date_trunc('minute', min(captured_at))::VARCHAR FROM observations")
        assert started[0][0].startswith("2026-03-14 09:15:00")
        assert rows(data, "SELECT camera_id, detector FROM cameras") == [(camera, "haar")]
        assert rows(
            data, "SELECT state FROM frames WHERE session_id IS NOT NULL ORDER BY window_start DESC LIMIT 1"
        ) == [("complete",)]

    def test_run_again_after_completion_is_a_new_session(
        self, clip: Path, tmp_path: Path, chain: Chain, streamed: tuple[Path, StreamReport]
    ) -> None:
        data = shutil.copytree(streamed[0], tmp_path / "data")
        first, second = streamed[1], run(chain([clip], data))
        assert (first.resumed, second.resumed) == (False, False)
        assert rows(data, "SELECT count(DISTINCT session_id) FROM observations") == [(2,)]
        assert_every_frame_once(data, clip.stem, FRAMES)

    def test_a_broken_file_keeps_what_came_before_and_stops_no_other(
        self, clip: Path, tmp_path: Path, chain: Chain
    ) -> None:
        broken = tmp_path / "broken.mp4"
        _write_first_half(clip, broken)
        report = run(chain([broken, clip], tmp_path / "data"))
        assert list(report.broken) == ["broken"]
        assert "broken.mp4" in report.broken["broken"]
        assert 0 < report.committer.analysed["broken"] < FRAMES
        assert_every_frame_once(tmp_path / "data", clip.stem, FRAMES)
        assert rows(tmp_path / "data", "SELECT state FROM frames WHERE camera_id = 'broken' AND note <> ''") == [
            ("broken",)
        ]

    @pytest.mark.parametrize("victim", ["reader", "analyzer", "committer"])
    def test_a_killed_actor_costs_no_frame_and_doubles_none(
        self, victim: str, clip: Path, tmp_path: Path, chain: Chain
    ) -> None:
        killed: list[int] = []

        def kill_once(snapshot: Snapshot) -> None:
            if killed or sum(snapshot.committer.analysed.values()) < 4:
                return
            pid = {
                "reader": lambda: snapshot.readers[clip.stem].process.pid,
                "analyzer": lambda: snapshot.analyzers[0].process.pid,
                "committer": lambda: snapshot.committer.process.pid,
            }[victim]()
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

        config = chain([clip], tmp_path)
        slow = config.stores[0].cameras[0].model_copy(update={"detector": "mtcnn"})
        config = config.model_copy(update={"stores": (config.stores[0].model_copy(update={"cameras": (slow,)}),)})
        report = run(config, kill_once)
        assert killed
        assert report.readers[clip.stem].state == "complete"
        assert_every_frame_once(tmp_path, clip.stem, FRAMES)

    def test_a_store_that_hangs_is_told(
        self, clip: Path, tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("risa_ray.streaming.crew._SILENT_S", 1.0)
        monkeypatch.setattr("risa_ray.streaming.crew._START_S", 60.0)
        paused: list[int] = []
        troubles: list[str] = []

        def pause_until_told(snapshot: Snapshot) -> None:
            if not paused and snapshot.committer.analysed:
                paused.append(snapshot.committer.process.pid)
                os.kill(paused[0], signal.SIGSTOP)
            elif paused and not troubles and snapshot.committer.trouble:
                troubles.append(snapshot.committer.trouble)
                os.kill(paused[0], signal.SIGCONT)

        report = run(chain([clip], tmp_path), pause_until_told)
        assert "the store has not answered for" in troubles[0]
        assert not report.committer.trouble
        assert_every_frame_once(tmp_path, clip.stem, FRAMES)

    def test_a_live_source_accounts_for_every_frame(self, tmp_path: Path, chain: Chain) -> None:
        report = run(chain(["demo:front?seconds=2&fps=30"], tmp_path))
        (camera,) = report.readers
        read, analysed, dropped, first, last = rows(
            tmp_path,
            "SELECT sum(read), sum(analysed), sum(dropped_overrun + dropped_stale), min(first_seq), max(last_seq) "
            "FROM frames WHERE session_id IS NOT NULL",
        )[0]
        assert report.readers[camera].state == "complete"
        assert (first, last) == (0, read - 1)
        assert read == analysed + dropped
        assert analysed > 0

    def test_analyzers_are_pinned_to_the_gpus_asked_for(self, clip: Path, tmp_path: Path, chain: Chain) -> None:
        copy = tmp_path / "copy.mp4"
        copy.write_bytes(clip.read_bytes())
        report = run(chain([clip, copy], tmp_path / "data", analyzers=2, gpus_per_analyzer=1, device="cpu"))
        assert sorted(a.gpu_ids for a in report.analyzers) == [("0",), ("1",)]
        assert all(a.frames == FRAMES for a in report.analyzers)

    def test_a_pipeline_larger_than_the_cluster_is_refused(self, clip: Path, tmp_path: Path, chain: Chain) -> None:
        config = chain([clip], tmp_path, analyzers=3, gpus_per_analyzer=1)
        with pytest.raises(InputError, match=r"3 analyzers.*need 3 GPUs, the cluster has 2"):
            check_resources(config)

    def test_an_unknown_node_is_refused(self, clip: Path, tmp_path: Path, chain: Chain) -> None:
        config = chain([clip], tmp_path)
        pinned = config.stores[0].cameras[0].model_copy(update={"node": "10.9.9.9"})
        config = config.model_copy(update={"stores": (config.stores[0].model_copy(update={"cameras": (pinned,)}),)})
        with pytest.raises(InputError, match=r"no node '10.9.9.9'"):
            run(config)


def _write_first_half(clip: Path, path: Path) -> None:
    """The clip with its index in front, cut off in the middle, as a copy that was interrupted."""
    with av.open(str(clip)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
