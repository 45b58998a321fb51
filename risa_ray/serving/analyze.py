"""`POST /v1/analyze` on Ray Serve: replicas that hold detector and classifier and share their batches among uploads.

An upload crosses a process once, as it came, and is decoded beside the models (`sandbox`). A clip goes through the
models a few pictures at a time, so that no picture waits for the whole of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from risa_ray.config_analyze import AnalyzeConfig, UploadLimits
from risa_ray.frames import Chunk, FaceRow, Frame, Outcome
from risa_ray.serving.models_analyze import Analysis, FaceSeen, FrameSeen
from risa_ray.serving.sandbox import Decoders
from risa_ray.serving.uploads import RefusedError
from risa_ray.sources.base import Missed, Picture
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.model_file import model_path, read_settings

if TYPE_CHECKING:  # torch comes with it, which only the replicas need
    from risa_ray.vision.analyze import CameraState, Work

log = logging.getLogger("risa.serve")

_RUN_FRAMES = 4
_UPLOAD = "upload"
_NO_TIME = datetime.fromtimestamp(0, UTC)
_SHARE_OF_A_GPU = 0.25
_RETRY_S = 2

Result = tuple[Chunk, "CameraState"]
Answer = Analysis | tuple[int, str]
"""What a replica says: an analysis, or the status and detail of a refusal. (Exceptions cross processes poorly.)"""


@serve.deployment(name="analyze", max_constructor_retry_count=3, health_check_period_s=2, graceful_shutdown_timeout_s=5)
class Models:
    """The models of `POST /v1/analyze`: an upload in, its analysis out."""

    def __init__(self, config: AnalyzeConfig) -> None:
        import cv2
        import torch

        from risa_ray.streaming.process import keep_memory_flat
        from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
        from risa_ray.vision.detectors import resolve_device
        from risa_ray.vision.tracker import TrackerConfig
        from risa_ray.vision.zones import Zones

        keep_memory_flat()
        threads = config.threads or len(os.sched_getaffinity(0))  # Ray would set one
        torch.set_num_threads(threads)
        cv2.setNumThreads(1)
        self._device = resolve_device("auto" if config.gpus else "cpu")
        self._analyzer = Analyzer.load(config.model, device=self._device, threads=threads)
        tracker = TrackerConfig.for_fps(config.uploads.clip_fps)
        self._setup = CameraSetup(_UPLOAD, _UPLOAD, config.detector, config.min_face_size, Zones(()), tracker)
        self._analyzer.prepare([self._setup])
        self._fresh_state = CameraState.start
        self._decoders = Decoders(config.uploads, longest_s=config.answer_s)
        self._failure: Exception | None = None
        batches: Any = self._together
        batches.set_max_batch_size(config.max_batch)
        batches.set_batch_wait_timeout_s(config.batch_wait_ms / 1000)

    async def __call__(self, body: bytes) -> Answer:
        """The analysis of an upload."""
        chunks, sizes = [], []
        state = self._fresh_state(_UPLOAD, 0)
        try:
            async with aclosing(self._decoders.decode(body)) as items:
                async for run in _runs(items):
                    result = await self._together((run, self._setup, state))
                    if isinstance(result, Exception):
                        return 500, f"analyze: the upload cannot be analysed ({type(result).__name__}); try another"
                    chunk, state = result
                    chunks.append(chunk)
                    sizes += [_size(item) for item in run]
        except RefusedError as refused:
            return refused.status, refused.detail
        return _analysis(chunks, sizes)

    def check_health(self) -> None:
        """Serve starts a replica anew that raises here."""
        if self._failure is not None:
            raise RuntimeError("the GPU has failed") from self._failure

    @serve.batch
    async def _together(self, works: list[Work]) -> list[Result | Exception]:
        return await asyncio.to_thread(self._analyze, works)

    def _analyze(self, works: list[Work]) -> list[Result | Exception]:
        from risa_ray.streaming.analyzer import torch_accelerator_error

        try:
            return list(self._analyzer.analyze_many(works))
        except Exception as error:
            if len(works) > 1:  # one upload must not fail the others
                return [result for work in works for result in self._analyze([work])]
            log.warning("an upload cannot be analysed (%s)", type(error).__name__)
            if self._device != "cpu" and isinstance(error, torch_accelerator_error()):
                self._failure = error
            return [error]


class Service:
    """What the route calls, in the process of the API.

    Args:
        handle: of the models, as `application` binds them.
        config: the same as theirs.
    """

    def __init__(self, handle: Any, config: AnalyzeConfig) -> None:
        self._handle = handle
        self._config = config
        self._uploads = 0

    @property
    def limits(self) -> UploadLimits:
        return self._config.uploads

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the uploads that are taken in, which hold memory from their first byte on.

        Raises:
            BusyError: all are taken.
        """
        if self._uploads >= self._config.waiting:
            raise BusyError(f"analyze: {self._uploads} uploads are under way, which is the most; send it again later")
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def __call__(self, body: bytes) -> Analysis:
        """The analysis of an upload.

        Raises:
            RefusedError: it is not analysed; 504 too where that takes too long.
            BusyError: the models are busy, starting or gone.
        """
        response = self._handle.remote(body)
        try:
            answer: Answer = await asyncio.wait_for(response, self._config.answer_s)
        except TimeoutError:
            response.cancel()
            took = f"analyze: it takes longer than {self._config.answer_s:g} s"
            raise RefusedError(504, f"{took}; send a smaller picture or a shorter clip") from None
        except (RayServeException, RayError) as error:
            log.warning("uploads are not analysed now: %s", type(error).__name__)
            raise BusyError("analyze: the models are busy or just starting; send it again later") from None
        if isinstance(answer, Analysis):
            return answer
        raise RefusedError(*answer)


class BusyError(RefusedError):
    """There is no room for an upload now. `retry_s`: seconds after which there may be."""

    retry_s = _RETRY_S

    def __init__(self, detail: str) -> None:
        super().__init__(503, detail)


def application(config: AnalyzeConfig) -> Any:
    """The models as Serve deploys them: bind it to a deployment, which gets their handle. Ray must be connected.

    Raises:
        InputError: there is no such model.
    """
    read_settings(model_path(config.model))
    models: Any = Models
    gpus = _gpus(config)
    return models.options(
        num_replicas=config.replicas,
        # While a batch is at work, the uploads of the next are decoded.
        max_ongoing_requests=2 * config.max_batch,
        max_queued_requests=config.waiting,
        # No CPU is claimed: a job that has claimed them all must not keep uploads out for good.
        ray_actor_options={"num_cpus": 0, "num_gpus": gpus},
    ).bind(config.model_copy(update={"gpus": gpus}))


def _gpus(config: AnalyzeConfig) -> float:
    import ray

    if config.gpus is not None:
        return config.gpus
    free: float = ray.available_resources().get("GPU", 0)
    return _SHARE_OF_A_GPU if free >= _SHARE_OF_A_GPU * config.replicas else 0


async def _runs(items: AsyncIterator[Picture | Missed]) -> AsyncIterator[list[Frame | Outcome]]:
    """A few pictures at a time, as frames of one session."""
    run: list[Frame | Outcome] = []
    seq = 0
    async for item in items:
        run.append(_numbered(item, seq))
        seq += 1
        if len(run) == _RUN_FRAMES:
            yield run
            run = []
    if run:
        yield run


def _numbered(item: Picture | Missed, seq: int) -> Frame | Outcome:
    if isinstance(item, Missed):
        return Outcome(seq, item.pts, _NO_TIME, item.arrived_at, item.cause)
    return Frame(_UPLOAD, _UPLOAD, seq, item.pts, _NO_TIME, item.arrived_at, item.image, item.scale)


def _size(item: Frame | Outcome) -> tuple[int, int] | None:
    """Width and height of what was sent, before it was reduced."""
    if isinstance(item, Outcome):
        return None
    height, width = item.image.shape[:2]
    return round(width * item.scale), round(height * item.scale)


def _analysis(chunks: list[Chunk], sizes: list[tuple[int, int] | None]) -> Analysis:
    people: dict[str, int] = {}
    faces: dict[int, list[FaceSeen]] = {}
    for row in (row for chunk in chunks for row in chunk.faces):
        person = people.setdefault(row.track_id, len(people) + 1)
        faces.setdefault(row.frame_seq, []).append(_face(row, person))
    outcomes = [outcome for chunk in chunks for outcome in chunk.outcomes]
    return Analysis(
        frames=[
            FrameSeen(pts=outcome.pts, width=size[0], height=size[1], faces=faces.get(outcome.frame_seq, []))
            for outcome, size in zip(outcomes, sizes, strict=True)
            if size is not None
        ],
        undecoded=sum(size is None for size in sizes),
        model_id=chunks[0].model_id,
        detector=chunks[0].detector,
    )


def _face(row: FaceRow, person: int) -> FaceSeen:
    return FaceSeen(
        person=person,
        box=(row.x1, row.y1, row.x2, row.y2),
        score=row.detector_score,
        yaw_deg=row.yaw_deg,
        expression=row.expression,
        abstain_reason=row.abstain_reason,
        confidence=row.confidence,
        valence=row.valence,
        probabilities=dict(zip(EXPRESSIONS, row.probabilities, strict=True)),
    )
