"""The driver of a streaming run: starts the actors, supervises them, and owns the shutdown."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ray.exceptions import RayError

from risa_ray.config import CameraConfig, ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import Unit, units_of
from risa_ray.live.channels import read_secrets
from risa_ray.sources.base import Source
from risa_ray.store import runs
from risa_ray.store.context import write_context
from risa_ray.store.errors import StoreError
from risa_ray.store.recovery import recover
from risa_ray.streaming.analyzer import AnalyzerStatus
from risa_ray.streaming.calls import last_line, patiently
from risa_ray.streaming.cluster import check_resources
from risa_ray.streaming.committer import CommitterStatus
from risa_ray.streaming.crew import Crew
from risa_ray.streaming.lease import Lease
from risa_ray.streaming.reader import ReaderStatus

log = logging.getLogger("risa")

Watch = Callable[[], tuple[ChainConfig, Mapping[str, Source]] | None]

HEARTBEAT_S = 10.0
_STOP_S = 40.0
"""How long readers may take to have everything analysed and committed once they are asked to stop."""
_LAST_ANSWER_S = 20.0
"""How long the committer may take to come back for the last flush."""


@dataclass(frozen=True)
class Snapshot:
    """The run now, for whoever shows it."""

    run_id: str
    elapsed_s: float
    committer: CommitterStatus
    readers: Mapping[str, ReaderStatus]
    analyzers: tuple[AnalyzerStatus, ...]


@dataclass(frozen=True)
class StreamReport:
    """How a run ended. `stopped`: with files left to read; the same command resumes them."""

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


def stream(
    config: ChainConfig,
    sources: Mapping[str, Source],
    *,
    stop: threading.Event,
    on_snapshot: Callable[[Snapshot], None],
    interval_s: float = 0.5,
    watch: Watch = lambda: None,
) -> StreamReport:
    """Run a chain until its files end or `stop` is set. Ray must be connected.

    Args:
        config: with absolute paths.
        sources: what `preflight` found good.
        stop: set by Ctrl-C or SIGTERM; readers stop, and what was read is analysed and committed.
        on_snapshot: called every `interval_s` from this thread; what it raises ends the run, see `shown.Shown`.
        watch: asked every `interval_s` for an edited config, checked, with its sources; see `watch.ConfigWatch`.

    Raises:
        InputError: bad input, before any actor starts.
        StoreError: the store could not take the last rows.
    """
    check_resources(config)
    secrets = read_secrets(config.channels)
    began = time.monotonic()
    lease = Lease(open_run(config, units_of(config), sources))
    run_id = lease.run.run_id
    _recover(lease.run)
    crew = Crew(config, run_id, lease.run.generation, secrets)
    try:
        crew.wait_ready(stop)
        if not stop.is_set():
            crew.start_readers(lease.run)
            _supervise(crew, lease, stop, on_snapshot, began, interval_s, watch)
        try:
            patiently(lambda: crew.committer.flush.remote(True), _LAST_ANSWER_S)
        except RayError as error:
            raise StoreError(f"the last rows are not stored: {last_line(error)}") from None
        status = crew.last_committer_status(_LAST_ANSWER_S)
        analyzers, readers = crew.last_analyzer_statuses(), crew.statuses()
        stopped = not crew.finished or (stop.is_set() and not crew.started)
        if crew.losses:
            # Left open, so that the next start accounts for them.
            log.error("%d cameras' last frames are not accounted for; the next run does it", crew.losses)
        else:
            lease.end(runs.release if stopped else runs.complete)
    finally:
        lease.stop()
        crew.kill()
    elapsed = time.monotonic() - began
    on_snapshot(Snapshot(run_id, elapsed, status, readers, analyzers))
    return StreamReport(run_id, lease.run.resumed, stopped, elapsed, status, readers, analyzers)


def _recover(run: runs.RunRecord) -> None:
    """Account for the live frames of runs that were killed. Should it fail, the next start does it."""
    try:
        frames = recover(run)
    except StoreError as error:
        log.warning("frames of a run that died are not accounted for yet: %s", error)
        return
    if frames:
        log.warning("%d frames that a run had in hand when it died are accounted for", frames)


def open_run(config: ChainConfig, units: Sequence[Unit], sources: Mapping[str, Source]) -> runs.RunRecord:
    """Write the context tables, and start the run's record or take up the one that was interrupted.

    Raises:
        InputError: the same run is under way.
        StoreError: the tables cannot be written.
    """
    _write_context(config, units, sources)
    return runs.start_run(config.data, _described(units, sources), _settings_key(config))


def _write_context(config: ChainConfig, units: Sequence[Unit], sources: Mapping[str, Source]) -> None:
    sizes = {u.camera.id: size for u in units if (size := sources[u.key].size()) is not None}
    first: dict[str, datetime] = {}
    for unit in units:
        started = sources[unit.key].started_at()
        first[unit.camera.id] = min(started, first.get(unit.camera.id, started))
    write_context(config.data, config, first, sizes)


def _described(units: Sequence[Unit], sources: Mapping[str, Source]) -> dict[str, runs.RunSource]:
    """A file under other settings is another source, whose session is not gone on with."""
    described = {}
    for unit in units:
        source = sources[unit.key]
        fingerprint = f"{source.fingerprint()}|{_settings(unit.camera)}"
        described[unit.key] = runs.RunSource(unit.store.id, fingerprint, source.live, source.started_at())
    return described


def _settings_key(config: ChainConfig) -> str:
    """What of the config decides the rows: a file under other settings is another run, not the same one resumed.

    The sources are not in it: their fingerprints stand for them, and a URL may hold a password.
    """
    return "|".join([config.chain, config.pipeline.model, *(_settings(c) for _, c in config.cameras())])


def _settings(camera: CameraConfig) -> str:
    return camera.model_dump_json(exclude={"node", "realtime", "source"})


def _supervise(
    crew: Crew,
    lease: Lease,
    stop: threading.Event,
    show: Callable[[Snapshot], None],
    began: float,
    interval_s: float,
    watch: Watch,
) -> None:
    """Until every reader has ended."""
    deadline, next_beat = None, time.monotonic()
    edited, try_at, told = None, 0.0, ""
    while crew.busy:
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + _STOP_S
            crew.stop_readers()
        if deadline is not None and time.monotonic() > deadline:
            crew.abandon(_STOP_S)
            break
        if (newer := watch()) is not None:
            edited, try_at, told = newer, 0.0, ""
        if edited is not None and deadline is None and time.monotonic() >= try_at:
            try:
                _follow(crew, lease, *edited)
                edited = None
            except (InputError, StoreError) as error:
                if str(error) != told:
                    log.error("the edited config is not followed yet: %s; it is tried again", error)
                try_at, told = time.monotonic() + HEARTBEAT_S, str(error)
        crew.step(interval_s, stopping=deadline is not None)
        status = crew.committer_status()
        if status is not None:
            elapsed = time.monotonic() - began
            show(Snapshot(lease.run.run_id, elapsed, status, crew.statuses(), crew.analyzer_statuses()))
        if time.monotonic() >= next_beat:
            next_beat = max(next_beat, time.monotonic() - HEARTBEAT_S) + HEARTBEAT_S
            crew.heartbeat()


def _follow(crew: Crew, lease: Lease, config: ChainConfig, sources: Mapping[str, Source]) -> None:
    """Put an edited config into force. The store must know of it first: until it does, the old one stays.

    Raises:
        InputError: the store does not know of it, or a channel's secret is missing.
        StoreError: the store does not know of it.
    """
    units, secrets = units_of(config), read_secrets(config.channels)
    lease.amend(_described(units, sources), _settings_key(config))
    _write_context(config, units, sources)
    crew.reconfigure(config, secrets, lease.run)
