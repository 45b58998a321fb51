"""Keeping a run's record alive while the run goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from risa_ray.store import runs
from risa_ray.store.table import Table

log = logging.getLogger("risa")

_RENEW_S = 10.0


class Lease:
    """Renews a run's lease in a thread of its own, so that a store that hangs holds nobody up.

    Args:
        run: open, and of this process.

    Attributes:
        run: its record as it is now; an edited config changes it.
    """

    def __init__(self, run: runs.RunRecord) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._over = threading.Event()
        threading.Thread(target=self._renew_forever, name="lease", daemon=True).start()

    def amend(self, sources: Mapping[str, runs.RunSource], settings_key: str) -> None:
        """See `runs.amend`."""
        with self._lock:
            self.run = runs.amend(self.run, sources, settings_key)

    def end(self, how: Callable[[runs.RunRecord], None]) -> None:
        """End the run by `runs.complete` or `runs.release`."""
        self.stop()
        with self._lock:
            how(self.run)

    def stop(self) -> None:
        """Renew no more."""
        self._over.set()

    def _renew_forever(self) -> None:
        table: Table | None = None
        told = ""
        while not self._over.wait(_RENEW_S):
            with self._lock:
                if self._over.is_set():
                    return
                try:
                    table = table or Table(self.run.data, "runs")
                    runs.renew(self.run, table=table)
                    told = ""
                except Exception as error:
                    table = None
                    # The run goes on: should another take it up meanwhile, the marks keep the rows exactly once.
                    if str(error) != told:
                        log.warning("the run's record is not renewed: %s", error)
                    told = str(error)
