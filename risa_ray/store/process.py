"""Whether the process behind a run record is still there."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process among all hosts and times.

    Attributes:
        host: name for messages.
        pid: its number.
        token: boot, pid namespace and start time; a number used again has another. Empty where /proc is missing.
    """

    host: str
    pid: int
    token: str

    @staticmethod
    def own() -> ProcessId:
        return ProcessId(socket.gethostname(), os.getpid(), _token(os.getpid()))

    def is_dead(self) -> bool | None:
        """True or False for a process of this machine and pid namespace; None where this cannot be known."""
        place = _place()
        if not place or not self.token.startswith(place + " "):
            return None
        return _token(self.pid) != self.token


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _token(pid: int) -> str:
    """Place and start time (clock ticks since boot) of a process; empty when it is not running."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name in parentheses may hold anything; state is the first field after it, starttime the twentieth.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else f"{_place()} {fields[19]}"
