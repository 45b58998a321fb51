"""What a process can tell of itself, and how it keeps its memory flat."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

# The numbers of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 256 * 1024


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
    """For a process that runs for weeks, to be called first: glibc keeps few arenas, and gives large blocks back.

    By default every thread may get an arena of its own, and once a picture was freed its size counts as small: the heap
    then grows for hours by what lies free between other things (mallopt(3)). Elsewhere than on glibc nothing is done.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _LARGE)


def give_memory_back() -> None:
    """After work that took much: what lies free goes back to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
