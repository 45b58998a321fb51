"""The driver of a streaming run: starts the actors, supervises them, and owns the shutdown."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from risa_ray.config import CameraConfig, ChainConfig, StoreConfig
from risa_ray.errors import InputError
from risa_ray.inputs import Unit, units_of
from risa_ray.sources.base import Source
from risa_ray.store import runs
from risa_ray.store.context import write_context
from risa_ray.store.errors import StoreError
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.analyzer import AnalyzerActor, AnalyzerStatus
from risa_ray.streaming.calls import last_line, patiently
from risa_ray.streaming.cluster import analyzer_threads, check_resources, frame_bytes_per_camera
from risa_ray.streaming.committer import CommitterActor, CommitterStatus
from risa_ray.streaming.reader import ReaderActor, ReaderStatus

log = logging.getLogger("risa")

HEARTBEAT_S = 10.0
_STOP_S = 40
"""How long readers may take to have everything analysed and committed once they are asked to stop."""
_READER_CRASHES = 5
"""Crashes of one reader without a frame between them, after which its camera is given up for this run."""


@dataclass(frozen=True)
class Snapshot:
    """The run now, for whoever shows it."""

    elapsed_s: float
    committer: CommitterStatus
    readers: Mapping[str, ReaderStatus]
    analyzers: tuple[AnalyzerStatus, ...]


@dataclass(frozen=True)
class StreamReport:
    """How a run ended. `stopped`: on request, with files left to read; the same command resumes them."""

    run_id: str
    resumed: bool
    stopped: bool
    elapsed_s: float
    committer: CommitterStatus
    readers: Mapping[str, ReaderStatus]
    analyzers: tuple[AnalyzerStatus, ...]

    @property
    def broken(self) -> dict[str, str]:
        """Cameras that broke, with the reason."""
        return {c: s.note for c, s in self.readers.items() if s.state == "broken"}


@dataclass
class _Camera:
    store: StoreConfig
    config: CameraConfig
    live: bool
    session: SessionInfo
    actor: Any
    analyzer: Any
    status: ReaderStatus | None = None
    crashes: int = 0
    seen_seq: int = -1


@dataclass
class _Crew:
    """The actors of a run."""

    committer: Any
    analyzers: list[Any]
    cameras: dict[str, _Camera] = field(default_factory=dict)
    running: dict[Any, str] = field(default_factory=dict)  # reference of ReaderActor.run -> camera id


def stream(
    config: ChainConfig,
    sources: Mapping[str, Source],
    *,
    stop: threading.Event,
    on_snapshot: Callable[[Snapshot], None],
    interval_s: float = 0.5,
) -> StreamReport:
    """Run a chain until its files end or `stop` is set. Ray must be connected.

    Args:
        config: with absolute paths.
        sources: what `preflight` found good.
        stop: set by Ctrl-C or SIGTERM; readers stop, and what was read is analysed and committed.
        on_snapshot: called every `interval_s` from this thread.

    Raises:
        InputError: bad input, before any actor starts.
        StoreError: the store could not take the last rows.
    """
    check_resources(config.pipeline)
    began = time.monotonic()
    run = open_run(config, units_of(config), sources)
    crew = _Crew(*_start_workers(config, run.run_id))
    try:
        _start_readers(crew, config, sources, run)
        stopped = _supervise(crew, config, run, stop, on_snapshot, began, interval_s)
        patiently(crew.committer.flush.remote)
        status: CommitterStatus = patiently(crew.committer.status.remote)
        analyzers: list[AnalyzerStatus] = [patiently(a.status.remote) for a in crew.analyzers]
        ended = [c.status.state if c.status else "connecting" for c in crew.cameras.values() if not c.live]
        unfinished = stopped and any(state not in ("complete", "broken") for state in ended)
        if unfinished:
            runs.release(run)
        else:
            runs.complete(run)
    finally:
        for actor in [*(c.actor for c in crew.cameras.values()), *crew.analyzers, crew.committer]:
            ray.kill(actor)
    readers = {i: c.status for i, c in crew.cameras.items() if c.status is not None}
    report = StreamReport(
        run.run_id, run.resumed, unfinished, time.monotonic() - began, status, readers, tuple(analyzers)
    )
    on_snapshot(Snapshot(report.elapsed_s, status, readers, report.analyzers))
    return report


def open_run(config: ChainConfig, units: Sequence[Unit], sources: Mapping[str, Source]) -> runs.RunRecord:
    """Write the context tables, and start the run's record or take up the one that was interrupted.

    Raises:
        InputError: the same run is under way.
        StoreError: the tables cannot be written.
    """
    sizes = {u.camera.id: size for u in units if (size := sources[u.key].size()) is not None}
    started = {u.key: sources[u.key].started_at() for u in units}
    write_context(config.data, config, min(started.values()), sizes)
    described = {
        u.key: runs.RunSource(u.store.id, sources[u.key].fingerprint(), sources[u.key].live, started[u.key])
        for u in units
    }
    return runs.start_run(config.data, described, _settings_key(config))


def _settings_key(config: ChainConfig) -> str:
    """What of the config decides the rows: a file under other settings is another run, not the same one resumed."""
    cameras = [camera.model_dump_json(exclude={"node", "realtime"}) for _, camera in config.cameras()]
    return "|".join([config.chain, config.pipeline.model, *cameras])


def _start_workers(config: ChainConfig, run_id: str) -> tuple[Any, list[Any]]:
    p = config.pipeline
    # The committer stays with the driver: a local data path exists on this node only.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    committer = ray.remote(CommitterActor).options(
        num_cpus=0, max_restarts=-1, max_concurrency=64, scheduling_strategy=here
    ).remote(config, run_id)  # fmt: skip
    kind = ray.remote(AnalyzerActor).options(
        num_cpus=p.cpus_per_analyzer, num_gpus=p.gpus_per_analyzer, max_restarts=-1, scheduling_strategy="SPREAD"
    )  # fmt: skip
    threads = analyzer_threads(p)
    analyzers: list[Any] = [
        kind.remote(p.model, p.device, threads, p.max_batch, p.batch_window_ms / 1000) for _ in range(p.analyzers)
    ]
    cameras = [(store.id, camera) for store, camera in config.cameras()]
    try:
        ray.get([a.prepare.remote(cameras[i :: p.analyzers]) for i, a in enumerate(analyzers)])
    except RayActorError as error:
        raise InputError(f"pipeline: an analyzer cannot start ({last_line(error)})") from None
    return committer, analyzers


def _start_readers(crew: _Crew, config: ChainConfig, sources: Mapping[str, Source], run: runs.RunRecord) -> None:
    cameras = list(config.cameras())
    share = frame_bytes_per_camera(len(cameras))
    nodes = [s.node_id for s in ray.get([a.status.remote() for a in crew.analyzers])]
    for index, (store, camera) in enumerate(cameras):
        which = index % len(crew.analyzers)
        record = run.sessions[camera.id]
        session = SessionInfo(store.id, camera.id, record.session_id, sources[camera.id].live, record.started_at)
        actor = ray.remote(ReaderActor).options(
            num_cpus=0, max_restarts=-1, max_concurrency=4, scheduling_strategy=_placement(camera, nodes[which])
        ).remote(store.id, camera, store.timezone, share)  # fmt: skip
        crew.cameras[camera.id] = _Camera(store, camera, sources[camera.id].live, session, actor, crew.analyzers[which])
        _read(crew, camera.id)


def _placement(camera: CameraConfig, analyzer_node: str) -> NodeAffinitySchedulingStrategy:
    """On the pinned node, or if possible beside the analyzer, where frames need not cross the network."""
    if camera.node is None:
        return NodeAffinitySchedulingStrategy(analyzer_node, soft=True)
    for node in ray.nodes():
        if node.get("Alive") and camera.node in (
            node["NodeID"],
            node["NodeManagerAddress"],
            node["NodeManagerHostname"],
        ):
            return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    raise InputError(f"camera {camera.id}: no node {camera.node!r} in the cluster; `ray status` lists them")


def _read(crew: _Crew, camera_id: str) -> None:
    camera = crew.cameras[camera_id]
    reference = camera.actor.run.remote(camera.analyzer, crew.committer, camera.session)
    crew.running[reference] = camera_id


def _supervise(
    crew: _Crew,
    config: ChainConfig,
    run: runs.RunRecord,
    stop: threading.Event,
    on_snapshot: Callable[[Snapshot], None],
    began: float,
    interval_s: float,
) -> bool:
    """Until every reader has ended; True when that was on request."""
    stopped, deadline, next_beat = False, 0.0, time.monotonic() + HEARTBEAT_S
    while crew.running:
        if stop.is_set() and not stopped:
            stopped, deadline = True, time.monotonic() + _STOP_S
            for camera in crew.cameras.values():
                camera.actor.stop.remote()
        if stopped and time.monotonic() > deadline:
            _abandon(crew)
            break
        ready, _ = ray.wait(list(crew.running), timeout=interval_s)
        for reference in ready:
            _ended(crew, reference, stopped)
        _poll(crew)
        committer = _ask(crew.committer.status.remote())
        if committer is not None:
            readers = {i: c.status for i, c in crew.cameras.items() if c.status is not None}
            analyzers = tuple(s for a in crew.analyzers if (s := _ask(a.status.remote())) is not None)
            on_snapshot(Snapshot(time.monotonic() - began, committer, readers, analyzers))
        if time.monotonic() >= next_beat:
            next_beat += HEARTBEAT_S
            _renew(run)
            crew.committer.heartbeat.remote(
                {i: (c.store.id, c.status.state if c.status else "connecting") for i, c in crew.cameras.items()}
            )
    return stopped


def _ended(crew: _Crew, reference: Any, stopped: bool) -> None:
    """A reader's run returned, failed or died with its process."""
    camera_id = crew.running.pop(reference)
    camera = crew.cameras[camera_id]
    try:
        camera.status = ray.get(reference)
        return
    except RayTaskError as error:
        _give_up(camera, f"the reader failed: {last_line(error)}")
        return
    except RayActorError:
        log.warning("camera %s: the reader died; starting it again", camera_id)
    camera.crashes += 1
    if camera.status is not None and camera.status.last_seq > camera.seen_seq:
        camera.crashes, camera.seen_seq = 1, camera.status.last_seq
    if camera.live and camera.status is not None and camera.status.session_id:
        _ask(crew.committer.lost.remote(camera.status.session_id, camera.status.last_seq))
        camera.session = replace(camera.session, session_id=secrets.token_hex(6), started_at=datetime.now(UTC))
        camera.seen_seq = -1
    if camera.crashes > _READER_CRASHES:
        _give_up(camera, f"the reader died {camera.crashes} times in a row")
    elif not stopped:
        _read(crew, camera_id)


def _give_up(camera: _Camera, reason: str) -> None:
    log.error("camera %s: %s", camera.config.id, reason)
    last = camera.status or ReaderStatus(camera.config.id, "broken", None, -1, 0, 0, "", 0.0, 0.0, 0.0, 0)
    camera.status = replace(last, state="broken", note=reason)


def _poll(crew: _Crew) -> None:
    asked = {crew.cameras[i].actor.status.remote(): i for i in crew.running.values()}
    if not asked:
        return
    # A reader that hangs or restarts keeps its last status; it must not keep the others waiting.
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=2)
    for reference in ready:
        status = _ask(reference)
        if status is not None:
            crew.cameras[asked[reference]].status = status


def _renew(run: runs.RunRecord) -> None:
    try:
        runs.renew(run)
    except StoreError as error:
        # The run itself goes on: should another take it up meanwhile, the marks keep the rows exactly once.
        log.warning("%s", error)


def _abandon(crew: _Crew) -> None:
    """Readers that do not end: what they still held is accounted as lost, a file's rest is read next time."""
    for reference, camera_id in crew.running.items():
        camera = crew.cameras[camera_id]
        ray.cancel(reference)
        if camera.live and camera.status is not None and camera.status.session_id:
            _ask(crew.committer.lost.remote(camera.status.session_id, camera.status.last_seq))
        log.error("camera %s: the reader did not stop within %d s and is ended", camera_id, _STOP_S)
    crew.running.clear()


def _ask(reference: Any) -> Any:
    """An actor's answer, or None from one that is restarting or too busy to answer now."""
    try:
        return ray.get(reference, timeout=5)
    except (RayActorError, GetTimeoutError):
        return None
