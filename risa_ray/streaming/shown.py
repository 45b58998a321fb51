"""Showing a run to several views, none of which can end it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress

from risa_ray.streaming.driver import Snapshot

log = logging.getLogger("risa")

View = Callable[[Snapshot], None]

_TRY_AGAIN_S = 60.0


class Shown:
    """Shows snapshots whenever they can be shown: a full disk under a log or a closed pipe must not end the run, nor
    keep what another view shows from being seen.

    Args:
        views: each gets every snapshot, but not for a minute after one of them failed with an `OSError`, and never
            again once its output has no reader.
    """

    def __init__(self, *views: View, clock: Callable[[], float] = time.monotonic) -> None:
        self._resume = dict.fromkeys(views, 0.0)
        self._clock = clock

    def __call__(self, snapshot: Snapshot) -> None:
        for view, resume_at in list(self._resume.items()):
            if self._clock() >= resume_at:
                self._show(view, snapshot)

    def _show(self, view: View, snapshot: Snapshot) -> None:
        try:
            view(snapshot)
        except (OSError, SystemExit) as error:
            # rich ends the process when nobody reads its output any more; 130 is a second Ctrl-C
            if isinstance(error, SystemExit) and error.code != 1:
                raise
            over = isinstance(error, SystemExit | BrokenPipeError)
            self._resume[view] = math.inf if over else self._clock() + _TRY_AGAIN_S
            with suppress(OSError):
                log.warning("the run cannot be shown (%s); it goes on", error or "nobody reads it")
