"""The Ray actor that owns the store: chunks in, commits, rolling figures and alerts out."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from risa_ray.config import ChainConfig
from risa_ray.frames import Chunk
from risa_ray.live.figures import Figures
from risa_ray.live.rolling import Rolling
from risa_ray.live.rules import Alert, Rules
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import compact, purge
from risa_ray.store.writer import SessionInfo, Writer
from risa_ray.streaming.process import resident_mb

log = logging.getLogger("risa.committer")

_UPKEEP_S = 300


@dataclass(frozen=True)
class CommitterStatus:
    """What the driver shows: figures now, alerts since the last call, totals, and the store's trouble if any."""

    figures: tuple[Figures, ...]
    alerts: tuple[Alert, ...]
    analysed: Mapping[str, int]
    faces: int
    dropped: int
    commits: int
    commit_s: float
    resident_mb: float
    trouble: str
    pid: int


class CommitterActor:
    """Takes chunks in any order of cameras, commits them every `flush_s`, and keeps the rolling figures.

    A failed commit (a full disk, say) loses nothing: the rows stay, nothing is acknowledged, readers stop taking
    frames when too much waits, and the next flush tries again.
    """

    def __init__(self, config: ChainConfig, run_id: str) -> None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._writer = Writer(config.data, run_id)
        self._rolling = Rolling(config)
        self._rules = Rules(config)
        self._marks: dict[str, int] = {}
        self._new_alerts: deque[Alert] = deque(maxlen=1000)
        self._analysed: dict[str, int] = {}
        self._faces = self._dropped = self._commits = 0
        self._commit_s = 0.0
        self._trouble = ""
        self._lock = threading.Lock()
        self._flush_s = config.pipeline.flush_s
        self._data, self._retention_days = config.data, config.privacy.retention_days
        threading.Thread(target=self._flush_forever, name="flush", daemon=True).start()
        threading.Thread(target=self._upkeep_forever, name="upkeep", daemon=True).start()

    def open_session(self, session: SessionInfo) -> int:
        """Register a session (again); returns the mark after which its frames are wanted."""
        with self._lock:
            mark = self._writer.open_session(session)
            self._marks[session.session_id] = mark
            return mark

    def add(self, chunk: Chunk) -> int:
        """Take a chunk; returns the session's acknowledged mark.

        Raises:
            GapError: an earlier chunk of the session is missing.
            KeyError: the session is not open here (the committer was restarted).
        """
        with self._lock:
            fresh = self._writer.add(chunk)
            if fresh is not None:
                self._count(fresh)
            return self._marks[chunk.session_id]

    def close_session(self, session_id: str, state: str, note: str) -> None:
        with self._lock:
            self._writer.close_session(session_id, state, note)

    def lost(self, session_id: str, last_seq: int) -> None:
        """Account for the frames of a dead reader, and close its session."""
        with self._lock:
            self._writer.lost(session_id, last_seq)
            self._writer.close_session(session_id, "broken", "the reader crashed")

    def heartbeat(self, camera_states: Mapping[str, tuple[str, str]]) -> None:
        with self._lock:
            self._writer.heartbeat(camera_states)

    def acknowledged(self, session_id: str) -> int:
        with self._lock:
            return self._marks[session_id]

    def flush(self) -> None:
        """Commit what waits.

        Raises:
            StoreError: the store cannot take it now; nothing is lost.
        """
        with self._lock:
            self._commit()

    def status(self) -> CommitterStatus:
        with self._lock:
            alerts = tuple(self._new_alerts)
            self._new_alerts.clear()
            return CommitterStatus(
                figures=tuple(self._rolling.figures(time.time())),
                alerts=alerts,
                analysed=dict(self._analysed),
                faces=self._faces,
                dropped=self._dropped,
                commits=self._commits,
                commit_s=self._commit_s,
                resident_mb=resident_mb(),
                trouble=self._trouble,
                pid=os.getpid(),
            )

    def _count(self, chunk: Chunk) -> None:
        self._rolling.add(chunk, time.time())
        analysed = sum(o.cause is None for o in chunk.outcomes)
        self._analysed[chunk.camera_id] = self._analysed.get(chunk.camera_id, 0) + analysed
        self._dropped += len(chunk.outcomes) - analysed
        self._faces += len(chunk.faces)

    def _commit(self) -> None:
        fired = self._rules.evaluate(self._rolling, time.time())
        if fired:
            self._writer.add_alerts(fired)
            self._new_alerts.extend(fired)
        began = time.perf_counter()
        self._marks.update(self._writer.flush())
        self._commit_s += time.perf_counter() - began
        self._commits += 1

    def _upkeep_forever(self) -> None:
        """Merge the small files of the flushes, and delete what outlived its retention, beside the commits."""
        while True:
            time.sleep(_UPKEEP_S)
            try:
                compact(self._data)
                if self._retention_days is not None:
                    purge(self._data, self._retention_days)
            except StoreError as error:
                log.warning("upkeep: %s; trying again in %d s", error, _UPKEEP_S)

    def _flush_forever(self) -> None:
        while True:
            time.sleep(self._flush_s)
            try:
                self.flush()
                self._trouble = ""
            except StoreError as error:
                if str(error) != self._trouble:
                    log.error("%s; trying again, nothing is lost", error)
                self._trouble = str(error)
            except Exception as error:
                # The thread must live on: without it nothing is ever acknowledged again, and nobody would know why.
                log.exception("commit failed; trying again")
                self._trouble = f"commit failed: {type(error).__name__}: {error}"
