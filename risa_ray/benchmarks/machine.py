"""What stands beside every figure: machine and versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "ray",
    "torch",
    "facenet-pytorch",
    "openvino",
    "numba",
    "opencv-python-headless",
    "av",
    "deltalake",
    "duckdb",
)


def machine() -> dict[str, object]:
    """Processor, cores, memory and the versions that matter."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 1e9, 1),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "load_before": os.getloadavg()[0],
    }


def _version(package: str) -> str | None:
    """None for one that is not installed, as on a bare machine with a GPU."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
