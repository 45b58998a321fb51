"""Shows a streaming run: on the terminal, as log lines, as events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType

from rich.console import Console

from risa_ray.live.events import EventWriter
from risa_ray.live.terminal import Progress, Terminal
from risa_ray.streaming.driver import Snapshot

_EVENTS_EVERY_S = 1.0


class RunView:
    """Takes the driver's snapshots and shows them; a context manager.

    Args:
        console: where people look. Standard error when events go to standard output.
        events: file for JSON lines, "-" for standard output, or None.
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
        self._states: dict[str, str] = {}
        self._next_event = 0.0
        self._started = False

    def __enter__(self) -> RunView:
        self._terminal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._terminal.__exit__(kind, error, traceback)
        if self._events:
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
            self._send(self._events, snapshot, states)
        self._states = states

    def run(self, run_id: str, state: str, **details: str | int | float | bool) -> None:
        """Send the event of a run's end."""
        if self._events:
            self._events.run(run_id, state, datetime.now(UTC), **details)

    def _send(self, events: EventWriter, snapshot: Snapshot, states: dict[str, str]) -> None:
        if not self._started:
            self._started = True
            events.run(snapshot.run_id, "started", datetime.now(UTC))
        for alert in snapshot.committer.alerts:
            events.alert(alert)
        now = datetime.now(UTC)
        for camera_id, state in states.items():
            if self._states.get(camera_id) != state:
                events.camera(
                    snapshot.readers[camera_id].store_id, camera_id, state, now, snapshot.readers[camera_id].note
                )
        if time.monotonic() >= self._next_event:
            self._next_event = time.monotonic() + _EVENTS_EVERY_S
            events.figures(snapshot.committer.figures)
