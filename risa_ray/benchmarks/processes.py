"""What the processes of a session hold, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from risa_ray.streaming.process import ProcessUse

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - memory, not a folder on disk


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a session: its name (a Python script's own), CPU seconds since its start, and what it holds."""

    name: str
    cpu_s: float
    use: ProcessUse


def in_session(leader: int) -> dict[int, Process]:
    """The living processes of the session that a process leads (it was started with `start_new_session`), by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := _of_session(int(entry), leader)) is not None:
            found[int(entry)] = process
    return found


def cpu_seconds(pid: int) -> float | None:
    """CPU seconds of a process since its start; None when it is gone."""
    stat = _stat(pid)
    return None if stat is None else _cpu(stat[1])


def shared_memory_files() -> int:
    """Entries of /dev/shm, whoever made them."""
    return len(os.listdir(SHARED_MEMORY))


def _of_session(pid: int, leader: int) -> Process | None:
    stat = _stat(pid)
    if stat is None or stat[1][0] in "ZX" or int(stat[1][3]) != leader:
        return None
    root = Path(f"/proc/{pid}")
    try:
        resident, shared = (int(v) for v in (root / "statm").read_text().split()[1:3])
        words = (root / "cmdline").read_bytes().decode(errors="replace").split("\0")
        threads, descriptors = len(os.listdir(root / "task")), len(os.listdir(root / "fd"))
    except OSError:  # it ended meanwhile
        return None
    use = ProcessUse(pid, (resident - shared) * _PAGE / 1e6, threads, descriptors)
    script = next((Path(word).name for word in words if word.endswith(".py")), stat[0])
    return Process(script, _cpu(stat[1]), use)


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """The name of a process, and the fields after it: state, parent, group, session, ..."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    name, _, fields = text.partition("(")[2].rpartition(")")
    return name, fields.split()


def _cpu(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / _TICKS
