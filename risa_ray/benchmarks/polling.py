"""A reader in a process of its own, which asks a dataset again and again while it is written."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from risa_ray.benchmarks.accounts import Promise, rows_and_keys

_PAUSE_S = 0.5
_SHOWN = 5
_ANSWER_S = 60.0


class Poller:
    """Polls from entering to leaving the context; then `result` says what it saw.

    A poll opens the dataset afresh and counts rows, distinct keys and accounted frames. Errors are counted from the
    first answer on: before it there may be no dataset yet.
    """

    def __init__(self, data: str) -> None:
        self.result: dict[str, Any] = {}
        context = multiprocessing.get_context("spawn")
        # Pipes, since both sides of one hear when the other has died.
        self._receiver, self._sender = context.Pipe(duplex=False)
        self._stopped, self._stop = context.Pipe(duplex=False)
        self._process = context.Process(target=_poll, args=(data, self._stopped, self._sender), daemon=True)

    def __enter__(self) -> Poller:
        self._process.start()
        self._sender.close()
        self._stopped.close()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._stop.send(None)
        with suppress(EOFError):
            if self._receiver.poll(_ANSWER_S):
                self.result = self._receiver.recv()
        self._process.join(10)
        self._process.kill()

    @property
    def promise(self) -> Promise:
        """Whether a reader saw neither an error, nor a double, nor a count that went down."""
        if not self.result.get("answers"):
            return {"holds": False, "told": "the reader had no answer" if self.result else "the reader died or hung"}
        faults = [f"{n} {what}" for what in ("errors", "doubles", "steps_back") if (n := self.result[what])]
        told = f"{self.result['answers']} polls" + (f": {', '.join(faults)}" if faults else "")
        return {"holds": not faults, "told": told}


def _poll(data: str, stop: Connection, sender: Connection) -> None:
    from risa_ray.analytics import open_dataset

    answers, errors, doubles, steps_back = 0, 0, 0, 0
    shown: list[str] = []
    before = (0, 0)
    pause_s = _PAUSE_S
    while not stop.poll(pause_s):
        began = time.perf_counter()
        try:
            with open_dataset(data, raw=True) as connection:
                rows, keys = rows_and_keys(connection)
                read = connection.sql("SELECT coalesce(sum(read), 0)::BIGINT FROM frames").fetchall()[0][0]
        except Exception as error:
            # Whatever a user's reader would see counts, be it DuckDB's, Delta's or ours.
            if answers:
                errors += 1
                shown.append(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            continue
        answers += 1
        if rows != keys:
            doubles += 1
            shown.append(f"{rows} rows, {keys} keys")
        if (rows, read) != (max(rows, before[0]), max(read, before[1])):
            steps_back += 1
            shown.append(f"from {before[0]} rows and {before[1]} frames to {rows} and {read}")
        before = (rows, read)
        # a reader that polls leaves the other half of a core alone
        pause_s = _PAUSE_S + time.perf_counter() - began
    sender.send(
        {
            "answers": answers,
            "errors": errors,
            "doubles": doubles,
            "steps_back": steps_back,
            "rows": before[0],
            "frames": before[1],
            "shown": shown[:_SHOWN],
        }
    )
