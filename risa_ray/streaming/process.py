"""What a process can tell of itself."""

from __future__ import annotations

import os
from pathlib import Path


def resident_mb() -> float:
    """Resident memory of this process in MB, without the shared pages of the object store."""
    resident, shared = (int(v) for v in Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6
