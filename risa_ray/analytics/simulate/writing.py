"""The commits of a simulation."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from types import TracebackType

import numpy as np
import pyarrow as pa

from risa_ray.analytics.simulate.sessions import Session
from risa_ray.frames import from_unix
from risa_ray.store.schema import RUNS, WINDOW_S
from risa_ray.store.table import Table

_COMMIT_ROWS = 500_000
"""Days of stores are written together until there are as many observations."""


class DayWriter:
    """Appends days of stores to `observations` and `frames`; used as a context manager.

    Args:
        data: path of the dataset.
        flush_s: seconds of capture time in a commit; None: whole days.
    """

    def __init__(self, data: str, flush_s: float | None = None) -> None:
        self._observations = Table(data, "observations")
        self._frames = Table(data, "frames")
        self._flush_s = flush_s
        self._waiting: list[tuple[pa.Table, pa.Table]] = []
        self._marks: dict[str, int] = {}
        self._rows = 0
        self.observations = 0
        self.frames = 0

    def __enter__(self) -> DayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()

    def add(self, observations: pa.Table, frames: pa.Table, marks: dict[str, int]) -> None:
        """Take a day's rows, sorted by time; `marks`: session -> its last frame.

        Raises:
            StoreError: they cannot be written.
        """
        self.observations += len(observations)
        self.frames += len(frames)
        self._marks |= marks
        self._waiting.append((observations, frames))
        self._rows += len(observations)
        if self._flush_s is not None or self._rows >= _COMMIT_ROWS:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        observations, frames = (pa.concat_tables(tables) for tables in zip(*self._waiting, strict=True))
        if self._flush_s is None:
            self._observations.commit(observations, self._marks)
            self._frames.commit(frames, self._marks)
        else:
            _flush(self._observations, observations, "captured_at", self._flush_s, self._marks)
            _flush(self._frames, frames, "window_start", max(self._flush_s, WINDOW_S), self._marks)
        self._waiting, self._marks, self._rows = [], {}, 0


def write_run(data: str, run_id: str, sessions: list[tuple[str, Session]]) -> None:
    """Record the simulation as one live run that is complete.

    Args:
        sessions: store_id and session, of all cameras.

    Raises:
        StoreError: it cannot be written.
    """
    began = min(session.start_us for _, session in sessions)
    ended = max(int(session.times(np.array([session.frames]))[0]) for _, session in sessions)
    key = hashlib.blake2b(run_id.encode(), digest_size=8).hexdigest()
    event = {
        "run_id": run_id,
        "key": key,
        "generation": 0,
        "host": "simulated",
        "pid": 0,
        "process": "",
        "lease_s": 0.0,
        "sessions": [
            {
                "camera_id": session.camera_id,
                "store_id": store_id,
                "session_id": session.id,
                "started_at": from_unix(session.start_us / 1e6),
                "live": True,
            }
            for store_id, session in sessions
        ],
    }
    events = [event | {"state": "open", "at": began}, event | {"state": "complete", "at": ended}]
    Table(data, "runs").commit(pa.Table.from_pylist(events, schema=RUNS), {key: 0, run_id: ended // 1000})


def _flush(table: Table, rows: pa.Table, column: str, seconds: float, marks: dict[str, int]) -> None:
    slices = np.asarray(rows[column].cast(pa.int64())) // int(seconds * 1_000_000)
    borders = [0, *(np.flatnonzero(np.diff(slices)) + 1).tolist(), len(rows)]
    for i, (begin, end) in enumerate(pairwise(borders)):
        table.commit(rows.slice(begin, end - begin), marks if i == 0 else {})
