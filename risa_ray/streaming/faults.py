"""Faults that may come with every frame, told without flooding the log."""

from __future__ import annotations

import logging
import math
import time

_COUNT_EVERY_S = 60.0
"""How often a fault that goes on is told again, with a count."""


class Faults:
    """Tells each kind of fault once, and then at most once a minute how many more there were.

    Args:
        log: where it is told.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: dict[tuple[str, ...], tuple[float, int]] = {}  # when it was told last, and how many since

    def tell(self, place: tuple[str, ...], error: Exception | None, text: str, level: int = logging.WARNING) -> None:
        """Log `text`, with the error, unless one of its kind at this place was told a moment ago."""
        kind = (*place, type(error).__name__)
        now = time.monotonic()
        told_at, more = self._told.get(kind, (-math.inf, 0))
        if now - told_at < _COUNT_EVERY_S:
            self._told[kind] = told_at, more + 1
            return
        self._told[kind] = now, 0
        cause = f" ({type(error).__name__}: {error})" if error else ""
        self._log.log(level, "%s%s%s", text, cause, f"; {more} more since it was told last" if more else "")
