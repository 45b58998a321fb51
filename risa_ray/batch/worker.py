"""The unit of batch work: one file, read in order by one worker through the same analysis as the stream."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from risa_ray.config import CameraConfig, PipelineConfig
from risa_ray.errors import BrokenSourceError
from risa_ray.frames import Chunk

_RUN_FRAMES = 8


@dataclass(frozen=True)
class FileTask:
    """One file to analyse, after the mark that an earlier try of the same run has reached."""

    store_id: str
    timezone: str
    camera: CameraConfig
    session_id: str
    started_at: datetime
    after_seq: int


@dataclass(frozen=True)
class FileEnd:
    """How a file ended: `complete`, or `broken` with the reason."""

    camera_id: str
    session_id: str
    last_seq: int
    state: str
    note: str


def analyze_file(task: FileTask, analyzer: Any) -> Iterator[Chunk | FileEnd]:
    """The chunks of a file in order, and at last how it ended. What came before a break is kept."""
    from risa_ray.sources import create_source, read_frames
    from risa_ray.vision.analyze import CameraSetup, CameraState

    setup = CameraSetup.of(task.store_id, task.camera)
    source = create_source(task.camera, ZoneInfo(task.timezone))
    frames = read_frames(source, task.camera, task.session_id, task.started_at, task.after_seq)
    state, last_seq = CameraState.start(task.session_id, task.after_seq + 1), task.after_seq
    ended, note = "complete", ""
    while ended == "complete":
        run = []
        try:
            for frame in islice(frames, _RUN_FRAMES):
                run.append(frame)  # one by one: what came before an error must be kept
        except BrokenSourceError as error:
            ended, note = "broken", str(error)
        if not run:
            break
        chunk, state = analyzer.analyze(run, setup, state)
        last_seq = chunk.last_seq
        yield chunk
    yield FileEnd(task.camera.id, task.session_id, last_seq, ended, note)


class FileWorker:
    """What Ray Data hosts: models loaded once, file tasks in, pickled chunks out. Frames never leave the process."""

    def __init__(self, pipeline: PipelineConfig, threads: int) -> None:
        import cv2
        import torch

        from risa_ray.vision.analyze import Analyzer
        from risa_ray.vision.detectors import resolve_device

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        self._analyzer = Analyzer.load(
            pipeline.model, device=resolve_device(pipeline.device), max_batch=pipeline.max_batch
        )

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for task in batch["task"]:
            for result in analyze_file(pickle.loads(task), self._analyzer):  # noqa: S301 (our own driver made it)
                yield {"result": np.asarray([pickle.dumps(result)], dtype=object)}
