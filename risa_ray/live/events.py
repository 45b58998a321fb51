"""What happens during a run as JSON lines, for programs that listen."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from risa_ray.errors import InputError
from risa_ray.live.figures import Figures
from risa_ray.live.rules import Alert

log = logging.getLogger(__name__)


class EventWriter:
    """One JSON object a line, each with its `type`: figures, alert, camera or run. Every line is flushed at once.

    A reader that goes away, or a full disk, is reported once and ends the writing; the run goes on.

    Args:
        target: a file to append to, or "-" for standard output.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._stream: IO[str] | None = _open(target)

    @property
    def writing(self) -> bool:
        """False once the target is gone or closed."""
        return self._stream is not None

    def figures(self, figures: Iterable[Figures]) -> None:
        for entry in figures:
            self._write("figures", asdict(entry))

    def alert(self, alert: Alert) -> None:
        self._write("alert", asdict(alert))

    def camera(self, store_id: str, camera_id: str, state: str, at: datetime, note: str = "") -> None:
        """A camera's state changed."""
        self._write("camera", {"store_id": store_id, "camera_id": camera_id, "state": state, "at": at, "note": note})

    def run(self, run_id: str, state: str, at: datetime, **details: Any) -> None:
        """The run started, was resumed, ended; `details` are values that JSON knows, and times."""
        self._write("run", {"run_id": run_id, "state": state, "at": at, **details})

    def close(self) -> None:
        """End the file; standard output stays open. May be called twice."""
        stream, self._stream = self._stream, None
        if stream is not None and stream is not sys.stdout:
            stream.close()

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        if self._stream is None:
            return
        line = json.dumps({"type": kind, **_plain(values)}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            # ValueError is Python's word for a stream that somebody else has closed.
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        where = "standard output" if self.target == "-" else self.target
        gone = isinstance(error, BrokenPipeError)
        reason = "its reader is gone" if gone else getattr(error, "strerror", None) or str(error)
        log.warning("events: %s cannot be written any more (%s); the run goes on without them", where, reason)
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            # What is still buffered would fail once more when the stream is closed, or at exit: let it go nowhere.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            if stream is not sys.stdout:
                stream.close()
        except (OSError, ValueError) as again:
            log.debug("events: %s could not be laid to rest (%s)", where, again)


def _open(target: str) -> IO[str]:
    if target == "-":
        return sys.stdout
    try:
        return Path(target).expanduser().open("a", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{target}: events cannot be written there ({reason}); give a file or '-'") from None


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: ISO times in UTC, and null for what is not a finite number."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
