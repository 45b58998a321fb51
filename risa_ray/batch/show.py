"""Shows a batch job: a progress bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from risa_ray.batch.job import BatchProgress

_LOG_EVERY_S = 10.0


class BatchView:
    """Takes the job's progress and shows it; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} files"),
            TimeElapsedColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=None)
        self._next_line = 0.0

    def __enter__(self) -> BatchView:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: BatchProgress) -> None:
        """Show one state."""
        text = f"{progress.analysed} frames, {progress.faces} faces"
        self._bar.update(self._task, description=text, completed=progress.done, total=progress.files)
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LOG_EVERY_S
            self._console.print(f"{progress.done} of {progress.files} files, {text}", highlight=False)
