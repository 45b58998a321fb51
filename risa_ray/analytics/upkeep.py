"""What a job does for the store beside its commits: closes days that are over, deletes what outlived its retention."""

from __future__ import annotations

import time
from collections.abc import Callable

from risa_ray.analytics.closing import close_days
from risa_ray.config import RetentionConfig
from risa_ray.store.purge import cutoff, purge_outlived


def upkeep(data: str, retention: RetentionConfig | None, clock: Callable[[], float] = time.time) -> None:
    """Close days, and delete rows that outlived their retention, in this order: tracks outlive their observations.

    Args:
        data: path or URL of the dataset.
        retention: None deletes nothing.
        clock: Unix seconds.

    Raises:
        StoreError: a table cannot be read or written.
    """
    now = clock()
    raw_days = retention.observations if retention else None
    seal_before = None if raw_days is None else cutoff(raw_days, now)
    close_days(data, seal_before, clock=lambda: now)
    if retention is not None:
        purge_outlived(data, retention, clock=lambda: now)
