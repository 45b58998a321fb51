"""Accounting for what died: the live sessions that a run left open when its process was killed."""

from __future__ import annotations

import time
from collections.abc import Callable

from risa_ray.store.deaths import Death, deaths
from risa_ray.store.runs import RunRecord
from risa_ray.store.stored import open_sessions
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo, Writer

_NOTE = "the run's process died: of frames without a stored face it is not known whether they were analysed"


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
    found = open_sessions(*tables, death, shared=shared)
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

    def settle() -> None:
        if table.mark(death.mark) < death.mark_ms:
            table.commit(None, {death.mark: death.mark_ms})

    table.decide(settle)
