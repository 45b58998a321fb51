"""Run records: which sessions a run has, so that an interrupted run goes on where it was.

The table `runs` is a list of events; the last one of a run counts. Two marks go with it: per key the number of times a
run of it was started or resumed (two that start at once conflict, and one loses), and per run the end of its lease.
Marks are forgotten after a month (`table.MARK_DAYS`), those of sessions too, so an older run is never resumed.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from risa_ray.config import redact
from risa_ray.errors import InputError
from risa_ray.frames import from_unix
from risa_ray.store.errors import StoreError
from risa_ray.store.paths import ensure_writable
from risa_ray.store.process import ProcessId
from risa_ray.store.schema import RUNS
from risa_ray.store.table import MARK_DAYS, Table

RESUME_DAYS = MARK_DAYS - 1
_UNFINISHED = ("open", "released")


class RunSource(NamedTuple):
    """What `start_run` must know of a camera's source; `started_at` is aware UTC."""

    store_id: str
    fingerprint: str
    live: bool
    started_at: datetime


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A camera's session. `fingerprint` of its source is known to the process that runs it alone."""

    session_id: str
    started_at: datetime
    store_id: str = ""
    live: bool = False
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """An open or ended run.

    Attributes:
        key: hash of what is run; an open run of the same key is resumed.
        sessions: camera_id -> session.
        state: open, released (given up before its end, to be resumed), complete, stopped, broken, superseded (an edited
            config gave it another key, under which it goes on).
        resumed: whether its sessions may hold rows already.
        generation: how often a run of this key was started or resumed.
    """

    run_id: str
    key: str
    host: str
    pid: int
    sessions: Mapping[str, SessionRecord]
    state: str
    data: str
    lease_s: float
    generation: int
    resumed: bool = False
    process: str = ""


def start_run(
    data: str,
    sources: Mapping[str, RunSource | tuple[str, str, bool, datetime]],
    settings_key: str,
    lease_s: float = 30,
    clock: Callable[[], float] = time.time,
) -> RunRecord:
    """Start a run, or resume the interrupted one of the same sources and settings.

    An open run is interrupted when its process was on this machine and is gone, or elsewhere (or this very process)
    and its lease is over; another process here that lives keeps its run however late it renews. Resumed, a run keeps
    its id and the sessions of its files; live cameras get new sessions. One that began so long ago that the marks of
    its first files may be forgotten is not resumed, however lately its lease ended: they would be stored twice.

    Args:
        data: path or URL of the dataset.
        sources: camera_id -> source.
        settings_key: what else makes two runs the same work (model, detector, ...).
        lease_s: how long the run counts as alive without `renew`.

    Raises:
        InputError: the same run is open and alive, or the path cannot be written.
        StoreError: the record cannot be written.
    """
    table = Table(ensure_writable(data), "runs")
    named = {camera_id: RunSource(*source) for camera_id, source in sources.items()}
    key = run_key(named, settings_key)

    def start() -> RunRecord:
        last = _last_event(table, key)
        generation = max(table.mark(key), last["generation"] if last else -1)
        resumed = last is not None and last["state"] in _UNFINISHED
        if last is not None and last["state"] == "open":
            _refuse_alive(table, last, clock(), data)
        if last is not None and resumed:
            resumed = _began_at(table, last["run_id"]) > from_unix(clock()) - timedelta(days=RESUME_DAYS)
        run = _record(last if resumed else None, named, key, data, lease_s, generation + 1)
        table.commit(_event(run, clock()), {key: run.generation, run.run_id: _lease_end(clock(), lease_s)})
        return run

    return table.decide(start)


def amend(
    run: RunRecord,
    sources: Mapping[str, RunSource | tuple[str, str, bool, datetime]],
    settings_key: str,
    clock: Callable[[], float] = time.time,
) -> RunRecord:
    """Go on with a run under an edited config: it moves to the key of the new sources and settings.

    Both keys change in one commit, so the run can be resumed under the new one alone. Files whose fingerprint is the
    same keep their sessions; others, and all live cameras, get new ones for those readers that are started anew.
    One that failed may be durable all the same; called again with the same record, it goes on from what is stored.

    Args:
        run: open, and of this process.
        sources, settings_key: as of `start_run`.

    Raises:
        InputError: another run of the same sources and settings is open and alive.
        StoreError: as `renew`.
    """
    named = {camera_id: RunSource(*source) for camera_id, source in sources.items()}
    key = run_key(named, settings_key)
    table = Table(run.data, "runs")

    def move() -> RunRecord:
        held = _held(table, run)
        if key == held.key != run.key:
            # It is there already: under these sessions whoever resumes it goes on.
            known = {c: replace(held.sessions[c], fingerprint=source.fingerprint) for c, source in named.items()}
            return replace(held, sessions=known)
        sessions = {camera_id: _amended(run.sessions.get(camera_id), source) for camera_id, source in named.items()}
        if key == held.key:
            return replace(held, sessions=sessions)
        last = _last_event(table, key)
        if last is not None and last["state"] == "open":
            _refuse_alive(table, last, clock(), run.data)
        generation = max(table.mark(key), last["generation"] if last else -1) + 1
        amended = replace(held, key=key, generation=generation, sessions=sessions)
        now = clock()  # of both events, by which `_held` finds the one for the other
        events = [_event(replace(held, state="superseded"), now), _event(amended, now)]
        marks = {held.key: held.generation + 1, key: generation, run.run_id: _lease_end(now, run.lease_s)}
        table.commit(pa.concat_tables(events), marks)
        return amended

    return table.decide(move)


def renew(run: RunRecord, clock: Callable[[], float] = time.time, table: Table | None = None) -> None:
    """Extend the lease; call it at least every third of `lease_s`.

    Args:
        table: `runs`, where it is at hand: to open a table anew starts a dozen threads of Delta's.

    Raises:
        StoreError: the record cannot be written, or another process has resumed the run meanwhile.
    """
    _change(run, "open", run.lease_s, clock, table)


def complete(run: RunRecord, state: str = "complete", clock: Callable[[], float] = time.time) -> None:
    """End a run; the same work started again is a new run with new sessions. `state` is complete, stopped or broken.

    Raises:
        StoreError: as `renew`.
    """
    _change(run, state, 0, clock)


def release(run: RunRecord, clock: Callable[[], float] = time.time) -> None:
    """Give up a run that was stopped before its end; the same work started again resumes it at once.

    Raises:
        StoreError: as `renew`.
    """
    _change(run, "released", 0, clock)


def run_key(sources: Mapping[str, RunSource], settings_key: str) -> str:
    """16 hex digits that two runs share when they are the same work."""
    work = [sorted((camera, s.store_id, s.fingerprint) for camera, s in sources.items()), settings_key]
    return hashlib.blake2b(json.dumps(work).encode(), digest_size=8).hexdigest()


def _change(run: RunRecord, state: str, lease_s: float, clock: Callable[[], float], table: Table | None = None) -> None:
    """Move the end of the lease; with another state than "open" an event tells of it."""
    table = table or Table(run.data, "runs")

    def change() -> None:
        held = _held(table, run)
        event = None if state == held.state else _event(replace(held, state=state), clock())
        # The key goes along so that a resume at the same moment conflicts.
        table.commit(event, {held.key: held.generation, held.run_id: _lease_end(clock(), lease_s)})

    table.decide(change)


def _held(table: Table, run: RunRecord) -> RunRecord:
    """The run as the store has it: a commit of `amend` that seemed to fail may have moved it to another key.

    Raises:
        StoreError: another process has resumed it.
    """
    if table.mark(run.key) == run.generation:
        return run
    events = table.read(filters=[("run_id", "=", run.run_id)]).to_pylist()
    moves = {(e["key"], e["generation"]): e["at"] for e in events if e["state"] == "superseded"}
    opened = {e["at"]: e for e in events if e["state"] == "open"}
    held = run
    while (at := moves.pop((held.key, held.generation), None)) in opened:
        event = opened[at]
        names = ("session_id", "started_at", "store_id", "live")
        sessions = {s["camera_id"]: SessionRecord(*(s[name] for name in names)) for s in event["sessions"]}
        held = replace(held, key=event["key"], generation=event["generation"], sessions=sessions)
    if table.mark(held.key) != held.generation:
        raise StoreError(f"run {run.run_id} was resumed by another process; this one must stop")
    return held


def is_alive(table: Table, event: Mapping[str, Any], now: float) -> bool:
    """Whether the process of an open run is there, or may be: one elsewhere counts as alive until its lease is over."""
    return _lives_here(event) or (holder(event).is_dead() is not True and table.mark(event["run_id"]) / 1000 > now)


def _lives_here(event: Mapping[str, Any]) -> bool:
    process = holder(event)
    return process.is_dead() is False and process != ProcessId.own()


def holder(event: Mapping[str, Any]) -> ProcessId:
    """The process of an event."""
    return ProcessId(event["host"], event["pid"], event["process"])


def _refuse_alive(table: Table, last: Mapping[str, Any], now: float, data: str) -> None:
    if not is_alive(table, last, now):
        return
    left_s = table.mark(last["run_id"]) / 1000 - now
    wait = "" if _lives_here(last) else f" (or wait {math.ceil(left_s)} s if it has crashed)"
    raise InputError(
        f"{redact(data)}: run {last['run_id']} of the same sources is under way on {last['host']} "
        f"(process {last['pid']}); stop it{wait}, or choose another data path"
    )


def _record(
    last: Mapping[str, Any] | None,
    sources: Mapping[str, RunSource],
    key: str,
    data: str,
    lease_s: float,
    generation: int,
) -> RunRecord:
    known = {s["camera_id"]: s for s in last["sessions"]} if last else {}
    sessions = {}
    for camera_id, source in sources.items():
        session_id, started_at = secrets.token_hex(6), source.started_at
        if camera_id in known and not source.live:
            session_id, started_at = known[camera_id]["session_id"], known[camera_id]["started_at"]
        sessions[camera_id] = SessionRecord(session_id, started_at, *_described(source))
    me = ProcessId.own()
    run_id = last["run_id"] if last else secrets.token_hex(6)
    return RunRecord(
        run_id, key, me.host, me.pid, sessions, "open", data, lease_s, generation, last is not None, me.token
    )


def _amended(known: SessionRecord | None, source: RunSource) -> SessionRecord:
    same = known is not None and (known.store_id, known.live, known.fingerprint) == _described(source)
    if known is not None and same and not source.live:
        return known
    return SessionRecord(secrets.token_hex(6), source.started_at, *_described(source))


def _described(source: RunSource) -> tuple[str, bool, str]:
    return source.store_id, source.live, source.fingerprint


def _last_event(table: Table, key: str) -> dict[str, Any] | None:
    events: list[dict[str, Any]] = table.read(filters=[("key", "=", key)]).to_pylist()
    # A run that ended or was released has two events of one generation, and its end is the later.
    return max(events, key=lambda e: (e["generation"], e["state"] != "open"), default=None)


def _began_at(table: Table, run_id: str) -> datetime:
    began: datetime = min(event["at"] for event in table.read(filters=[("run_id", "=", run_id)]).to_pylist())
    return began


def _event(run: RunRecord, now: float) -> pa.Table:
    sessions = [
        {
            "camera_id": camera_id,
            "store_id": s.store_id,
            "session_id": s.session_id,
            "started_at": s.started_at,
            "live": s.live,
        }
        for camera_id, s in run.sessions.items()
    ]
    row = {
        "run_id": run.run_id,
        "key": run.key,
        "generation": run.generation,
        "state": run.state,
        "at": from_unix(now),
        "host": run.host,
        "pid": run.pid,
        "process": run.process,
        "lease_s": run.lease_s,
        "sessions": sessions,
    }
    return pa.Table.from_pylist([row], schema=RUNS)


def _lease_end(now: float, lease_s: float) -> int:
    return math.ceil((now + lease_s) * 1000)
