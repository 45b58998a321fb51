"""What a harness reads off a live run: rates and drops from snapshots, delays from the tables."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from risa_ray.analytics import open_dataset
from risa_ray.benchmarks.live_run import Snapshot, analysed
from risa_ray.store.schema import DELAY_EDGES_S

RATE_SPAN_S = 10.0
"""Rates are over the last so many seconds: frames are counted in runs of several, and a shorter span would jitter."""


class Rates:
    """Keeps the last seconds of snapshots: hand `note` to a `LiveRun`."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, dict[str, int]]] = deque()

    def note(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        at = snapshot["at"]
        self._counts.append((at, analysed(snapshot)))
        while self._counts[0][0] < at - 2 * RATE_SPAN_S:
            self._counts.popleft()

    def rate(self, camera_id: str) -> float:
        """Analysed frames per second of a camera over the last `RATE_SPAN_S`; 0 when too little is known of it."""
        counts = list(self._counts)
        # From one change of the count to another: between them it stands still however fast frames come.
        since = time.monotonic() - RATE_SPAN_S
        changes = [
            (at, now[camera_id])
            for (_, before), (at, now) in pairwise(counts)
            if at >= since and now.get(camera_id, 0) != before.get(camera_id, 0)
        ]
        if len(changes) < 2 or changes[-1][0] - changes[0][0] < RATE_SPAN_S / 2:
            return 0.0
        (began, first), (ended, last) = changes[0], changes[-1]
        return (last - first) / (ended - began)


def drops(snapshot: Snapshot | None, cameras: Iterable[str] | None = None) -> Counter[str]:
    """Frames by what became of them, of some cameras or all, as counted since the driver began."""
    outcomes: Mapping[str, Mapping[str, int]] = snapshot["committer"]["outcomes"] if snapshot else {}
    wanted = set(outcomes if cameras is None else cameras)
    total: Counter[str] = Counter()
    for camera_id, counts in outcomes.items():
        if camera_id in wanted:
            total.update(counts)
    return total


def figure_delays(snapshot: Snapshot | None, cameras: Iterable[str]) -> dict[str, float | None]:
    """Seconds from arrival to the rolling figure, as the cameras' figures of the last minute have them: the worst
    camera's; None where one has none."""
    wanted = set(cameras)
    figures = {
        f["camera_id"]: f
        for f in (snapshot["committer"]["figures"] if snapshot else ())
        if f["zone_id"] is None and f["camera_id"] in wanted
    }
    lacking = [None] * len(wanted - figures.keys())
    return {name: worst([*(f[f"delay_{name}_s"] for f in figures.values()), *lacking]) for name in ("p50", "p95")}


def committed_delays(data: str, cameras: Iterable[str], since: float, until: float) -> dict[str, Any]:
    """Seconds from arrival to the committed row, of the windows of `frames` that lie within a time.

    `p50`, `p95` and `p99` are read off the sum of the histograms, evenly within a bucket; `window_p50` and
    `window_p95` are the means of the windows' own exact percentiles, weighed by their frames.

    Args:
        since, until: Unix seconds.
    """
    with open_dataset(data, raw=True) as connection:
        rows = connection.execute(
            "SELECT delay_hist, delay_p50_s, delay_p95_s, analysed FROM frames WHERE analysed > 0 "
            "AND list_contains(?, camera_id) AND epoch(window_start) >= ? AND epoch(window_start) + window_s <= ?",
            [list(cameras), since, until],
        ).fetchall()
    hist = np.sum([row[0] for row in rows], axis=0) if rows else np.zeros(len(DELAY_EDGES_S) + 1)
    weights = [row[3] for row in rows if row[1] is not None]
    means = [
        float(np.average([row[i] for row in rows if row[1] is not None], weights=weights)) if weights else None
        for i in (1, 2)
    ]
    return {
        "frames": int(hist.sum()),
        "windows": len(rows),
        **{f"p{q}": quantile(hist.tolist(), q / 100) for q in (50, 95, 99)},
        "window_p50": means[0],
        "window_p95": means[1],
    }


def quantile(hist: Sequence[float], q: float) -> float | None:
    """A quantile of `delay_hist`, evenly within a bucket: None without a frame, infinite above the last edge."""
    total = sum(hist)
    if not total:
        return None
    below, wanted = 0.0, q * total
    for low, high, count in zip((0.0, *DELAY_EDGES_S), DELAY_EDGES_S, hist, strict=False):
        if count and below + count >= wanted:
            return low + (high - low) * (wanted - below) / count
        below += count
    return math.inf


def worst(values: Iterable[float | None]) -> float | None:
    """The highest; None without any, or where one is not known."""
    found = list(values)
    known = [v for v in found if v is not None]
    return max(known) if known and len(known) == len(found) else None
