"""The Ray actor that holds the models and analyses frames of many cameras in shared batches."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from risa_ray.config import CameraConfig
from risa_ray.frames import Chunk, Frame, Outcome, Run, dropped
from risa_ray.streaming.faults import Faults
from risa_ray.streaming.journal import Journal, Key
from risa_ray.streaming.pictures import Picture, Pictures
from risa_ray.streaming.process import ProcessUse, process_use

if TYPE_CHECKING:  # torch comes with it, and the driver imports this module without needing torch
    from risa_ray.vision.analyze import CameraSetup, CameraState, Work

log = logging.getLogger("risa.analyzer")

_PREDECESSOR_S = 2.0
"""How long a run waits for the one before it, which was sent first."""
_SHORT_S = 20
"""How long memory may be short before the frame at work counts as poison."""
_HASTE_S = 60.0
"""How long memory must suffice, after a wait in vain, before it is waited for again."""
_LOAD_S = 120.0
"""How long models may load before that counts as time of the batch that needs them."""
_ATTEMPTS = 2
"""How often a frame may fail alone before it counts as poison."""


class StateLostError(Exception):
    """The analyzer has no state that the run continues (it was restarted); send the run again as a new epoch."""


@dataclass(frozen=True)
class AnalyzerStatus:
    """`times`: seconds per stage (detect, track, classify); `busy_s`: of the batch at work, 0 without one."""

    device: str
    threads: int
    model_id: str
    frames: int
    times: dict[str, float]
    busy_s: float
    gpu_ids: tuple[str, ...]
    node_id: str
    process: ProcessUse


@dataclass(frozen=True)
class _Request:
    store_id: str
    camera: CameraConfig
    session_id: str
    run: Run
    fresh: bool
    max_age_s: float | None
    sent_at: float
    answer: asyncio.Future[Chunk]
    received: float = field(default_factory=time.monotonic)

    def keys(self, run: Run) -> list[Key]:
        """What the journal calls the frames of `run`."""
        return [(self.session_id, item.frame_seq) for item in run if isinstance(item, Frame)]


class AnalyzerActor:
    """Analyses runs as they come: whatever waits when the models are free forms the next batch, one run a camera.

    Args:
        model: name or path of the expression model.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads of this process (Ray would set one); None: the node's cores, shared with the other
            analyzers on it.
        per_node: analyzers on a node.
        max_batch: frames in one detector call.
        window_s: how long a lone run waits for company; it never waits for every camera.
        name: of this analyzer in its journal, by which a frame that kills the process is found; None: no journal.
    """

    def __init__(
        self,
        model: str,
        device: str,
        threads: int | None,
        per_node: int,
        max_batch: int,
        window_s: float,
        name: str | None = None,
    ) -> None:
        import cv2
        import torch

        from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
        from risa_ray.vision.detectors import resolve_device

        threads = threads or max(1, len(os.sched_getaffinity(0)) // per_node)
        torch.set_num_threads(threads)
        cv2.setNumThreads(1)
        self._device = resolve_device(device)
        self._analyzer = Analyzer.load(model, device=self._device, max_batch=max_batch, threads=threads)
        self._setup_of = CameraSetup.of
        self._fresh_state = CameraState.start
        self._setups: dict[tuple[str, CameraConfig], CameraSetup] = {}
        self._states: dict[str, tuple[str, int, CameraState]] = {}  # camera -> session, next frame_seq, state
        self._journal = Journal(name)
        self._pictures = Pictures(self._analyzer.picture)
        self._faults = Faults(log)
        self._hasty_until = 0.0
        self._window_s = window_s
        self._waiting: list[_Request] = []
        self._arrived = asyncio.Event()
        self._models = asyncio.Lock()  # detectors are for one thread at a time
        self._worker: asyncio.Task[None] | None = None
        self._began_at = 0.0

    async def analyze(
        self,
        store_id: str,
        camera: CameraConfig,
        session_id: str,
        run: Run,
        fresh: bool,
        max_age_s: float | None,
        sent_at: float,
    ) -> Chunk:
        """The chunk of a run. A frame that fails, or kills the process, again and again is dropped as poison.

        Args:
            fresh: start a new tracker epoch; without it the run must continue the camera's last one.
            max_age_s: frames that arrived longer ago are not analysed but dropped as stale.
            sent_at: Unix seconds of this call by the clock that the frames' `arrived_at` is from.

        Raises:
            StateLostError: the run continues nothing that this actor knows.
        """
        self._see_to_worker()
        answer: asyncio.Future[Chunk] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(store_id, camera, session_id, run, fresh, max_age_s, sent_at, answer))
        self._arrived.set()
        return await answer

    async def prepare(self, cameras: Sequence[tuple[str, CameraConfig]]) -> None:
        """Load what these cameras (each with its store's id) need, so that their first frames do not wait for it."""
        self._setups.update({key: self._setup_of(*key) for key in cameras})
        async with self._models:
            await asyncio.to_thread(self._analyzer.prepare, list(self._setups.values()))

    async def forget(self, camera_id: str) -> None:
        """The camera's session has ended, or goes on with another analyzer."""
        self._states.pop(camera_id, None)

    async def picture(self, camera_id: str) -> Picture | None:
        """A camera's newest picture with blurred faces; None: it has none yet, or its config allows none."""
        return self._pictures.ask(camera_id)

    async def close(self) -> None:
        """The run ends: no other process will take this one's place."""
        self._journal.close()

    async def status(self) -> AnalyzerStatus:
        import ray

        self._pictures.forget()
        if self._waiting:
            self._see_to_worker()
        context = ray.get_runtime_context()
        times = self._analyzer.times
        return AnalyzerStatus(
            device=self._device,
            threads=self._analyzer.threads,
            model_id=self._analyzer.model_id,
            frames=times.frames,
            times={"detect": times.detect, "track": times.track, "classify": times.classify},
            busy_s=max(0.0, time.monotonic() - self._began_at) if self._began_at else 0.0,
            gpu_ids=tuple(str(i) for i in ray.get_gpu_ids()),
            node_id=context.get_node_id(),
            process=process_use(),
        )

    def _see_to_worker(self) -> None:
        """Start the queue's task, also should it ever have ended: nobody else would answer the cameras."""
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if self._window_s > 0 and len({r.camera.id for r in self._waiting}) < len(self._states):
                await asyncio.sleep(self._window_s)
            batch, self._waiting = self._next_batch()
            if not self._waiting:
                self._arrived.clear()
            if not batch:
                await asyncio.sleep(0.005)
                continue
            loop = asyncio.get_running_loop()
            try:
                async with self._models:
                    await self._load(batch)
                    self._began_at = time.monotonic()
                    await asyncio.to_thread(self._analyze_batch, batch, loop)
            except Exception as error:
                for request in batch:
                    self._answer(loop, request, error)
            finally:
                self._began_at = 0.0

    async def _load(self, batch: list[_Request]) -> None:
        """Load what no `prepare` has yet, as after a crash; it has time of its own, not the batch's."""
        keys = {(request.store_id, request.camera) for request in batch} - self._setups.keys()
        if not keys:
            return
        missing = {key: self._setup_of(*key) for key in keys}
        self._setups.update(missing)
        self._began_at = time.monotonic() + _LOAD_S
        with suppress(Exception):  # it shows again with the frames, one camera at a time
            await asyncio.to_thread(self._analyzer.prepare, list(missing.values()))

    def _next_batch(self) -> tuple[list[_Request], list[_Request]]:
        """The oldest run of each camera that can be analysed now, and the rest.

        Calls under way together may arrive in another order than they were made; a run whose predecessor is not here
        yet waits for it a while.
        """
        batch: list[_Request] = []
        later: list[_Request] = []
        cameras = set()
        patience = time.monotonic() - _PREDECESSOR_S
        for request in self._waiting:
            ready = self._state_for(request) is not None or request.received < patience
            if request.camera.id in cameras or not ready:
                later.append(request)
            else:
                batch.append(request)
                cameras.add(request.camera.id)
        return batch, later

    def _analyze_batch(self, batch: list[_Request], loop: asyncio.AbstractEventLoop) -> None:
        together: list[tuple[_Request, Work]] = []
        suspected: list[tuple[_Request, Work]] = []
        for request in batch:
            state = self._state_for(request)
            if state is None:
                self._answer(loop, request, StateLostError(f"camera {request.camera.id}: no state to go on from"))
                continue
            work = (_without_stale(request), self._setups[request.store_id, request.camera], state)
            suspect = any(self._journal.suspects(k) for k in request.keys(work[0]))
            (suspected if suspect else together).append((request, work))
        try:
            results = self._at_work(together)
        except Exception as error:
            # One camera's frame must not fail the others': each is tried alone, and only the guilty one is dropped.
            self._faults.tell(("batch",), error, "analysis failed; trying frame by frame")
            suspected, together, results = [*together, *suspected], [], []
        for (request, _), result in zip(together, results, strict=True):
            self._done(loop, request, result)
        for request, work in suspected:
            self._done(loop, request, self._one_by_one(request, work))
        # After all answers: nobody is to wait for pictures.
        for (_, (run, setup, _)), (_, state) in zip(together, results, strict=True):
            self._pictures.see(run, setup, state)

    def _at_work(self, requests: list[tuple[_Request, Work]]) -> list[tuple[Chunk, CameraState]]:
        """Analyse runs together, with a note for whoever comes after should this process die of them."""
        keys = [key for request, work in requests for key in request.keys(work[0])]
        if keys:
            self._journal.begin(keys)
        try:
            results = self._with_room([work for _, work in requests])
        except Exception as error:
            if self._device != "cpu" and isinstance(error, torch_accelerator_error()):
                # After a CUDA error every call in this process fails; a new process is the only way on.
                log.critical("the GPU failed (%s); ending this analyzer, Ray starts another", error)
                os._exit(1)
            raise
        finally:
            if keys:
                self._journal.end(keys)
        return results

    def _with_room(self, works: list[Work]) -> list[tuple[Chunk, CameraState]]:
        """Analyse; where memory or a file is short for a while, that is no frame's fault, and is waited for.

        Not in company, which may fit one by one, and not time and again: all cameras wait along.
        """
        alone = len(works) == 1
        for _ in range(_SHORT_S if alone and time.monotonic() >= self._hasty_until else 0):
            try:
                return self._analyzer.analyze_many(works)
            except _shortages() as error:
                self._faults.tell(("room",), error, "no room for the analysis; trying again")
                time.sleep(1)
        try:
            return self._analyzer.analyze_many(works)
        except _shortages():
            if alone:
                self._hasty_until = time.monotonic() + _HASTE_S
            raise

    def _one_by_one(self, request: _Request, work: Work) -> tuple[Chunk, CameraState]:
        """A run frame by frame; a frame that fails whatever is tried is dropped as poison."""
        run, setup, state = work
        chunks = []
        for item in run:
            chunk, state = self._alone(request, item, setup, state)
            chunks.append(chunk)
        outcomes = tuple(o for chunk in chunks for o in chunk.outcomes)
        return replace(chunks[-1], outcomes=outcomes, faces=tuple(f for c in chunks for f in c.faces)), state

    def _alone(
        self, request: _Request, item: Frame | Outcome, setup: CameraSetup, state: CameraState
    ) -> tuple[Chunk, CameraState]:
        name = f"camera {request.camera.id}: frame {item.frame_seq} of session {request.session_id}"
        poison = isinstance(item, Frame) and self._journal.poison((request.session_id, item.frame_seq))
        for _ in range(0 if poison else _ATTEMPTS):
            try:
                return self._at_work([(request, ([item], setup, state))])[0]
            except Exception as error:
                self._faults.tell(("frame", request.camera.id), error, f"{name} failed")
                if isinstance(error, _shortages()):
                    break  # `_with_room` has waited, or had no reason to
        self._faults.tell(("poison", request.camera.id), None, f"{name} is skipped as poison", logging.ERROR)
        skipped = dropped(item, "poison") if isinstance(item, Frame) else item
        return self._analyzer.analyze([skipped], setup, state)

    def _done(self, loop: asyncio.AbstractEventLoop, request: _Request, result: tuple[Chunk, CameraState]) -> None:
        chunk, state = result
        self._states[request.camera.id] = (request.session_id, chunk.last_seq + 1, state)
        self._answer(loop, request, chunk)

    def _state_for(self, request: _Request) -> CameraState | None:
        first = request.run[0].frame_seq
        if request.fresh:
            return self._fresh_state(request.session_id, first)
        known = self._states.get(request.camera.id)
        if known is None or known[:2] != (request.session_id, first):
            return None
        return known[2]

    @staticmethod
    def _answer(loop: asyncio.AbstractEventLoop, request: _Request, result: Chunk | Exception) -> None:
        def settle() -> None:
            if request.answer.done():
                return
            if isinstance(result, Exception):
                request.answer.set_exception(result)
            else:
                request.answer.set_result(result)

        loop.call_soon_threadsafe(settle)


def _without_stale(request: _Request) -> Run:
    """The run with its frames that waited too long turned into drops; clocks of two nodes are never compared."""
    if request.max_age_s is None:
        return request.run
    oldest = request.sent_at + (time.monotonic() - request.received) - request.max_age_s
    return [dropped(i, "stale") if isinstance(i, Frame) and i.arrived_at < oldest else i for i in request.run]


def _shortages() -> tuple[type[Exception], ...]:
    """What is raised where the machine has no memory, the GPU has none, or a file cannot be read."""
    import torch

    return MemoryError, OSError, torch.cuda.OutOfMemoryError


def torch_accelerator_error() -> type[Exception]:
    """What torch raises once the GPU has failed."""
    import torch

    return getattr(torch, "AcceleratorError", None) or torch.cuda.CudaError
