"""The pipeline under test, as a process that a harness can watch, edit, stop and kill: see `live_run`."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from risa_ray.config import load_config
from risa_ray.errors import InputError
from risa_ray.store.errors import StoreError

if TYPE_CHECKING:
    from risa_ray.streaming.driver import StreamReport


def main() -> int:
    """Stream the config file named by the first argument; the second is the seconds between two snapshots.

    Standard output has a JSON object per line: {"snapshot": ...} with the fields of `Snapshot`, at the end {"report":
    ...} with those of `StreamReport`, or {"failed": one line}. All else goes to standard error. Once standard input
    ends, as it does with the harness, the run is stopped.
    """
    path, interval_s = Path(sys.argv[1]), float(sys.argv[2])
    # Whatever else prints must not come between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _stop_with(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # Ray's processes are not to hold the harness's end
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        report = _stream(path, interval_s, lines)
    except (InputError, StoreError) as error:
        _tell(lines, "failed", str(error))
        return 2
    _tell(lines, "report", report)
    return 0


def _stream(path: Path, interval_s: float, lines: TextIO) -> StreamReport:
    from risa_ray.streaming.cluster import connect, stop_on_signals
    from risa_ray.streaming.driver import stream
    from risa_ray.streaming.preflight import preflight
    from risa_ray.streaming.watch import ConfigWatch

    config = load_config(path)
    sources = preflight(config)
    connect(show_worker_logs=True)
    stop = stop_on_signals()
    if config.serve is not None:
        from risa_ray.serving.app import Settings
        from risa_ray.serving.deployment import ensure

        ensure(Settings(config.serve, config.data))
    return stream(
        config,
        sources,
        stop=stop,
        on_snapshot=lambda snapshot: _tell(lines, "snapshot", snapshot),
        interval_s=interval_s,
        watch=ConfigWatch(config, sources, lambda: load_config(path), path),
    )


def _stop_with(harness: int) -> None:
    """SIGTERM to this process once a pipe from the harness ends: a killed one runs no `finally`."""

    def wait() -> None:
        while os.read(harness, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="harness", daemon=True).start()


def _tell(lines: TextIO, what: str, content: object) -> None:
    with suppress(BrokenPipeError):  # the harness is gone, and the run is about to be stopped
        lines.write(json.dumps({what: content}, default=_plain) + "\n")
        lines.flush()


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
