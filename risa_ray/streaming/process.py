"""What a process can tell of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """MB of resident memory (without the shared pages of the object store), threads and open descriptors."""

    pid: int
    resident_mb: float
    threads: int
    descriptors: int


def process_use() -> ProcessUse:
    """What this process holds now."""
    resident, shared = (int(v) for v in Path("/proc/self/statm").read_text().split()[1:3])
    return ProcessUse(
        pid=os.getpid(),
        resident_mb=(resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6,
        threads=len(os.listdir("/proc/self/task")),
        descriptors=len(os.listdir("/proc/self/fd")),
    )
