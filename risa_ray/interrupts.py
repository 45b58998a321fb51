"""Ctrl-C ends a command at once, in one line, with exit code 130."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """Run a command so; those that drain and commit first take the signal for themselves."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        # In the background of a script Ctrl-C is ignored, and stays so.
        yield
        return
    noted = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except BaseException:
        # Typer makes an exit of Ctrl-C and DuckDB an error: whatever comes after it comes from it.
        if noted:
            _leave()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave() -> NoReturn:
    print("risa: interrupted; the same command can be run again", file=sys.stderr, flush=True)
    if "ray" not in sys.modules:
        # Threads at work, which would be waited for, leave nothing half done: a commit is there or not.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(130)
    sys.exit(130)
