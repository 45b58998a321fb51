"""The analyzer's queue: order, epochs, staleness, and one camera's fault kept from the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch

from risa_ray.config import CameraConfig, PipelineConfig
from risa_ray.frames import Chunk, Frame
from risa_ray.inputs import config_for
from risa_ray.sources import create_source, read_frames
from risa_ray.streaming.analyzer import AnalyzerActor, StateLostError
from risa_ray.vision.analyze import CameraState, Work

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
    actor: AnalyzerActor,
    camera: CameraConfig,
    run: list[Frame],
    fresh: bool,
    max_age_s: float | None = None,
    sent_at: float = 0.0,
) -> asyncio.Task[Chunk]:
    return asyncio.create_task(actor.analyze("store", camera, "session", run, fresh, max_age_s, sent_at))


def of_other(camera: CameraConfig, frames: list[Frame]) -> tuple[CameraConfig, list[Frame]]:
    """A second camera with the same pictures."""
    return camera.model_copy(update={"id": "other"}), [replace(f, camera_id="other") for f in frames]


def short_of_memory(actor: AnalyzerActor, camera_id: str, times: float, error: Exception) -> None:
    """The next `times` analyses with frames of this camera raise `error`."""
    plenty, left = actor._analyzer.analyze_many, [times]

    def analyze_many(works: Sequence[Work]) -> list[tuple[Chunk, CameraState]]:
        wanted = any(isinstance(i, Frame) and i.camera_id == camera_id for run, _, _ in works for i in run)
        if wanted and left[0] > 0:
            left[0] -= 1
            raise error
        return plenty(works)

    actor._analyzer.analyze_many = analyze_many  # type: ignore[method-assign]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds for which the analyzer waited for memory; they pass at once."""
    naps: list[float] = []
    monkeypatch.setattr("risa_ray.streaming.analyzer.time", Mock(wraps=time, sleep=naps.append))
    return naps


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
    for now in (time.time(), time.time() - 3600, time.time() + 3600):  # whatever the clock of the reader's node says
        aged = [replace(f, arrived_at=now - (600 if i < 2 else 0)) for i, f in enumerate(frames[:4])]

        async def one(aged: list[Frame], now: float) -> Chunk:
            return await analyze(analyzer(), camera, aged, True, max_age_s=300.0, sent_at=now)

        assert [o.cause for o in run(one(aged, now)).outcomes] == ["stale", "stale", None, None]


def test_the_wait_in_the_queue_makes_frames_stale(
    camera: CameraConfig, frames: list[Frame], analyzer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risa_ray.streaming.analyzer._PREDECESSOR_S", 60.0)
    aged = [replace(f, arrived_at=0.0) for f in frames[:2]]

    async def both() -> tuple[Chunk, Chunk]:
        actor = analyzer()
        second = analyze(actor, camera, aged[1:], False, max_age_s=0.2)  # waits for its predecessor
        await asyncio.sleep(0.3)
        return await asyncio.gather(analyze(actor, camera, aged[:1], True, max_age_s=300.0), second)

    assert [chunk.outcomes[0].cause for chunk in run(both())] == [None, "stale"]


def test_a_frame_that_fails_is_poison_and_harms_no_other(
    camera: CameraConfig, frames: list[Frame], analyzer: Make
) -> None:
    other, bad = of_other(camera, frames[:3])
    bad[1] = replace(bad[1], image=np.zeros((9, 9), np.uint8))

    async def both() -> tuple[Chunk, Chunk]:
        actor = analyzer()
        return await asyncio.gather(analyze(actor, camera, frames[:2], True), analyze(actor, other, bad, True))

    innocent, guilty = run(both())
    assert [o.cause for o in innocent.outcomes] == [None, None]
    assert [o.cause for o in guilty.outcomes] == [None, "poison", None]
    assert bad[1].frame_seq not in {f.frame_seq for f in guilty.faces}


OUT_OF_MEMORY = [MemoryError("no room"), torch.cuda.OutOfMemoryError("no room"), OSError("too many open files")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_is_short_for_a_while_costs_no_frame(
    camera: CameraConfig, frames: list[Frame], analyzer: Make, slept: list[float], error: Exception
) -> None:
    async def both() -> tuple[Chunk, Chunk]:
        actor = analyzer()
        short_of_memory(actor, "other", 5, error)
        return await asyncio.gather(
            analyze(actor, camera, frames[:1], True), analyze(actor, *of_other(camera, frames[:1]), True)
        )

    assert [o.cause for chunk in run(both()) for o in chunk.outcomes] == [None, None]
    assert slept


def test_a_camera_that_never_fits_into_memory_holds_the_others_up_once(
    camera: CameraConfig, frames: list[Frame], analyzer: Make, slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    other, big = of_other(camera, frames)

    async def all_of_them() -> list[tuple[Chunk, Chunk]]:
        actor = analyzer()
        short_of_memory(actor, "other", float("inf"), MemoryError("no room"))
        return [
            await asyncio.gather(
                analyze(actor, camera, frames[i : i + 4], i == 0), analyze(actor, other, big[i : i + 4], i == 0)
            )
            for i in range(0, 16, 4)
        ]

    chunks = run(all_of_them())
    assert {o.cause for innocent, _ in chunks for o in innocent.outcomes} == {None}
    assert {o.cause for _, guilty in chunks for o in guilty.outcomes} == {"poison"}
    assert 0 < sum(slept) < PipelineConfig().analyzer_timeout_s / 2
    assert len(caplog.records) <= 4, "a fault that goes on is told once, not with every frame"


def test_a_fault_that_goes_on_is_counted(
    camera: CameraConfig,
    frames: list[Frame],
    analyzer: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = [replace(f, image=np.zeros((9, 9), np.uint8)) for f in frames[:6]]

    async def all_of_them() -> None:
        actor = analyzer()
        await analyze(actor, camera, bad[:5], True)
        monkeypatch.setattr("risa_ray.streaming.faults._COUNT_EVERY_S", 0.0)
        await analyze(actor, camera, bad[5:], False)

    run(all_of_them())
    told = [r.getMessage() for r in caplog.records if "is skipped as poison" in r.getMessage()]
    assert len(told) == 2
    assert f"frame {bad[0].frame_seq} " in told[0]
    assert "4 more" in told[1]


def test_a_queue_that_ended_is_served_again(
    camera: CameraConfig, frames: list[Frame], analyzer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_batch, faults = AnalyzerActor._next_batch, [RuntimeError("out of order")]

    def fails_once(actor: AnalyzerActor) -> Any:
        if faults:
            raise faults.pop()
        return next_batch(actor)

    monkeypatch.setattr(AnalyzerActor, "_next_batch", fails_once)

    async def both() -> tuple[Chunk, Chunk]:
        actor = analyzer()
        first = analyze(actor, camera, frames[:1], True)
        while faults:
            await asyncio.sleep(0)
        return await asyncio.gather(first, analyze(actor, *of_other(camera, frames[:1]), True))

    assert [o.cause for chunk in run(both()) for o in chunk.outcomes] == [None, None]
