"""Accounting for what died: the live sessions that a run left open when its process was killed."""

from __future__ import annotations

import time
from collections.abc import Callable

from risa_ray.store.runs import Death, RunRecord, accounted, deaths
from risa_ray.store.stored import open_sessions
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo, Writer

_NOTE = "the run's process died: of frames without a stored face it is not known whether they were analysed"


def recover(run: RunRecord, clock: Callable[[], float] = time.time) -> int:
    """Account for every frame that dead runs had stored faces of, or marked as seen, but no row of `frames` for.

    All dead runs of the dataset are looked after, not `run`'s predecessor alone, since an edited config makes another
    run of the same cameras. Each death is looked after once, whoever comes first; at the same time beside others, each
    frame is still accounted for once. Sessions of files are left alone: whoever resumes them counts them.

    Args:
        run: the one that was just started, before its cameras are read.

    Returns:
        Number of frames.

    Raises:
        StoreError: a table cannot be read or written.
    """
    frames = 0
    for death in deaths(run, clock):
        frames += _account(run.data, death, clock)
        accounted(run.data, death)
    return frames


def _account(data: str, death: Death, clock: Callable[[], float]) -> int:
    tables = Table(data, "frames"), Table(data, "observations")
    found = open_sessions(*tables, death.run_id, death.cameras, death.since, death.until)
    if not found:
        return 0
    writer = Writer(data, death.run_id, clock)
    frames = 0
    for left in found:
        info = SessionInfo(left.store_id, left.camera_id, left.session_id, True, left.until)
        writer.open_session(info)
        frames += sum(writer.lost(info.session_id, -1, left.until).values())
        writer.close_session(info.session_id, "broken", _NOTE)
    writer.flush()
    return frames
