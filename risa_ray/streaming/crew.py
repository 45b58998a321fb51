"""The actors of a streaming run, and what becomes of them when they crash."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import Unit, units_of
from risa_ray.sources.base import Source
from risa_ray.store.runs import RunRecord
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.analyzer import AnalyzerActor, AnalyzerStatus
from risa_ray.streaming.calls import last_line
from risa_ray.streaming.cluster import analyzer_count, analyzers_per_node, frame_bytes_per_camera, node_id
from risa_ray.streaming.committer import CommitterActor, CommitterStatus
from risa_ray.streaming.reader import ReaderActor, ReaderStatus

log = logging.getLogger("risa")

_CRASHES = 5
"""Crashes of one file's reader without a frame between them, after which the file is given up for this run."""
_BACK_OFF_S = (1.0, 2.0, 4.0)


@dataclass
class _Reader:
    """One camera's reader, as the driver sees it. `resume_at`: when a crashed one is started again."""

    unit: Unit
    live: bool
    session: SessionInfo
    actor: Any
    analyzer: Any
    status: ReaderStatus | None = None
    crashes: int = 0
    seen_seq: int = -1
    resume_at: float | None = None
    given_up: bool = False

    @property
    def finished(self) -> bool:
        """Whether a file's session needs no resuming."""
        ended = self.status is not None and self.status.state in ("complete", "broken")
        return self.live or (ended and not self.given_up)


@dataclass
class Crew:
    """The committer, the analyzers and the readers of one run."""

    committer: Any
    analyzers: list[Any]
    readers: dict[str, _Reader] = field(default_factory=dict)
    running: dict[Any, str] = field(default_factory=dict)  # reference of ReaderActor.run -> camera id

    @classmethod
    def start(cls, config: ChainConfig, run_id: str, stop: threading.Event) -> Crew:
        """Start the committer and the analyzers, and wait until these are ready or `stop` is set.

        Raises:
            InputError: an analyzer cannot start.
        """
        p = config.pipeline
        # The committer stays with the driver: a local data path exists on this node only.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # One thread takes the chunks, so that they are taken in the order in which they were sent.
        committers: Any = ray.remote(concurrency_groups={"chunks": 1})(CommitterActor)  # type: ignore[call-overload]
        committer = committers.options(
            num_cpus=0, max_restarts=-1, max_concurrency=8, scheduling_strategy=here
        ).remote(config, run_id)  # fmt: skip
        kind = ray.remote(AnalyzerActor).options(
            num_cpus=p.cpus_per_analyzer, num_gpus=p.gpus_per_analyzer, max_restarts=-1, scheduling_strategy="SPREAD"
        )  # fmt: skip
        settings = (p.model, p.device, p.threads, analyzers_per_node(p), p.max_batch, p.batch_window_ms / 1000)
        crew = cls(committer, [kind.remote(*settings) for _ in range(analyzer_count(p))])
        crew._prepare([(u.store.id, u.camera) for u in units_of(config)], stop)
        return crew

    def _prepare(self, cameras: list[tuple[str, Any]], stop: threading.Event) -> None:
        count = len(self.analyzers)
        waiting = [a.prepare.remote(cameras[i::count]) for i, a in enumerate(self.analyzers)]
        said = time.monotonic()
        while waiting and not stop.is_set():
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0.5)
            for reference in ready:
                try:
                    ray.get(reference)
                except RayError as error:
                    raise InputError(f"pipeline: an analyzer cannot start ({last_line(error)})") from None
            if waiting and time.monotonic() - said > 30:
                said = time.monotonic()
                log.warning("waiting for the cluster to place and start %d of %d analyzers", len(waiting), count)

    def start_readers(self, config: ChainConfig, sources: Mapping[str, Source], run: RunRecord) -> None:
        """Start a reader per camera, if possible beside its analyzer, where frames need not cross the network."""
        units = units_of(config)
        share = frame_bytes_per_camera(len(units))
        nodes = [s.node_id for s in ray.get([a.status.remote() for a in self.analyzers])]
        for index, unit in enumerate(units):
            which, camera, record = index % len(self.analyzers), unit.camera, run.sessions[unit.key]
            pinned = camera.node is not None
            node = node_id(camera.node, camera.id) if camera.node is not None else nodes[which]
            actor = ray.remote(ReaderActor).options(
                num_cpus=0, max_restarts=-1, max_concurrency=4,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=not pinned),
            ).remote(unit.store.id, camera, unit.store.timezone, share)  # fmt: skip
            live = sources[unit.key].live
            session = SessionInfo(unit.store.id, camera.id, record.session_id, live, record.started_at)
            self.readers[camera.id] = _Reader(unit, live, session, actor, self.analyzers[which])
            self._read(camera.id)

    @property
    def busy(self) -> bool:
        """Whether a reader runs or is to run again."""
        return bool(self.running) or any(r.resume_at is not None for r in self.readers.values())

    @property
    def finished(self) -> bool:
        """Whether no file is left to be resumed."""
        return all(r.finished for r in self.readers.values())

    def statuses(self) -> dict[str, ReaderStatus]:
        return {i: r.status for i, r in self.readers.items() if r.status is not None}

    def step(self, timeout_s: float, stopping: bool) -> None:
        """Wait a moment for readers to end, see to those that did, and ask the others how they are."""
        if self.running:
            ready, _ = ray.wait(list(self.running), timeout=timeout_s)
            for reference in ready:
                self._ended(self.running.pop(reference), reference)
        else:
            time.sleep(timeout_s)
        for camera_id, reader in self.readers.items():
            if reader.resume_at is None:
                continue
            if stopping:
                reader.resume_at = None
                reader.given_up = True
            elif time.monotonic() >= reader.resume_at and self.ask(reader.actor.status.remote()) is not None:
                reader.resume_at = None
                self._read(camera_id)
        self._poll()

    def committer_status(self, seen_alerts: int) -> CommitterStatus | None:
        answer: CommitterStatus | None = self.ask(self.committer.status.remote(seen_alerts))
        return answer

    def analyzer_statuses(self) -> tuple[AnalyzerStatus, ...]:
        return tuple(s for a in self.analyzers if (s := self.ask(a.status.remote())) is not None)

    def stop_readers(self) -> None:
        """Ask every reader to read no further."""
        for reader in self.readers.values():
            reader.actor.stop.remote()

    def abandon(self, waited_s: float) -> None:
        """Give up readers that do not end: a live one's frames are accounted as lost, a file is resumed next time."""
        for camera_id in self.running.values():
            self._give_up(camera_id, f"the reader did not stop within {waited_s:.0f} s")
        self.running.clear()

    def heartbeat(self) -> None:
        """Tell the store which state each camera is in, for those that have no session."""
        states = {i: (r.unit.store.id, r.status.state if r.status else "connecting") for i, r in self.readers.items()}
        self.committer.heartbeat.remote(states)

    def kill(self) -> None:
        """End every actor."""
        for actor in [*(r.actor for r in self.readers.values()), *self.analyzers, self.committer]:
            ray.kill(actor)

    @staticmethod
    def ask(reference: Any) -> Any:
        """An actor's answer, or None from one that is restarting or too busy to answer now."""
        try:
            return ray.get(reference, timeout=5)
        except (RayActorError, GetTimeoutError):
            return None
        except RayError as error:
            log.warning("an actor answered with an error: %s", last_line(error))
            return None

    def _read(self, camera_id: str) -> None:
        reader = self.readers[camera_id]
        self.running[reader.actor.run.remote(reader.analyzer, self.committer, reader.session)] = camera_id

    def _ended(self, camera_id: str, reference: Any) -> None:
        """A reader's run returned, failed, or died with its process."""
        reader = self.readers[camera_id]
        try:
            reader.status = ray.get(reference)
            return
        except RayTaskError as error:
            reason = f"the reader failed: {last_line(error)}"
        except RayError:
            reason = "the reader died"
        log.warning("camera %s: %s; starting it again", camera_id, reason)
        reached = reader.status.last_seq if reader.status is not None else -1
        reader.crashes = 1 if reached > reader.seen_seq else reader.crashes + 1
        reader.seen_seq = max(reader.seen_seq, reached)
        if reader.live:
            self._lose(reader, reason)
            reader.session = replace(reader.session, session_id=secrets.token_hex(6), started_at=datetime.now(UTC))
            reader.seen_seq = -1
        elif reader.crashes >= _CRASHES:
            self._give_up(camera_id, f"{reason}, {reader.crashes} times in a row")
            return
        reader.resume_at = time.monotonic() + _BACK_OFF_S[min(reader.crashes, len(_BACK_OFF_S)) - 1]

    def _lose(self, reader: _Reader, reason: str) -> None:
        """Account for what a live reader had in hand, and close its session."""
        if reader.status is not None and reader.status.session is not None:
            self.ask(self.committer.lost.remote(reader.status.session.session_id, reader.status.last_seq, reason))

    def _give_up(self, camera_id: str, reason: str) -> None:
        log.error("camera %s: %s", camera_id, reason)
        reader = self.readers[camera_id]
        if reader.live:
            self._lose(reader, reason)
        else:
            reader.given_up = True
        last = reader.status or ReaderStatus(camera_id)
        reader.status = replace(last, state="broken", note=reason)

    def _poll(self) -> None:
        asked = {self.readers[i].actor.status.remote(): i for i in self.running.values()}
        if not asked:
            return
        # A reader that hangs or restarts keeps its last status; it must not keep the others waiting.
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=2)
        for reference in ready:
            status = self.ask(reference)
            if status is not None:
                self.readers[asked[reference]].status = status
