"""Which runs died: those that are open in the records, and whose process is gone or was silent for too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from risa_ray.frames import from_unix
from risa_ray.store.runs import RESUME_DAYS, RunRecord, holder, is_alive
from risa_ray.store.table import Table

_DOUBT_S = 300
"""A process elsewhere whose lease is over may still live, cut off for a while; after so long it counts as dead."""


class Death(NamedTuple):
    """A run that was open when its process died.

    Attributes:
        cameras: its live ones, as (store_id, camera_id).
        since, until: the process that died opened it, and was surely dead; aware UTC.
        heard: when its process was last heard of, as far as is known, and some seconds; aware UTC.
        resumed: whether another process took the run up, at `until`; else that is the end of its lease.
        certain: whether the process is known to be gone; else it may only have been cut off for a while.
        others: runs that may have been under way beside it.
    """

    run_id: str
    key: str
    generation: int
    cameras: frozenset[tuple[str, str]]
    since: datetime
    until: datetime
    heard: datetime
    resumed: bool
    certain: bool
    others: frozenset[str]

    @property
    def mark(self) -> str:
        """What tells until when it was looked after: one that was only cut off renews its lease, and dies later."""
        return f"accounted/{self.key}/{self.generation}"

    @property
    def mark_ms(self) -> int:
        return round(self.until.timestamp() * 1000)


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
        if alive or not cameras or long_ago:
            continue
        # Under its keys before an edited config, too: their sessions went on.
        since = min(e["at"] for e in own if holder(e) == holder(event))
        certain = holder(event).is_dead() is True or clock() > until.timestamp() + _DOUBT_S
        # It renews every third of a lease. When it did so last is lost where somebody took the run up.
        heard = until if resumed_at else until - timedelta(seconds=event["lease_s"] / 2)
        others = _beside(events, since, until) - {run_id}
        death = Death(run_id, key, generation, cameras, since, until, heard, resumed_at is not None, certain, others)
        if table.mark(death.mark) < death.mark_ms:
            found.append(death)
    return found


def _beside(events: list[dict[str, Any]], since: datetime, until: datetime) -> frozenset[str]:
    """Runs but those that ended before `since`, or began after `until`."""
    newest = {e["run_id"]: e for e in sorted(events, key=lambda e: e["at"])}
    began = {e["run_id"] for e in events if e["at"] <= until}
    return frozenset(r for r in began if newest[r]["state"] in ("open", "superseded") or newest[r]["at"] >= since)
