"""Whether something grows: memory, threads and descriptors of processes over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from risa_ray.benchmarks.accounts import Promise, promise
from risa_ray.benchmarks.live_run import LiveRun
from risa_ray.streaming.process import ProcessUse

LIMIT = 0.05
LEAST_SAMPLES = 30
"""A shorter series says nothing about growth."""

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
        self._series: dict[tuple[str, int], Series] = {}

    def sample(self, run: LiveRun) -> None:
        """Take a sample of each process; Ray's own are named as the kernel names them."""
        kinds = {actor.pid: f"{actor.kind} {actor.name}" for actor in run.actors()} | {run.pid: "driver"}
        for pid, process in run.processes().items():
            kind = kinds.get(pid) or self._known(pid) or process.name
            self._series.setdefault((kind, pid), Series(kind, pid)).uses.append(process.use)

    @property
    def series(self) -> list[Series]:
        """All processes, those that have ended too."""
        return [self._series[key] for key in sorted(self._series)]

    def _known(self, pid: int) -> str | None:
        """What a process was when a snapshot last had it."""
        kinds = [kind for kind, known in self._series if known == pid]
        return kinds[-1] if kinds else None


def growth(values: Sequence[float]) -> dict[str, float] | None:
    """The median of the second tenth of a series, that of its last, and the growth; None where it is too short."""
    if len(values) < LEAST_SAMPLES:
        return None
    tenth = len(values) // 10
    early, late = float(median(values[tenth : 2 * tenth])), float(median(values[-tenth:]))
    return {"early": early, "late": late, "growth": late / early - 1 if early else 0.0}


def memory_flat(series: Sequence[Series]) -> Promise:
    """Resident memory grows by at most 5 % after the first tenth of a process's life."""
    found = {f"{s.kind} ({s.pid})": growth([u.resident_mb for u in s.uses]) for s in series}
    return _judged({name: g for name, g in found.items() if g}, "MB", 0.0)


def counts_flat(series: Sequence[Series], shared_memory: Sequence[int]) -> Promise:
    """Threads, descriptors and files in shared memory grow no more than that, either."""
    found = {}
    for s in series:
        found[f"{s.kind} ({s.pid}) threads"] = growth([u.threads for u in s.uses])
        found[f"{s.kind} ({s.pid}) descriptors"] = growth([u.descriptors for u in s.uses])
    found["files in /dev/shm"] = growth(shared_memory)
    return _judged({name: g for name, g in found.items() if g}, "", _COUNTED)


def _judged(found: dict[str, dict[str, float]], unit: str, allowed: float) -> Promise:
    if not found:
        return {"holds": None, "told": f"no process lived for {LEAST_SAMPLES} samples"}
    problems = [
        f"{name}: {g['early']:.0f} to {g['late']:.0f} {unit}".rstrip() + f" ({g['growth']:+.1%})"
        for name, g in found.items()
        if g["growth"] > LIMIT and g["late"] - g["early"] > allowed
    ]
    worst = max(found, key=lambda name: found[name]["growth"])
    return promise(problems, f"{len(found)} series, most {worst}: {found[worst]['growth']:+.1%}")
