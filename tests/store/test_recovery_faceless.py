"""A start accounts for frames without a face, too, of which a dead run left no row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dead_runs import NOW, A, B, Crash, at, begin, ends, moment

from risa_ray.store.recovery import recover
from risa_ray.store.runs import RunRecord
from risa_ray.store.writer import SessionInfo, Writer


class Faceless:
    """A live camera that nobody is in front of: a frame a second, each flushed."""

    def __init__(self, data: Path, run: RunRecord, tools: Any, seconds: float) -> None:
        self.now = NOW + seconds
        self.tools = tools
        self.writer = Writer(str(data), run.run_id, lambda: self.now)

    def connect(self, session_id: str) -> None:
        self.session_id, self.seen = session_id, -1
        self.start = moment(self.now - NOW)
        self.writer.open_session(SessionInfo("007", "cam1", session_id, True, self.start))

    def go(self, frames: int, flush: bool = True) -> None:
        for _ in range(frames):
            self.seen += 1
            names = {"session_id": self.session_id, "start": self.start, "fps": 1.0}
            self.writer.add(self.tools.chunk(self.seen, self.seen, faces=lambda _: 0, **names))
            if flush:
                self.writer.flush()
            self.now += 1


@pytest.mark.parametrize("frames", [1, 7, 36])
def test_frames_without_a_face_are_accounted(data: Path, tools: Any, frames: int) -> None:
    camera = Faceless(data, begin(data), tools, 2)
    camera.connect(A)
    camera.go(frames)
    recover(begin(data, seconds=600), at(600))
    assert ends(data, tools)[A]["read"] == frames
    starts = {r["window_start"] for r in tools.rows(data, "frames")}
    assert max(starts) <= moment(2 + frames), "when they were taken, not when they were found"


@pytest.mark.parametrize("restarted", [False, True])
def test_connections_one_after_the_other_without_a_face(data: Path, tools: Any, restarted: bool) -> None:
    """The first is not forgotten for the second as long as no row tells of it."""
    run = begin(data)
    camera = Faceless(data, run, tools, 2)
    camera.connect(A)
    camera.go(3)
    if restarted:
        camera.writer = Writer(str(data), run.run_id, lambda: camera.now)
        camera.writer.open_session(SessionInfo("007", "cam1", A, True, camera.start))
        camera.writer.add(tools.chunk(0, 2, session_id=A, start=camera.start, fps=1.0, faces=lambda _: 0))
    camera.writer.close_session(A, "broken")
    camera.connect(B)
    camera.go(2, flush=False)

    def dies(*_: Any) -> None:
        raise Crash

    camera.writer._frames.commit = dies  # type: ignore[method-assign]
    with pytest.raises(Crash):
        camera.writer.flush()
    recover(begin(data, seconds=600), at(600))
    assert {s: e["read"] for s, e in ends(data, tools).items()} == {A: 3}, "of the second nothing was stored"


def test_marks_of_faceless_frames_are_few(data: Path, tools: Any) -> None:
    camera = Faceless(data, begin(data), tools, 0)
    camera.connect(A)
    versions = [camera.writer._observations.delta.version()]
    for _ in range(10):
        camera.go(1)
        camera.now -= 0.8
        versions.append(camera.writer._observations.delta.version())
    assert versions[-1] - versions[0] <= 3, "one in a second, however often it is flushed"
