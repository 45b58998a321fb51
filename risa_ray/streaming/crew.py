"""The actors of a streaming run, and what becomes of them when they crash."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import Unit, units_of
from risa_ray.live.channels import Secrets
from risa_ray.sources import with_credentials
from risa_ray.store.errors import StoreError
from risa_ray.store.runs import RunRecord
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.analyzer import AnalyzerStatus
from risa_ray.streaming.board import NAMESPACE, name_of
from risa_ray.streaming.calls import last_line, patiently
from risa_ray.streaming.cluster import frame_bytes_per_camera, node_id
from risa_ray.streaming.committer import CommitterActor, CommitterStatus
from risa_ray.streaming.fleet import Fleet
from risa_ray.streaming.lifecycle import CameraState
from risa_ray.streaming.losses import Losses
from risa_ray.streaming.polling import Polled
from risa_ray.streaming.reader import ReaderActor, ReaderStatus
from risa_ray.streaming.totals import Totals

log = logging.getLogger("risa")

_CRASHES = 5
"""Crashes of one file's reader without a frame between them, after which the file is given up for this run."""
_BACK_OFF_S = (1.0, 2.0, 4.0)
_SILENT_S = 30.0
"""A reader that does not answer for so long hangs, and is ended."""
_START_S = 120.0
"""How long the start of a reader's process may take."""
_LAST_LOSSES_S = 10.0
_LEAVE_S = 40.0
"""How long the reader of a camera that was taken from the config may take to have everything committed."""


@dataclass
class _Reader:
    """One camera's reader, as the driver sees it.

    `running` refers to the reader's `run`. `resume_at`: when a crashed one is started again. `leaving`: since when it
    is to end because the config has changed; `successor` is what then takes the camera's place.
    """

    unit: Unit
    live: bool
    session: SessionInfo
    status: ReaderStatus
    actor: Any = None
    poll: Polled[ReaderStatus] | None = None
    running: Any = None
    crashes: int = 0
    seen_seq: int = -1
    resume_at: float | None = None
    given_up: bool = False
    leaving: float | None = None
    successor: _Reader | None = None

    @property
    def finished(self) -> bool:
        """Whether a file's session needs no resuming."""
        ended = self.status.state in ("complete", "broken")
        return self.live or (ended and not self.given_up)


class Crew:
    """The committer, the analyzers and the readers of one run.

    Ray restarts the committer and the analyzers; readers are started anew here, where a camera's place is decided.

    Args:
        config: of the run.
        run_id, generation: of its record.
        secrets: of its alert channels.
    """

    def __init__(self, config: ChainConfig, run_id: str, generation: int, secrets: Secrets) -> None:
        # The committer stays with the driver: a local data path exists on this node only.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # One thread takes the chunks, so that they are taken in the order in which they were sent.
        committers: Any = ray.remote(concurrency_groups={"chunks": 1, "live": 1})(CommitterActor)  # type: ignore[call-overload]
        # Ray would keep an event of every call, 100,000 of them: 0.1 GB at the head that nobody looks at.
        self.committer: Any = committers.options(
            num_cpus=0, max_restarts=-1, max_concurrency=8, scheduling_strategy=here, enable_task_events=False,
            name=name_of(run_id, generation), namespace=NAMESPACE
        ).remote(config, run_id, time.time(), secrets)  # fmt: skip
        self._config, self._secrets = config, secrets
        self._run = run_id, generation
        self._committer_poll: Polled[CommitterStatus] = Polled(self._ask_committer)
        self._committer_totals = Totals()
        self._fleet = Fleet(config.pipeline, f"{run_id}-{generation}", _cameras(config), self._move)
        self._readers: dict[str, _Reader] = {}
        self._losses = Losses(self.committer, run_id)

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until every analyzer has its models, or `stop` is set.

        Raises:
            InputError: an analyzer cannot start.
        """
        self._fleet.wait_ready(stop)

    def start_readers(self, run: RunRecord) -> None:
        """Start a reader per camera, if possible beside its analyzer, where frames need not cross the network."""
        for unit in units_of(self._config):
            self._admit(self._reader(unit, run))

    def reconfigure(self, config: ChainConfig, secrets: Secrets, run: RunRecord) -> None:
        """Follow an edited config: cameras are added, changed (as new sessions) and removed; the others go on."""
        self._config, self._secrets = config, secrets
        share = self._share()
        wanted = {unit.camera.id: unit for unit in units_of(config)}
        for camera_id, reader in self._readers.items():
            unit = wanted.pop(camera_id, None)
            if unit is not None and reader.leaving is None and _same(unit, reader.unit):
                reader.unit = unit
                if reader.actor is not None:
                    reader.actor.share.remote(share)
                continue
            reader.successor = None if unit is None else self._reader(unit, run)
            if reader.leaving is None:
                reader.leaving = time.monotonic()
                reader.resume_at = None
                if reader.actor is not None:
                    reader.actor.stop.remote()
        for unit in wanted.values():
            self._admit(self._reader(unit, run))
        self._fleet.recamera(_cameras(config))
        self.committer.reconfigure.remote(config, secrets)

    @property
    def busy(self) -> bool:
        """Whether a reader runs or is to run again, or losses are still to be told."""
        at_work = any(r.running is not None or r.resume_at is not None or r.leaving for r in self._readers.values())
        return at_work or bool(self._losses)

    @property
    def losses(self) -> int:
        """Dead readers whose frames the committer has not accounted for yet."""
        return len(self._losses)

    @property
    def started(self) -> bool:
        """Whether there ever was a reader."""
        return bool(self._readers)

    @property
    def finished(self) -> bool:
        """Whether no file is left to be resumed."""
        return all(r.finished for r in self._readers.values())

    def statuses(self) -> dict[str, ReaderStatus]:
        """How each camera is."""
        return {i: r.status for i, r in self._readers.items()}

    def step(self, timeout_s: float, stopping: bool) -> None:
        """Wait a moment for readers to end, see to those that did, and ask everybody how they are."""
        running = {r.running: r for r in self._readers.values() if r.running is not None}
        if running:
            ready, _ = ray.wait(list(running), timeout=timeout_s)
            for reference in ready:
                self._ended(running[reference])
        else:
            time.sleep(timeout_s)
        self._losses.tell()
        for reader in list(self._readers.values()):
            self._tend(reader, stopping)
        self._fleet.step()

    def committer_status(self) -> CommitterStatus | None:
        """The committer's last answer; the alerts in it are told once.

        Raises:
            StoreError: there will be no committer any more.
        """
        status = self._committer_poll.look()
        if self._committer_poll.dead:
            raise StoreError("the committer cannot start again; see the log above. What was acknowledged is stored")
        if status is None:
            return None
        if not self._committer_poll.news:
            silent_s = self._committer_poll.silent_s
            trouble = f"the store has not answered for {silent_s:.0f} s" if silent_s > _SILENT_S else status.trouble
            return replace(self._committer_totals.total(), alerts=(), trouble=trouble)
        if self._committer_totals.take(status):
            self.committer.reconfigure.remote(self._config, self._secrets)  # a new process knows the first config only
        return self._committer_totals.total()

    def last_committer_status(self, timeout_s: float) -> CommitterStatus:
        """How the committer is now; waits for it to come back.

        Raises:
            RayError: it does not.
        """
        self._committer_totals.take(patiently(self._ask_committer, timeout_s))
        return self._committer_totals.total()

    def _ask_committer(self) -> Any:
        return self.committer.status.remote(self._committer_totals.seen_alerts, self.statuses(), self._fleet.pictures())

    def analyzer_statuses(self) -> tuple[AnalyzerStatus, ...]:
        """The last answer of each analyzer."""
        return self._fleet.statuses()

    def last_analyzer_statuses(self) -> tuple[AnalyzerStatus, ...]:
        """How each analyzer is now; waits a moment for those that answer."""
        return self._fleet.last_statuses()

    def stop_readers(self) -> None:
        """Ask every reader to read no further."""
        for reader in self._readers.values():
            reader.successor = None
            if reader.actor is not None:
                reader.actor.stop.remote()

    def abandon(self, waited_s: float) -> None:
        """Give up readers that do not end: a live one's frames are accounted as lost, a file is resumed next time."""
        for reader in self._readers.values():
            if reader.running is not None:
                self._give_up(reader, f"the reader did not stop within {waited_s:.0f} s")
        deadline = time.monotonic() + _LAST_LOSSES_S
        while self._losses and time.monotonic() < deadline:
            self._losses.tell()
            time.sleep(0.1)

    def heartbeat(self) -> None:
        """Tell the store which state each live camera is in, for windows in which nothing comes."""
        self.committer.heartbeat.remote(
            {i: (r.unit.store.id, r.status.state) for i, r in self._readers.items() if r.live}
        )

    def kill(self) -> None:
        """End every actor."""
        for reader in self._readers.values():
            _kill(reader.actor)
        self._fleet.kill()
        ray.kill(self.committer)

    def _reader(self, unit: Unit, run: RunRecord) -> _Reader:
        record, camera = run.sessions[unit.key], unit.camera
        session = SessionInfo(unit.store.id, camera.id, record.session_id, record.live, record.started_at)
        return _Reader(unit, record.live, session, ReaderStatus(camera.id, unit.store.id))

    def _admit(self, reader: _Reader) -> None:
        self._readers[reader.unit.camera.id] = reader
        self._start(reader)

    def _start(self, reader: _Reader) -> None:
        """Start a reader's process and its run; one that is pinned to a node that is gone waits for it."""
        unit, camera = reader.unit, reader.unit.camera
        reader.resume_at = None
        reader.status = replace(reader.status, process=None)
        self._fleet.release(camera.id)
        analyzer, node = self._fleet.assign(camera.id)
        if camera.node is not None:
            try:
                node = node_id(camera.node, camera.id)
            except InputError as error:
                if reader.status.note != str(error):
                    log.warning("%s; it is waited for", error)
                self._wait(reader, str(error), _BACK_OFF_S[-1])
                return
        options: dict[str, Any] = {
            "num_cpus": 0, "max_restarts": 0, "max_concurrency": 4, "enable_task_events": False
        }  # fmt: skip
        if node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=camera.node is None)
        reader.actor = ray.remote(ReaderActor).options(**options).remote(
            self._run, unit.store.id, with_credentials(camera), unit.store.timezone, self._share()
        )  # fmt: skip
        reader.poll = Polled(reader.actor.status.remote)
        reader.running = reader.actor.run.remote(analyzer, self.committer, reader.session)

    def _share(self) -> int:
        return frame_bytes_per_camera(sum(1 for _ in self._config.cameras()))

    def _move(self, camera_id: str, analyzer: Any, abandon: bool) -> None:
        reader = self._readers.get(camera_id)
        if reader is not None and reader.actor is not None:
            reader.actor.use.remote(analyzer, abandon)

    def _tend(self, reader: _Reader, stopping: bool) -> None:
        if reader.leaving is not None:
            self._see_off(reader)
        elif reader.resume_at is not None:
            if stopping:
                reader.resume_at = None
                reader.given_up = not reader.live
                reader.status = replace(reader.status, state="stopped")
            elif time.monotonic() >= reader.resume_at and not self._losses.of(reader.unit.camera.id):
                self._start(reader)
        if reader.running is None or reader.poll is None:
            return
        status = reader.poll.look()
        if status is not None and reader.poll.news:
            reader.status = status
        elif reader.poll.silent_s > (_SILENT_S if reader.status.process is not None else _START_S):
            log.error(
                "camera %s: its reader hangs for %.0f s: a new process takes its place",
                reader.unit.camera.id,
                _SILENT_S,
            )
            _kill(reader.actor)
            reader.poll.patience()

    def _see_off(self, reader: _Reader) -> None:
        """A reader whose camera was removed or changed ends in its own time, but not in any."""
        assert reader.leaving is not None
        camera_id = reader.unit.camera.id
        if reader.running is not None and time.monotonic() - reader.leaving > _LEAVE_S:
            self._give_up(reader, f"the reader did not stop within {_LEAVE_S:.0f} s")
        if reader.running is not None or self._losses.of(camera_id):
            return
        _kill(reader.actor)
        self._fleet.release(camera_id)
        del self._readers[camera_id]
        if reader.successor is not None:
            self._admit(reader.successor)

    def _ended(self, reader: _Reader) -> None:
        """A reader's run returned, failed, or died with its process."""
        reference, reader.running = reader.running, None
        try:
            reader.status = replace(ray.get(reference), process=None)
            self._fleet.release(reader.unit.camera.id)
            _kill(reader.actor)
            return
        except RayTaskError as error:
            reason = f"the reader failed: {last_line(error)}"
            if isinstance(error.cause, StoreError):
                reader.crashes = 0  # the store is in trouble, not the file
        except RayError:
            reason = "the reader died"
        _kill(reader.actor)
        log.warning("camera %s: %s%s", reader.unit.camera.id, reason, "" if reader.leaving else "; starting it again")
        reached = reader.status.last_seq
        reader.crashes = 1 if reached > reader.seen_seq else reader.crashes + 1
        reader.seen_seq = max(reader.seen_seq, reached)
        if reader.live:
            self._lose(reader, reason)
            reader.session = replace(reader.session, session_id=secrets.token_hex(6), started_at=datetime.now(UTC))
            reader.seen_seq = -1
        elif reader.crashes >= _CRASHES:
            self._give_up(reader, f"{reason}, {reader.crashes} times in a row")
            return
        if reader.leaving is None:
            self._wait(reader, reason, _BACK_OFF_S[min(reader.crashes, len(_BACK_OFF_S)) - 1])

    def _wait(self, reader: _Reader, reason: str, seconds: float) -> None:
        """Start a reader again after a while."""
        state: CameraState = "backing_off" if reader.live else reader.status.state
        reader.status = replace(reader.status, state=state, note=reason, process=None)
        reader.resume_at = time.monotonic() + seconds

    def _lose(self, reader: _Reader, reason: str) -> None:
        """Account for what a live reader had in hand, and close its session."""
        # One that had not been heard of yet may have begun a session all the same.
        session = reader.status.session or reader.session
        self._losses.add(reader.unit.camera.id, session, reader.status.last_seq, reason)
        reader.status = replace(reader.status, session=None, last_seq=-1)

    def _give_up(self, reader: _Reader, reason: str) -> None:
        log.error("camera %s: %s", reader.unit.camera.id, reason)
        reader.running = None
        _kill(reader.actor)
        if reader.live:
            self._lose(reader, reason)
        else:
            reader.given_up = True
        reader.status = replace(reader.status, state="broken", note=reason)


def _same(unit: Unit, other: Unit) -> bool:
    """Whether a camera's reader can go on as it is."""
    return (unit.store.id, unit.store.timezone, unit.camera) == (other.store.id, other.store.timezone, other.camera)


def _cameras(config: ChainConfig) -> list[tuple[str, Any]]:
    return [(unit.store.id, unit.camera) for unit in units_of(config)]


def _kill(actor: Any) -> None:
    if actor is not None:
        ray.kill(actor)
