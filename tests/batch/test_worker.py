"""One file through a batch worker: what is unreadable is named, and what cannot be analysed stops nothing else."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from risa_ray.batch.worker import FileEnd, FileTask, analyze_file
from risa_ray.config import CameraConfig
from risa_ray.frames import Chunk, Frame, Outcome, Run
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState

START = datetime(2026, 3, 14, 8, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer.load("default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures; the third and the last cannot be read."""
    for index in range(12):
        Image.new("RGB", (96, 64), (20 * index, 90, 90)).save(tmp_path / f"{index:02}.png")
    (tmp_path / "02.png").write_bytes(b"broken")
    (tmp_path / "11.png").write_bytes(b"broken")
    return tmp_path


class Moody:
    """The real analyzer, failing on given frames as a model that trips over them would.

    Args:
        times: how often it fails on each; None for always.
    """

    def __init__(self, analyzer: Analyzer, trips_on: set[int], times: int | None = None) -> None:
        self._analyzer = analyzer
        self._left = dict.fromkeys(trips_on, float("inf") if times is None else times)

    def analyze(self, run: Run, setup: CameraSetup, state: CameraState) -> tuple[Chunk, CameraState]:
        for item in run:
            if isinstance(item, Frame) and self._left.get(item.frame_seq, 0) > 0:
                self._left[item.frame_seq] -= 1
                raise RuntimeError("a tensor\nof no shape")
        return self._analyzer.analyze(run, setup, state)


def work(source: Path, analyzer: Any, after_seq: int = -1, **settings: Any) -> tuple[list[Outcome], FileEnd]:
    camera = CameraConfig(id="cam", source=str(source), detector="haar", **settings)
    *chunks, end = analyze_file(FileTask("s", "UTC", camera, "session", START, after_seq), analyzer)
    assert isinstance(end, FileEnd)
    assert "\n" not in end.note
    outcomes = [o for c in chunks if isinstance(c, Chunk) for o in c.outcomes]
    assert [o.frame_seq for o in outcomes] == list(range(after_seq + 1, after_seq + 1 + len(outcomes)))
    assert end.last_seq == after_seq + len(outcomes)
    return outcomes, end


def causes(outcomes: list[Outcome]) -> dict[int, str]:
    return {o.frame_seq: o.cause for o in outcomes if o.cause is not None}


def test_unreadable_pictures_are_dropped_with_their_cause_and_named(folder: Path, analyzer: Analyzer) -> None:
    outcomes, end = work(folder, analyzer)
    assert len(outcomes) == 12
    assert causes(outcomes) == {2: "decode_error", 11: "decode_error"}
    assert (end.state, end.note) == ("complete", "2 pictures could not be read: 02.png, 11.png")


@pytest.mark.parametrize("after", [0, 2, 7, 10])
def test_a_resumed_file_goes_on_under_the_same_numbers(after: int, folder: Path, analyzer: Analyzer) -> None:
    whole, _ = work(folder, analyzer)
    rest, end = work(folder, analyzer, after)
    assert [(o.frame_seq, o.pts, o.cause) for o in rest] == [(o.frame_seq, o.pts, o.cause) for o in whole[after + 1 :]]
    assert end.note == "2 pictures could not be read: 02.png, 11.png"


def test_many_unreadable_pictures_are_named_in_part(tmp_path: Path, analyzer: Analyzer) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "a.png")
    for index in range(13):
        (tmp_path / f"b{index:02}.png").write_bytes(b"broken")
    (tmp_path / "c\nd.png").write_bytes(b"broken")
    outcomes, end = work(tmp_path, analyzer)
    assert len(causes(outcomes)) == 14
    assert end.note.startswith("14 pictures could not be read: b00.png, ")
    assert end.note.endswith("b09.png and 4 more")


def test_a_file_that_is_gone_is_broken_and_named(tmp_path: Path, analyzer: Analyzer) -> None:
    outcomes, end = work(tmp_path / "gone.mp4", analyzer)
    assert outcomes == []
    assert (end.state, end.last_seq) == ("broken", -1)
    assert "gone.mp4" in end.note


def test_a_cut_off_file_keeps_what_came_before(clip: Path, tmp_path: Path, analyzer: Analyzer) -> None:
    path = tmp_path / "cut.mp4"
    with_index_in_front(clip, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outcomes, end = work(path, analyzer, max_width=160)
    assert 5 <= len(outcomes) < 40
    assert end.state == "broken"
    assert "cut.mp4: breaks off" in end.note


def test_an_error_that_nobody_foresaw_breaks_this_file_only(folder: Path, analyzer: Analyzer) -> None:
    """A start so late that the time of the second picture is past what a calendar holds."""
    camera = CameraConfig(id="cam", source=str(folder), detector="haar")
    late = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    *chunks, end = analyze_file(FileTask("s", "UTC", camera, "session", late, -1), analyzer)
    assert isinstance(end, FileEnd)
    assert (len(chunks), end.state, end.last_seq) == (1, "broken", 0)
    assert str(folder) in end.note
    assert "OverflowError" in end.note


def test_a_frame_that_always_fails_is_poison_and_the_others_go_on(
    folder: Path, analyzer: Analyzer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "risa.batch"):
        outcomes, end = work(folder, Moody(analyzer, {4, 9}))
    assert causes(outcomes) == {2: "decode_error", 4: "poison", 9: "poison", 11: "decode_error"}
    assert len(outcomes) == 12
    assert end.state == "complete"
    assert "frame 4 is skipped as poison" in caplog.text


def test_a_frame_that_fails_once_alone_is_analysed(folder: Path, analyzer: Analyzer) -> None:
    outcomes, _ = work(folder, Moody(analyzer, {4}, times=2))  # once with its run, once alone
    assert causes(outcomes) == {2: "decode_error", 11: "decode_error"}


def with_index_in_front(source: Path, target: Path) -> None:
    """Copy a clip so that it opens even when its end is missing."""
    import av

    with av.open(str(source)) as reader, av.open(str(target), "w", options={"movflags": "faststart"}) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
