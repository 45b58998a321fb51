"""The pipeline under test, as a process that a harness can watch, edit, stop and kill: see `live_run`."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from risa_ray.config import load_config
from risa_ray.errors import InputError
from risa_ray.store.errors import StoreError


def main() -> int:
    """Stream the config file named by the first argument; the second is the seconds between two snapshots.

    Standard output has a JSON object per line: {"snapshot": ...} with the fields of `Snapshot`, at the end {"report":
    ...} with those of `StreamReport`, or {"failed": one line}. All else goes to standard error.
    """
    path, interval_s = Path(sys.argv[1]), float(sys.argv[2])
    # Whatever else prints must not come between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        report = _stream(path, interval_s, lines)
    except (InputError, StoreError) as error:
        _tell(lines, "failed", str(error))
        return 2
    _tell(lines, "report", report)
    return 0


def _stream(path: Path, interval_s: float, lines: TextIO) -> dict[str, Any]:
    from risa_ray.streaming.cluster import connect, stop_on_signals
    from risa_ray.streaming.driver import stream
    from risa_ray.streaming.preflight import preflight
    from risa_ray.streaming.watch import ConfigWatch

    config = load_config(path)
    sources = preflight(config)
    connect(show_worker_logs=True)
    report = stream(
        config,
        sources,
        stop=stop_on_signals(),
        on_snapshot=lambda snapshot: _tell(lines, "snapshot", asdict(snapshot)),
        interval_s=interval_s,
        watch=ConfigWatch(config, sources, lambda: load_config(path), path),
    )
    return asdict(report)


def _tell(lines: TextIO, what: str, content: object) -> None:
    lines.write(json.dumps({what: content}, default=str) + "\n")
    lines.flush()


if __name__ == "__main__":
    sys.exit(main())
