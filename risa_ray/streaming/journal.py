"""What an analyzer is at work on, kept where the process that takes its place finds it."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger("risa.analyzer")

Key = tuple[str, int]
"""session_id and frame_seq."""

_FORGOTTEN_S = 86_400.0
_SUSPECTS = 200
"""So many are kept: a live camera's frame may be stale when its turn comes again, and is then never cleared."""
_MEMORY = Path("/dev/shm")  # noqa: S108 the names carry a run's id
"""A folder in memory, on Linux."""

POISON_DEATHS = 2
"""Deaths of a process with one frame alone at work, after which that frame counts as poison."""


class Journal:
    """Finds the frame that kills the process.

    What is at work when a process dies is suspected: its successor takes each of those frames alone. A frame that was
    alone at work when the process died, twice, is poison. The file, written twice for every batch, lies in memory where
    the system has a folder there, since it need only outlive the process; a successor on another node begins anew.

    Args:
        name: the same for a process and its successor; None keeps nothing.
    """

    def __init__(self, name: str | None) -> None:
        self._path = _folder() / f"risa-{name}.journal" if name else None
        self._closed = self._told = False
        _tidy()
        left = self._read()
        self._deaths: dict[Key, int] = {(session, seq): deaths for session, seq, deaths in left["suspects"]}
        for session, seq in left["at_work"]:
            deaths = self._deaths.pop((session, seq), 0)  # the newest comes last
            self._deaths[session, seq] = deaths + (len(left["at_work"]) == 1)
        # Those of this death are all kept, or the guilty one might be forgotten every time.
        kept = max(_SUSPECTS, len(left["at_work"]))
        self._deaths = dict(list(self._deaths.items())[-kept:])
        self._write([])

    def suspects(self, key: Key) -> bool:
        """Whether a frame is to be analysed alone."""
        return key in self._deaths

    def poison(self, key: Key) -> bool:
        """Whether a frame is to be analysed never again."""
        return self._deaths.get(key, 0) >= POISON_DEATHS

    def begin(self, keys: Sequence[Key]) -> None:
        """Work on these frames begins."""
        self._write(keys)

    def end(self, keys: Sequence[Key]) -> None:
        """These frames did no harm."""
        for key in keys:
            self._deaths.pop(key, None)
        self._write([])

    def close(self) -> None:
        """There will be no successor."""
        self._closed = True
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            left: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
        except (OSError, ValueError):  # no predecessor
            left = {}
        return {"at_work": [], "suspects": []} | left

    def _write(self, keys: Sequence[Key]) -> None:
        if self._path is None or self._closed:
            return
        suspects = [(*key, deaths) for key, deaths in self._deaths.items()]
        # Replaced, never written over: the process may die at any moment.
        draft = self._path.with_suffix(".draft.journal")
        try:
            draft.write_text(json.dumps({"at_work": keys, "suspects": suspects}), encoding="utf-8")
            os.replace(draft, self._path)
        except OSError as error:
            # A full folder must cost no frame.
            if not self._told:
                log.warning("%s: cannot be written (%s); a frame that kills is not found", self._path, error.strerror)
            self._told = True


def _folder() -> Path:
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _tidy() -> None:
    """Remove what runs left behind that were killed whole. A living analyzer writes its journal anew."""
    for path in _folder().glob("risa-*-*.journal"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _FORGOTTEN_S:
                path.unlink()
