"""The unit of batch work: one file, read in order by one worker through the same analysis as the stream."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from risa_ray.config import CameraConfig, PipelineConfig, redact
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.frames import Chunk, Frame, Outcome, Run, dropped

if TYPE_CHECKING:
    from risa_ray.vision.analyze import CameraSetup, CameraState

log = logging.getLogger("risa.batch")

_RUN_FRAMES = 8
_ATTEMPTS = 2
"""How often a frame may fail alone before it counts as poison."""


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
    """How a file ended: `complete`, or `broken` with the reason; `note` is one line, and names what was unreadable."""

    camera_id: str
    session_id: str
    last_seq: int
    state: str
    note: str


def analyze_file(task: FileTask, analyzer: Any) -> Iterator[Chunk | FileEnd]:
    """The chunks of a file in order, and at last how it ended.

    What came before a break is kept. A frame that cannot be analysed is dropped as poison; the others go on.
    """
    from risa_ray.vision.analyze import CameraSetup, CameraState

    setup = CameraSetup.of(task.store_id, task.camera)
    state, last_seq = CameraState.start(task.session_id, task.after_seq + 1), task.after_seq
    reading = _Reading(task)
    for run in reading.runs():
        chunks, state = _analyze(analyzer, run, setup, state)
        last_seq = chunks[-1].last_seq
        yield from chunks
    yield FileEnd(task.camera.id, task.session_id, last_seq, reading.state, reading.note)


class _Reading:
    """Reads a file in runs; when the runs end, `state` and `note` tell how."""

    def __init__(self, task: FileTask) -> None:
        self.state = "complete"
        self.note = ""
        self._task = task

    def runs(self) -> Iterator[list[Frame | Outcome]]:
        from risa_ray.sources import create_source, read_frames
        from risa_ray.sources.reading import undecoded

        task, source, why = self._task, None, ""
        run: list[Frame | Outcome] = []
        try:
            source = create_source(task.camera, ZoneInfo(task.timezone))
            for item in read_frames(source, task.camera, task.session_id, task.started_at, task.after_seq):
                run.append(item)
                if len(run) == _RUN_FRAMES:
                    yield run
                    run = []
        except (BrokenSourceError, SourceError) as error:
            self.state, why = "broken", str(error)
        except Exception as error:
            # whatever a decoder throws must end this file, named, and no other
            self.state = "broken"
            why = f"{redact(task.camera.source)}: {type(error).__name__}: {error}; what came before is kept"
            log.exception("camera %s: reading failed", task.camera.id)
        if run:
            yield run
        self.note = "; ".join(_one_line(part) for part in (why, undecoded(source)) if part)


def _one_line(text: str) -> str:
    """Names of files may hold line breaks, and bytes that are no text; the store takes neither."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _analyze(analyzer: Any, run: Run, setup: CameraSetup, state: CameraState) -> tuple[list[Chunk], CameraState]:
    """A run's chunk; after a failure each frame goes alone, so that the guilty one shows itself.

    The state is that before the failure: it is immutable, so the failed call has left no trace in it.
    """
    try:
        chunk, state = analyzer.analyze(run, setup, state)
    except Exception as error:
        log.warning(
            "camera %s: analysis failed (%s: %s); trying frame by frame",
            setup.camera_id, type(error).__name__, _one_line(str(error)),
        )  # fmt: skip
    else:
        return [chunk], state
    chunks = []
    for item in run:
        chunk, state = _analyze_alone(analyzer, item, setup, state)
        chunks.append(chunk)
    return chunks, state


def _analyze_alone(
    analyzer: Any, item: Frame | Outcome, setup: CameraSetup, state: CameraState
) -> tuple[Chunk, CameraState]:
    failure: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            chunk, after = analyzer.analyze([item], setup, state)
        except Exception as error:
            failure = error
        else:
            return chunk, after
    log.error("camera %s: frame %d is skipped as poison", setup.camera_id, item.frame_seq, exc_info=failure)
    poison = dropped(item, "poison") if isinstance(item, Frame) else item
    result: tuple[Chunk, CameraState] = analyzer.analyze([poison], setup, state)
    return result


class FileWorker:
    """What Ray Data hosts: models loaded once, file tasks in, pickled chunks out. Frames never leave the process.

    Args:
        pipeline: of the config.
        per_node: workers on a node, which share its cores.
    """

    def __init__(self, pipeline: PipelineConfig, per_node: int) -> None:
        import cv2
        import torch

        from risa_ray.vision.analyze import Analyzer
        from risa_ray.vision.detectors import resolve_device

        threads = pipeline.threads or max(1, len(os.sched_getaffinity(0)) // per_node)
        torch.set_num_threads(threads)
        cv2.setNumThreads(1)
        device = resolve_device(pipeline.device)
        self._analyzer = Analyzer.load(pipeline.model, device=device, max_batch=pipeline.max_batch, threads=threads)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for task in batch["task"]:
            for result in analyze_file(pickle.loads(task), self._analyzer):  # noqa: S301 (our own driver made it)
                yield {"result": np.asarray([pickle.dumps(result)], dtype=object)}
