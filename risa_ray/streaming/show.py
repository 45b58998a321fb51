"""Shows a streaming run: on the terminal, as log lines, as events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType

from rich.console import Console

from risa_ray.live.events import EventWriter
from risa_ray.live.figures import Figures
from risa_ray.live.terminal import Progress, Terminal
from risa_ray.streaming.driver import Snapshot
from risa_ray.streaming.lifecycle import ENDED
from risa_ray.streaming.reader import ReaderStatus

_FIGURES_EVERY_S = 1.0
_FIGURES_IN_FILE_EVERY_S = 10.0
"""A file keeps them all: 4 MB a day for each camera and zone."""


class RunView:
    """Takes the driver's snapshots and shows them; a context manager.

    Args:
        console: where people look. Standard error when events go to standard output.
        events: file for JSON lines, "-" for standard output, or None. Alerts and states are sent at once, figures each
            second, or 10 s into a file.
        notes: lines that stay at the bottom.
        duration_s: length of the run where it is known, for the progress bar.
    """

    def __init__(
        self,
        console: Console,
        events: str | None = None,
        notes: Sequence[str] = (),
        duration_s: float | None = None,
    ) -> None:
        self._terminal = Terminal(console)
        self._events = EventWriter(events) if events else None
        self._notes = tuple(notes)
        self._duration_s = duration_s
        self._figures_every_s = _FIGURES_EVERY_S if events == "-" else _FIGURES_IN_FILE_EVERY_S
        self._readers: Mapping[str, ReaderStatus] = {}
        self._unsent: Iterable[Figures] = ()
        self._next_figures = 0.0
        self._started = False

    def __enter__(self) -> RunView:
        self._terminal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._terminal.__exit__(kind, error, traceback)
        if self._events:
            self._send_last(self._events)
            self._events.close()

    def __call__(self, snapshot: Snapshot) -> None:
        """Show one snapshot."""
        committer = snapshot.committer
        states = {camera_id: str(status.state) for camera_id, status in snapshot.readers.items()}
        trouble = [committer.trouble] if committer.trouble else []
        told = {i: s.note or ("stalled" if s.state == "stalled" else "") for i, s in snapshot.readers.items()}
        notes = [f"{camera_id}: {note}" for camera_id, note in told.items() if note]
        progress = Progress(
            elapsed_s=snapshot.elapsed_s,
            analysed=sum(committer.analysed.values()),
            dropped=committer.dropped,
            faces=committer.faces,
            rows=committer.faces,
            done=min(1.0, snapshot.elapsed_s / self._duration_s) if self._duration_s else None,
            states=states,
        )
        self._terminal.update(committer.figures, committer.alerts, progress, [*self._notes, *notes, *trouble])
        if self._events:
            self._send(self._events, snapshot)
        self._readers = snapshot.readers

    def run(self, run_id: str, state: str, **details: str | int | float | bool) -> None:
        """Send the event of a run's end, after its last figures."""
        if self._events:
            self._send_last(self._events)
            self._events.run(run_id, state, datetime.now(UTC), **details)

    def _send(self, events: EventWriter, snapshot: Snapshot) -> None:
        if not self._started:
            self._started = True
            events.run(snapshot.run_id, "started", datetime.now(UTC))
        for alert in snapshot.committer.alerts:
            events.alert(alert)
        now = datetime.now(UTC)
        for camera_id, reader in snapshot.readers.items():
            if camera_id not in self._readers or self._readers[camera_id].state != reader.state:
                events.camera(reader.store_id, camera_id, reader.state, now, reader.note)
        for camera_id, reader in self._readers.items():
            if camera_id not in snapshot.readers and reader.state not in ENDED:  # it left the config
                events.camera(reader.store_id, camera_id, "stopped", now)
        self._unsent = snapshot.committer.figures
        if time.monotonic() >= self._next_figures:
            self._next_figures = time.monotonic() + self._figures_every_s
            self._send_last(events)

    def _send_last(self, events: EventWriter) -> None:
        unsent, self._unsent = self._unsent, ()
        events.figures(unsent)
