"""The Ray actor that owns the store: chunks in, commits, rolling figures and alerts out."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ray

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.frames import Chunk
from risa_ray.live.channels import Secrets
from risa_ray.live.figures import Figures
from risa_ray.live.rules import Alert
from risa_ray.store.alert_events import Acknowledged, acknowledge
from risa_ray.store.errors import StoreError
from risa_ray.store.writer import SessionInfo, Writer
from risa_ray.streaming.board import Live
from risa_ray.streaming.housekeeping import keep_house
from risa_ray.streaming.process import ProcessUse, keep_memory_flat, process_use
from risa_ray.streaming.reader import ReaderStatus
from risa_ray.streaming.scene import Scene

log = logging.getLogger("risa.committer")

_UPKEEP_S = 300
_FIRST_UPKEEP_S = 15
"""Models are loading until then, and a short file is done: a process more would take its cores."""
_EVALUATE_S = 0.25
_LAST_TRIES_S = 3.0
_HANGS_S = 10.0
"""A commit that takes longer is told on the live page."""


@dataclass(frozen=True)
class CommitterStatus:
    """What the driver shows: figures now, alerts it has not seen, totals, and the store's trouble if any.

    `outcomes`: per camera, frames by what became of them: "analysed" or the cause of their drop. All counts are those
    of this process; in the driver's snapshots they are of the whole run, see `totals.Totals`.
    """

    figures: tuple[Figures, ...]
    alerts: tuple[Alert, ...]
    alert_count: int
    outcomes: Mapping[str, Mapping[str, int]]
    faces: int
    commits: int
    commit_s: float
    trouble: str
    process: ProcessUse

    @property
    def analysed(self) -> dict[str, int]:
        """Analysed frames per camera."""
        return {camera_id: outcomes.get("analysed", 0) for camera_id, outcomes in self.outcomes.items()}

    @property
    def dropped(self) -> int:
        """Frames of all cameras that were not analysed, whatever the cause."""
        return sum(n for outcomes in self.outcomes.values() for what, n in outcomes.items() if what != "analysed")


def _writer(data: str, run_id: str, run_began: float | None) -> Writer:
    """A writer; a process that was restarted waits for the store, since Ray gives up an actor that cannot start."""
    context = ray.get_runtime_context() if ray.is_initialized() else None
    with warnings.catch_warnings(action="ignore"):  # Ray warns of a call that it makes itself
        restarted = context is not None and context.get_actor_id() and context.was_current_actor_reconstructed
    told = ""
    while True:
        try:
            return Writer(data, run_id, run_began=run_began)
        except (InputError, StoreError) as error:
            if not restarted:
                raise
            if str(error) != told:
                log.error("%s; waiting for the store", error)
            told = str(error)
            time.sleep(1)


class _Lock:
    """A lock that tells how long it has been held: whoever has it is waiting for the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = None
        self._lock.release()

    @property
    def held_s(self) -> float:
        since = self._since
        return 0.0 if since is None else time.monotonic() - since


class CommitterActor:
    """Takes chunks in any order of cameras, commits them every `flush_s`, and keeps the rolling figures.

    A failed commit (a full disk, say) loses nothing: the rows stay, nothing is acknowledged, readers stop taking
    frames when too much waits, and the next flush tries again.

    Args:
        run_began: Unix seconds; before it nobody looked at the cameras, see `Writer`.
        secrets: of the config's alert channels.
    """

    def __init__(
        self, config: ChainConfig, run_id: str, run_began: float | None = None, secrets: Secrets | None = None
    ) -> None:
        keep_memory_flat()
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._writer = _writer(config.data, run_id, run_began)
        self._scene = Scene(config, run_id, secrets or {})
        self._commits = 0
        self._commit_s = 0.0
        self._trouble = self._events_trouble = ""
        self._lock = _Lock()
        self._fired = threading.Event()
        self._flush_s = config.pipeline.flush_s
        self._data, self._retention = config.data, config.retention
        threading.Thread(target=self._flush_forever, name="flush", daemon=True).start()
        threading.Thread(target=self._evaluate_forever, name="alerts", daemon=True).start()
        # The config that this process was made with may be an old one, under which nothing may be purged.
        self._informed = threading.Event()
        threading.Thread(target=self._upkeep_forever, name="upkeep", daemon=True).start()

    @ray.method(concurrency_group="chunks")
    def open_session(self, session: SessionInfo) -> int:
        """Register a session (again); returns the mark after which its frames are wanted."""
        with self._lock:
            return self._writer.open_session(session)

    @ray.method(concurrency_group="chunks")
    def add(self, chunk: Chunk) -> int:
        """Take a chunk; returns the session's acknowledged mark.

        Raises:
            GapError: an earlier chunk of the session is missing.
            KeyError: the session is not open here (the committer was restarted).
        """
        with self._lock:
            fresh = self._writer.add(chunk)
            if fresh is not None:
                self._scene.add(fresh)
            return self._writer.acknowledged(chunk.session_id)

    @ray.method(concurrency_group="chunks")
    def close_session(self, session_id: str, state: str, note: str) -> None:
        with self._lock:
            self._writer.close_session(session_id, state, note)

    @ray.method(concurrency_group="chunks")
    def lost(self, session: SessionInfo, last_seq: int, reason: str) -> None:
        """Account for the frames of a dead reader, and close its sessions; a second call changes nothing.

        What was accounted is stored when this answers. Otherwise ask again: should this process die before the store
        takes it, nobody else knows of it.

        Raises:
            StoreError: the store cannot be read, or cannot take it now.
        """
        with self._lock:
            self._writer.open_session(session)
            counts = self._writer.lost(session.session_id, last_seq)
            self._writer.close_session(session.session_id, "broken", reason)
            for other in self._writer.open_sessions(session.place):  # one that the driver had not heard of yet
                counts = Counter(counts) + Counter(self._writer.lost(other, -1))
                self._writer.close_session(other, "broken", reason)
            self._scene.count(session.camera_id, counts)
            self._commit()

    def heartbeat(self, camera_states: Mapping[str, tuple[str, str]]) -> None:
        """Live cameras and their states, told about once a window; see `Writer.heartbeat`."""
        with self._lock:
            self._writer.heartbeat(camera_states)

    @ray.method(concurrency_group="live")
    def reconfigure(self, config: ChainConfig, secrets: Secrets | None = None) -> None:
        """Follow the config in force; figures and alert rules keep what they hold of what stays.

        To be sent to every new process, too: only then it closes days and purges.
        """
        # Without the store's lock: also while it hangs, a config may forbid what was allowed.
        self._scene.reconfigure(config, secrets or {})
        self._flush_s, self._retention = config.pipeline.flush_s, config.retention
        self._informed.set()

    def acknowledged(self, session_id: str) -> int:
        """The mark of a session, also of one that was closed lately.

        Raises:
            KeyError: the session is not open here (the committer was restarted).
        """
        with self._lock:
            return self._writer.acknowledged(session_id)

    def flush(self, last: bool = False) -> None:
        """Commit what waits.

        Args:
            last: nothing will come after it; see `Writer.flush`.

        Raises:
            StoreError: the store cannot take it now; nothing is lost. When it is the alerts alone that wait, all else
                is stored and acknowledged.
        """
        with self._lock:
            if last:
                self._scene.evaluate(last=True)
                self._scene.alerting.close(_LAST_TRIES_S)
            self._commit(last)
            if self._writer.alert_trouble:
                raise StoreError(self._writer.alert_trouble)

    @ray.method(concurrency_group="live")
    def live(self) -> Live:
        """The run now, for the live page and the API; answers whatever the store does."""
        hangs_s = self._lock.held_s
        return self._scene.live(
            f"the store has not answered for {hangs_s:.0f} s" if hangs_s > _HANGS_S else self._trouble
        )

    @ray.method(concurrency_group="live")
    def describe(self) -> tuple[int, ChainConfig]:
        """The config's revision, and the config as others may see it."""
        return self._scene.describe()

    @ray.method(concurrency_group="live")
    def analyzer_of(self, camera_id: str) -> Any:
        """The handle of the analyzer to ask for a camera's picture; None: its config allows none, or nobody has it."""
        return self._scene.analyzer_of(camera_id)

    def acknowledge(self, alert_id: str, by: str) -> Acknowledged:
        """Note that somebody sees to an alert of this run, see `alert_events.acknowledge`."""
        return acknowledge(self._data, alert_id, by, datetime.now(UTC))

    def status(
        self, seen_alerts: int, readers: Mapping[str, ReaderStatus], analyzers: Mapping[str, Any] | None = None
    ) -> CommitterStatus:
        """How things are.

        Args:
            seen_alerts: the `alert_count` of the last answer that arrived.
            readers: camera_id -> what is known of it, for those who ask `live`.
            analyzers: camera_id -> the analyzer that has it, of cameras whose picture may be shown.
        """
        self._scene.told(readers, analyzers or {})
        # A store that hangs keeps this from answering: that is how the driver knows of it.
        with self._lock:
            figures, outcomes, faces = self._scene.counts()
            alerts, alert_count = self._scene.alerts_since(seen_alerts)
            return CommitterStatus(
                figures=figures,
                alerts=alerts,
                alert_count=alert_count,
                outcomes=outcomes,
                faces=faces,
                commits=self._commits,
                commit_s=self._commit_s,
                trouble=self._trouble,
                process=process_use(),
            )

    def _commit(self, last: bool = False) -> None:
        self._scene.evaluate()  # what the last frames made true, too
        began = time.monotonic()
        self._take_alerts()
        self._writer.flush(last)
        self._commit_s += time.monotonic() - began
        self._commits += 1

    def _take_alerts(self) -> None:
        """Hand the store what fired, and what became of it before; should that wait, the rows do not."""
        self._writer.add_alerts(self._scene.alerting.take())
        try:
            self._scene.alerting.store()
            self._events_trouble = ""
        except StoreError as error:
            self._events_trouble = str(error)
        except Exception as error:
            trouble = f"what became of alerts cannot be stored: {type(error).__name__}: {error}"
            if trouble != self._events_trouble:
                log.exception("what became of alerts cannot be stored; rows are stored all the same")
            self._events_trouble = trouble

    def _upkeep_forever(self) -> None:
        """Close days, delete what outlived its retention, and merge the flushes' small files, beside the commits."""
        self._informed.wait()
        time.sleep(_FIRST_UPKEEP_S)
        while True:
            try:
                for line in keep_house(self._data, self._retention):
                    log.warning("upkeep: %s; trying again in %d s", line.removeprefix("upkeep: "), _UPKEEP_S)
            except Exception:
                # The thread must live on: a machine may be short of processes for a while.
                log.exception("upkeep failed; trying again in %d s", _UPKEEP_S)
            time.sleep(_UPKEEP_S)

    def _evaluate_forever(self) -> None:
        """An alert is to reach somebody within a second, which is no time to wait for the next commit."""
        while True:
            time.sleep(_EVALUATE_S)
            try:
                if self._scene.evaluate():
                    self._fired.set()  # another thread stores it: the store may hang
            except Exception:
                log.exception("alert rules could not be looked at; trying again")

    def _flush_forever(self) -> None:
        due = time.monotonic() + self._flush_s
        while True:
            if self._fired.wait(max(0.0, due - time.monotonic())):
                self._fired.clear()
                self._store_alerts()
            if time.monotonic() >= due:
                self._flush_now()
                due = time.monotonic() + self._flush_s

    def _store_alerts(self) -> None:
        """Commit what fired at once: the next commit of all else may be seconds away."""
        try:
            with self._lock:
                self._take_alerts()
                self._writer.flush_alerts()
        except Exception:
            log.exception("alerts could not be stored; the next commit tries again")

    def _flush_now(self) -> None:
        """Commit what waits; what cannot be stored now is told, and tried again."""
        try:
            self.flush()
            self._trouble = self._scene.alerting.trouble or self._events_trouble
        except StoreError as error:
            if str(error) != self._trouble:
                log.error("%s; trying again, nothing is lost", error)
            self._trouble = str(error)
        except Exception as error:
            # Its thread must live on: without it nothing is ever acknowledged again, and nobody would know why.
            log.exception("commit failed; trying again")
            self._trouble = f"commit failed: {type(error).__name__}: {error}"
