"""Accounting for what died: the live sessions that a run left open when its process was killed."""

from __future__ import annotations

import time
from collections.abc import Callable

from risa_ray.store.deaths import Death, deaths
from risa_ray.store.reached import Left, forget, left, tidy
from risa_ray.store.runs import RunRecord
from risa_ray.store.stored import open_sessions
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo, Writer

_ORPHANS_S = 10.0
"""Ray ends the actors of a driver that was killed; until then they read on."""
_NOTE = "the run's process died: of frames without a stored face it is not known whether they were analysed"


def recover(run: RunRecord, clock: Callable[[], float] = time.time) -> int:
    """Account for every frame that dead runs had, but no row of `frames` for.

    What they had is told by the faces that are stored, by marks once a second, and by what their readers noted on this
    machine (`reached`).

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
    tidy(clock())
    for death in deaths(run, clock):
        frames += _account(run, death, clock)
        _settle(run.data, death)
    return frames


def _account(run: RunRecord, death: Death, clock: Callable[[], float]) -> int:
    tables = Table(run.data, "frames"), Table(run.data, "observations")
    # Whoever resumed a run may live, and its sessions have the same run_id; `run` itself has none yet.
    shared = death.resumed and death.run_id != run.run_id
    found = {left.session_id: left for left in open_sessions(*tables, death, shared=shared)}
    noted = {left.session.session_id: left for left in _noted(death)}
    if not found and not noted:
        return 0
    writer = Writer(run.data, death.run_id, clock)
    frames = 0
    for session_id in [*found, *(noted.keys() - found.keys())]:
        if session_id in found:
            open_, last_seq = found[session_id], noted[session_id].last_seq if session_id in noted else -1
            info, until = SessionInfo(open_.store_id, open_.camera_id, session_id, True, open_.until), open_.until
        else:
            info, last_seq = noted[session_id].session, noted[session_id].last_seq
            until = info.started_at
        if writer.open_session(info) >= last_seq and session_id not in found:
            continue  # the store had told of its end already
        frames += sum(writer.lost(session_id, last_seq, until).values())
        writer.close_session(session_id, "broken", _NOTE)
    writer.flush()
    for session_id in noted:
        forget(death.run_id, session_id)
    return frames


def _noted(death: Death) -> list[Left]:
    """How far the readers of this death got, that ran on this machine. They may outlive their driver by a moment."""
    deadline = time.monotonic() + _ORPHANS_S
    while True:
        mine = [one for one in left(death.run_id) if one.generation <= death.generation]
        if time.monotonic() > deadline or all(one.process.is_dead() is not False for one in mine):
            return mine
        time.sleep(0.05)


def _settle(data: str, death: Death) -> None:
    """A death was accounted for: nobody need look at it again, unless it is not certain.

    Raises:
        StoreError: the record cannot be written.
    """
    if not death.certain:
        return
    table = Table(data, "runs")

    def settle() -> None:
        if table.mark(death.mark) < death.mark_ms:
            table.commit(None, {death.mark: death.mark_ms})

    table.decide(settle)
