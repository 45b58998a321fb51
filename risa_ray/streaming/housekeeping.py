"""The store's upkeep beside a running job, in a process of its own.

What merging files and closing days take for a moment, tens of MB or hundreds, goes with the process: the committer's
memory stays flat for weeks. It also stands back for the cameras, and a fault in it harms nobody.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import risa_ray
from risa_ray.analytics.upkeep import upkeep
from risa_ray.config import RetentionConfig
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import compact

log = logging.getLogger("risa.upkeep")

_NICE = 5
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def keep_house(data: str, retention: RetentionConfig | None) -> list[str]:
    """Close days, delete what outlived its retention, and merge small files; waits for the process that does it.

    Args:
        data: path or URL of the dataset.
        retention: None deletes nothing.

    Returns:
        What failed, a line each; it is to be tried again.
    """
    package = str(Path(risa_ray.__file__).resolve().parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    task = {"data": data, "retention": None if retention is None else retention.model_dump()}
    done = subprocess.run(
        [sys.executable, "-m", "risa_ray.streaming.housekeeping"],
        input=json.dumps(task),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        return [*lines[-1:], f"its process ended with {done.returncode}"]
    return lines


def _main() -> None:
    # Should the committer die, nobody would hear the answer, and its successor begins anew.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICE)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    task = json.load(sys.stdin)
    retention = task["retention"]
    upkeep(task["data"], None if retention is None else RetentionConfig(**retention))
    try:
        compact(task["data"])
    except StoreError as error:
        log.warning("%s", error)


if __name__ == "__main__":
    _main()
