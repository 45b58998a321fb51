"""What a process can tell of itself, and how it keeps its memory flat."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

_M_ARENA_MAX = -8  # of malloc.h
_GIVE_BACK_S = 60.0


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


def keep_memory_flat() -> None:
    """For a process that runs for weeks, to be called first: what it frees goes back to the system.

    glibc keeps it, in an arena for each of many threads, and between things that stay: for hours a process of pictures
    seems to grow. Elsewhere than on glibc nothing is done.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 2)
    threading.Thread(target=_give_memory_back_forever, name="memory", daemon=True).start()


def give_memory_back() -> None:
    """What lies free goes back to the system now; see malloc_trim(3)."""
    pa.default_memory_pool().release_unused()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _give_memory_back_forever() -> None:
    while True:
        time.sleep(_GIVE_BACK_S)
        give_memory_back()
