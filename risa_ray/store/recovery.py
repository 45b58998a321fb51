"""Accounting for what died: the live sessions that a run left open when its process was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from risa_ray.config import redact
from risa_ray.frames import from_unix
from risa_ray.store.errors import ConflictError, StoreError
from risa_ray.store.runs import ATTEMPTS, RESUME_DAYS, RunRecord, holder, is_alive
from risa_ray.store.stored import open_sessions
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo, Writer

_DOUBT_S = 300
"""A process elsewhere whose lease is over may still live, cut off for a while; after so long it counts as dead."""
_NOTE = "the run's process died: of frames without a stored face it is not known whether they were analysed"


class Death(NamedTuple):
    """A run that was open when its process died.

    Attributes:
        cameras: its live ones, as (store_id, camera_id).
        since, until: the process that died opened it, and was surely dead; aware UTC.
        resumed: whether another process took the run up, at `until`; else that is the end of its lease.
        certain: whether the process is known to be gone; else it may only have been cut off for a while.
    """

    run_id: str
    key: str
    generation: int
    cameras: frozenset[tuple[str, str]]
    since: datetime
    until: datetime
    resumed: bool
    certain: bool


def deaths(run: RunRecord, clock: Callable[[], float] = time.time) -> list[Death]:
    """Runs with live cameras that died and were not accounted for since, oldest first; those of the last month.

    A run that is alive, by its process or its lease, is not among them, whatever its key. When it began says nothing:
    a run may be open for years.

    Args:
        run: the one that asks.

    Raises:
        StoreError: the records cannot be read.
    """
    table = Table(run.data, "runs")
    events = table.read().to_pylist()
    ended = {(e["key"], e["generation"]) for e in events if e["state"] != "open"}
    newest: dict[str, int] = {}
    for event in events:
        newest[event["key"]] = max(event["generation"], newest.get(event["key"], -1))
    found = []
    for event in sorted(events, key=lambda e: e["at"]):
        key, generation, run_id = event["key"], event["generation"], event["run_id"]
        if (key, generation) in ended or (key, generation) == (run.key, run.generation):
            continue
        own = [e for e in events if e["run_id"] == run_id]
        cameras = frozenset((s["store_id"], s["camera_id"]) for e in own for s in e["sessions"] if s["live"])
        alive = generation == newest[key] and is_alive(table, event, clock())
        resumed_at = min((e["at"] for e in own if e["at"] > event["at"]), default=None)
        until = resumed_at or from_unix(max(0, table.mark(run_id)) / 1000)
        long_ago = until < from_unix(clock()) - timedelta(days=RESUME_DAYS)
        if alive or not cameras or long_ago or table.mark(_accounted(key)) >= generation:
            continue
        # Under its keys before an edited config, too: their sessions went on.
        since = min(e["at"] for e in own if holder(e) == holder(event))
        certain = holder(event).is_dead() is True or clock() > until.timestamp() + _DOUBT_S
        found.append(Death(run_id, key, generation, cameras, since, until, resumed_at is not None, certain))
    return found


def recover(run: RunRecord, clock: Callable[[], float] = time.time) -> int:
    """Account for every frame that dead runs had stored faces of, or marked as seen, but no row of `frames` for.

    All dead runs of the dataset are looked after, not `run`'s predecessor alone, since an edited config makes another
    run of the same cameras. Each death is looked after once, whoever comes first, and again while it is not certain; at
    the same time beside others, each frame is still accounted for once. Sessions of files are left alone: whoever
    resumes them counts them.

    Args:
        run: the one that was just started, before its cameras are read.

    Returns:
        Number of frames.

    Raises:
        StoreError: a table cannot be read or written.
    """
    frames = 0
    for death in deaths(run, clock):
        frames += _account(run, death, clock)
        _settle(run.data, death)
    return frames


def _account(run: RunRecord, death: Death, clock: Callable[[], float]) -> int:
    tables = Table(run.data, "frames"), Table(run.data, "observations")
    # Whoever resumed a run may live, and its sessions have the same run_id; `run` itself has none yet.
    shared = death.resumed and death.run_id != run.run_id
    found = open_sessions(*tables, death.run_id, death.cameras, death.since, death.until, shared=shared)
    if not found:
        return 0
    writer = Writer(run.data, death.run_id, clock)
    frames = 0
    for left in found:
        info = SessionInfo(left.store_id, left.camera_id, left.session_id, True, left.until)
        writer.open_session(info)
        frames += sum(writer.lost(info.session_id, -1, left.until).values())
        writer.close_session(info.session_id, "broken", _NOTE)
    writer.flush()
    return frames


def _settle(data: str, death: Death) -> None:
    """A death was accounted for: nobody need look at it again, unless it is not certain.

    Raises:
        StoreError: the record cannot be written.
    """
    if not death.certain:
        return
    table = Table(data, "runs")
    for _ in range(ATTEMPTS):
        table.refresh()
        if table.mark(_accounted(death.key)) >= death.generation:
            return
        with suppress(ConflictError):
            table.commit(None, {_accounted(death.key): death.generation})
            return
    raise StoreError(f"{redact(table.path)}: too many writers at once; try again")


def _accounted(key: str) -> str:
    return f"accounted/{key}"
