"""Whether something grows: memory, threads and descriptors of processes over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from risa_ray.benchmarks.accounts import Promise, promise
from risa_ray.benchmarks.live_run import LiveRun
from risa_ray.benchmarks.processes import Process
from risa_ray.streaming.process import ProcessUse

LIMIT = 0.05
LEAST_SAMPLES = 30
"""A shorter series says nothing about growth."""

_WHOLE = 9 / 8
"""Growth is told of the nine tenths after the first, and seen from the middle of the second to that of the last."""

_COUNTED = 2
"""So many threads or descriptors more than before are no growth: they come and go."""


@dataclass
class Series:
    """One process from its first sample on: a restarted one begins another series."""

    kind: str
    pid: int
    uses: list[ProcessUse] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """The growth of each quantity, with all that was sampled last."""
        resident = [u.resident_mb for u in self.uses]
        return {
            "kind": self.kind,
            "pid": self.pid,
            "samples": len(self.uses),
            "resident_mb": growth(resident),
            "threads": growth([u.threads for u in self.uses]),
            "descriptors": growth([u.descriptors for u in self.uses]),
            "resident_mb_max": max(resident),
            "last": asdict(self.uses[-1]),
        }


class Growths:
    """Samples every process of a run."""

    def __init__(self) -> None:
        self._series: dict[int, Series] = {}

    def sample(self, run: LiveRun) -> None:
        """Take a sample of each process; Ray's own are named as the kernel names them."""
        self.take(
            {actor.pid: f"{actor.kind} {actor.name}" for actor in run.actors()} | {run.pid: "driver"}, run.processes()
        )

    def take(self, names: Mapping[int, str], processes: Mapping[int, Process]) -> None:
        """Take a sample of processes by pid: one goes by the last of `names` that it had, else by its own."""
        for pid, process in processes.items():
            series = self._series.setdefault(pid, Series(process.name, pid))
            series.kind = names.get(pid, series.kind)
            series.uses.append(process.use)

    @property
    def series(self) -> list[Series]:
        """All processes, those that have ended too."""
        return sorted(self._series.values(), key=lambda s: (s.kind, s.pid))


def growth(values: Sequence[float]) -> dict[str, float] | None:
    """The median of the second tenth of a series, that of its last, and the growth from the first tenth to the end, as
    a straight line has it (infinite from 0); None where the series is too short."""
    if len(values) < LEAST_SAMPLES:
        return None
    tenth = len(values) // 10
    early, late = float(median(values[tenth : 2 * tenth])), float(median(values[-tenth:]))
    more = late / early - 1 if early else math.inf if late else 0.0
    return {"early": early, "late": late, "growth": _WHOLE * more}


def memory_flat(series: Sequence[Series]) -> Promise:
    """Resident memory grows by at most 5 % after the first tenth of a process's life."""
    return _judged({f"{s.kind} ({s.pid})": growth([u.resident_mb for u in s.uses]) for s in series}, "MB", 0.0)


def counts_flat(series: Sequence[Series], shared_memory: Sequence[int]) -> Promise:
    """Threads, descriptors and files in shared memory grow no more than that, either."""
    found = {}
    for s in series:
        found[f"{s.kind} ({s.pid}) threads"] = growth([u.threads for u in s.uses])
        found[f"{s.kind} ({s.pid}) descriptors"] = growth([u.descriptors for u in s.uses])
    found["files in /dev/shm"] = growth(shared_memory)
    return _judged(found, "", _COUNTED)


def _judged(found: dict[str, dict[str, float] | None], unit: str, allowed: float) -> Promise:
    judged = {name: g for name, g in found.items() if g}
    if not judged:
        return {"holds": None, "told": f"no process lived for {LEAST_SAMPLES} samples"}
    problems = [
        f"{name}: {g['early']:.0f} to {g['late']:.0f} {unit}".rstrip() + f" ({_more(g)})"
        for name, g in judged.items()
        if g["growth"] > LIMIT and g["late"] - g["early"] > allowed
    ]
    worst = max(judged, key=lambda name: judged[name]["growth"])
    seen = f"{len(judged)} series, most {worst}: {_more(judged[worst])}"
    result = promise(problems, seen)
    if short := len(found) - len(judged):
        result["told"] += f"; {short} of less than {LEAST_SAMPLES} samples not judged"
    return result


def _more(growth: Mapping[str, float]) -> str:
    return f"{growth['growth']:+.1%}" if growth["early"] else f"{growth['late']:.0f} from 0"
