"""Ctrl-C ends a command at once, in one line, with exit code 130."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_LINE = "risa: interrupted; the same command can be run again"
_PATIENCE_S = 10.0


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
    over, hears, told = threading.Event(), *os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(hears, note, over), daemon=True).start()
    try:
        yield
    except BaseException:
        # Typer makes an exit of Ctrl-C and DuckDB an error: whatever comes after it comes from it.
        if noted:
            _leave()
        raise
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(told)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _insist(hears: int, note: object, over: threading.Event) -> None:
    """End the process where Ctrl-C was heard and not obeyed: a library at work in C may miss it, or swallow it."""
    with os.fdopen(hears, "rb", buffering=0) as signals:
        while heard := signals.read(1):
            ours = heard[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is note
            if ours and not over.wait(_PATIENCE_S):
                print(_LINE, file=sys.stderr, flush=True)
                os._exit(130)


def _leave() -> NoReturn:
    print(_LINE, file=sys.stderr, flush=True)
    if "ray" not in sys.modules:
        # Threads at work, which would be waited for, leave nothing half done: a commit is there or not.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(130)
    sys.exit(130)
