"""What a job does for the store beside its commits: closes days that are over, deletes what outlived its retention."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from risa_ray.analytics.closing import close_days
from risa_ray.config import RetentionConfig, redact
from risa_ray.store.purge import cutoff, purge_outlived

log = logging.getLogger("risa")


def upkeep(data: str, retention: RetentionConfig | None, clock: Callable[[], float] = time.time) -> None:
    """Close days, and delete rows that outlived their retention, in this order: tracks outlive their observations.

    What fails is told in one line of the log, and tried again the next time. Deleting does not wait for closing: while
    days cannot be closed, observations get one more day, and go then, their tracks with them. Retention is a promise.

    Args:
        data: path or URL of the dataset.
        retention: None deletes nothing.
        clock: Unix seconds.
    """
    now = clock()
    raw_days = retention.observations if retention else None
    seal_before = None if raw_days is None else cutoff(raw_days, now)
    closed = _attempt("days are not closed", partial(close_days, data, seal_before, clock=lambda: now))
    if retention is not None:
        if not closed and raw_days is not None:
            retention = retention.model_copy(update={"observations": raw_days + 1})
        _attempt("old rows are not deleted", partial(purge_outlived, data, retention, clock=lambda: now))


def _attempt(failed: str, work: Callable[[], object]) -> bool:
    try:
        work()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # Delta's Rust core panics on some I/O faults, which is no `Exception` to Python.
        log.warning("upkeep: %s: %s", failed, redact(" ".join(str(error).split())) or type(error).__name__)
        return False
    return True
