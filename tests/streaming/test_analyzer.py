"""The analyzer's queue: order, epochs, staleness, and one camera's fault kept from the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from risa_ray.config import CameraConfig
from risa_ray.frames import Chunk, Frame
from risa_ray.inputs import config_for
from risa_ray.sources import create_source, read_frames
from risa_ray.streaming.analyzer import AnalyzerActor, StateLostError

T = TypeVar("T")
Make = Callable[[], AnalyzerActor]


@pytest.fixture(scope="module")
def camera(clip: Path) -> CameraConfig:
    _, camera = next(config_for([str(clip)], "data", {"detector": "haar", "min_face_size": 30}, {}).cameras())
    return camera


@pytest.fixture(scope="module")
def frames(camera: CameraConfig) -> list[Frame]:
    source = create_source(camera, ZoneInfo("UTC"))
    items = read_frames(source, camera, "session", source.started_at())
    return [item for item in items if isinstance(item, Frame)][8:24]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def analyzer(tiny_model: Path) -> Make:
    """Makes one that has seen nothing yet."""
    return partial(AnalyzerActor, str(tiny_model), "cpu", 1, 1, 16, 0.0)


def analyze(
    actor: AnalyzerActor, camera: CameraConfig, run: list[Frame], fresh: bool, max_age_s: float | None = None
) -> asyncio.Task[Chunk]:
    return asyncio.create_task(actor.analyze("store", camera, "session", run, fresh, max_age_s))


def test_runs_that_arrive_in_the_wrong_order_are_one_epoch(
    camera: CameraConfig, frames: list[Frame], analyzer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risa_ray.streaming.analyzer._PREDECESSOR_S", 60.0)  # however busy the machine is

    async def both(reverse: bool) -> list[tuple[str, ...]]:
        actor, pieces = analyzer(), [(frames[:4], True), (frames[4:8], False), (frames[8:], False)]
        order = [2, 1, 0] if reverse else [0, 1, 2]
        tasks = {i: analyze(actor, camera, *pieces[i]) for i in order}
        chunks = [await tasks[i] for i in range(3)]
        return [tuple(f.track_id for f in chunk.faces) for chunk in chunks]

    in_order = run(both(reverse=False))
    assert any(in_order[2])
    assert run(both(reverse=True)) == in_order


def test_a_run_that_continues_nothing_is_refused(
    camera: CameraConfig, frames: list[Frame], analyzer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risa_ray.streaming.analyzer._PREDECESSOR_S", 0.2)

    async def alone() -> None:
        await analyze(analyzer(), camera, frames[4:8], False)

    with pytest.raises(StateLostError):
        run(alone())


def test_frames_that_waited_too_long_are_dropped_as_stale(
    camera: CameraConfig, frames: list[Frame], analyzer: Make
) -> None:
    now = time.time()
    aged = [replace(f, arrived_at=now - (60 if i < 2 else 0)) for i, f in enumerate(frames[:4])]

    async def one() -> Chunk:
        return await analyze(analyzer(), camera, aged, True, max_age_s=30.0)

    assert [o.cause for o in run(one()).outcomes] == ["stale", "stale", None, None]


def test_a_frame_that_fails_is_poison_and_harms_no_other(
    camera: CameraConfig, frames: list[Frame], analyzer: Make
) -> None:
    other = camera.model_copy(update={"id": "other"})
    bad = [replace(f, camera_id="other") for f in frames[:3]]
    bad[1] = replace(bad[1], image=np.zeros((9, 9), np.uint8))

    async def both() -> tuple[Chunk, Chunk]:
        actor = analyzer()
        return await asyncio.gather(analyze(actor, camera, frames[:2], True), analyze(actor, other, bad, True))

    innocent, guilty = run(both())
    assert [o.cause for o in innocent.outcomes] == [None, None]
    assert [o.cause for o in guilty.outcomes] == [None, "poison", None]
    assert bad[1].frame_seq not in {f.frame_seq for f in guilty.faces}
