"""How many cameras a machine takes: Intel's stream-density method on real servers."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from risa_ray.benchmarks.accounts import Promise, promise
from risa_ray.benchmarks.footage import write_footage
from risa_ray.benchmarks.live_run import LiveRun, RunFailedError, say, trouble_of
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.servers import Server, rtsp_server
from risa_ray.benchmarks.watching import RATE_SPAN_S, Rates, committed_delays, drops, figure_delays, worst
from risa_ray.config import ChainConfig
from risa_ray.inputs import config_for
from risa_ray.store.schema import DELAY_EDGES_S

AT_TARGET = 0.95
"""Share of the target rate at which a sample is at the target, and share of the samples that have to be."""

WINDOWS = 2
ROW_P95_S = 2.0
FIGURE_P95_S = 1.0

_CLIP_S = 20.0
_JOIN_S = 90.0
_LAST_WINDOW_S = 12.0
_FIGURES_S = 60.0
"""Rolling figures are of the last minute: after so long they are of one number of cameras alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: `size` in pixels, `fps` of every camera; the other fields as the command's options."""

    size: tuple[int, int]
    fps: float
    first: int
    step: int
    most: int
    settle_s: float
    samples: int
    camera: dict[str, Any]
    pipeline: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Step:
    """One number of cameras: the Unix times of its windows, and what is told of it."""

    cameras: int
    reached: bool
    began: float
    ended: float
    told: dict[str, Any]


def bench_density(plan: Plan) -> dict[str, Any]:
    """Add cameras to a running job until one misses its rate.

    Cameras are RTSP streams of rendered files, encoded once and served again and again by a process of their own on
    this machine; its share of the CPU is told. After each addition the run settles; then the rate of every camera is
    sampled once a second. A window is good when 95 % of the samples of every camera are at the target (95 % of its
    rate, over the last 10 s), and a number of cameras is reached with two good windows in a row. From the first miss on
    the number half way between the highest that was reached and the lowest that was missed comes next, until they are
    neighbours. A second phase runs 80 % of the density, and measures the delays there: the row's from the windows'
    histograms, the figure's once a second, of which the worst counts.

    A run that ends before its time is told of as far as it came.

    Raises:
        InputError: there is no server script, or a setting is wrong.
        RunFailedError: the run did not start.
    """
    before = machine()
    with tempfile.TemporaryDirectory(prefix="risa-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        files = [write_footage(folder, number, plan.size, plan.fps, _CLIP_S) for number in range(plan.most)]
        with rtsp_server(files) as server, _Density(plan, folder, server) as bench:
            bench.start()
            trouble = trouble_of(bench.measure)
            time.sleep(_LAST_WINDOW_S)  # until the last window's row is in the store
            told = [bench.tell(step) for step in bench.steps]
            easy = bench.tell(bench.eased) if bench.eased else None
            unstopped = trouble_of(bench.stop)
    return {
        "what": "density",
        "source": "rtsp",
        "size": list(plan.size),
        "fps": plan.fps,
        "camera": plan.camera,
        "pipeline": plan.pipeline,
        "settle_s": plan.settle_s,
        "samples": plan.samples,
        "rate_span_s": RATE_SPAN_S,
        "density": bench.density,
        "limit_found": any(not step.reached for step in bench.steps),
        "at_80_percent": easy,
        "promises": {
            "it ran to its end": promise(trouble or unstopped, f"{len(told)} numbers of cameras"),
            **_promises(bench.density, easy),
        },
        "steps": told,
        "machine": before,
    }


class _Density:
    """The run, and the numbers of cameras tried on it. A context manager, which ends it.

    Attributes:
        density: the highest number that was reached, 0 without one.
        steps: what was tried.
        eased: 80 % of the density, once it was tried.
    """

    def __init__(self, plan: Plan, folder: Path, server: Server) -> None:
        self.density = 0
        self.steps: list[_Step] = []
        self.eased: _Step | None = None
        self._plan = plan
        self._server = server
        self._data = str(folder / "data")
        self._rates = Rates()
        self._whole = config_for(server.urls, self._data, plan.camera, plan.pipeline)
        self._ids = [camera.id for _, camera in self._whole.cameras()]
        self._run = LiveRun(self._of(plan.first), folder / "run", on_snapshot=self._rates.note)

    def __enter__(self) -> _Density:
        return self

    def __exit__(self, *_: object) -> None:
        self._run.close()

    def start(self) -> None:
        """Start the run.

        Raises:
            RunFailedError: it does not.
        """
        self._run.start()
        self._run.wait(lambda: self._run.latest is not None, 120, "start")

    def measure(self) -> None:
        """Look for the density, and measure at 80 % of it.

        Raises:
            RunFailedError: the run ended.
        """
        plan = self._plan
        search = Search(plan.first, plan.step, plan.most)
        while (count := search.next()) is not None:
            self.steps.append(self._try(count, plan.settle_s))
            search.tried(count, self.steps[-1].reached)
            self.density = search.reached
        if self.density:
            self.eased = self._try(max(1, int(0.8 * self.density)), max(plan.settle_s, _FIGURES_S))

    def tell(self, step: _Step) -> dict[str, Any]:
        """What the step says, with the delays of its windows."""
        cameras = self._ids[: step.cameras]
        return step.told | {"row_delay_s": committed_delays(self._data, cameras, step.began, step.ended)}

    def stop(self) -> None:
        """End the run, and have it drain.

        Raises:
            RunFailedError: it ended otherwise.
        """
        self._run.stop()

    def _of(self, count: int) -> ChainConfig:
        """The config of the first cameras."""
        store = self._whole.stores[0]
        return self._whole.model_copy(update={"stores": (store.model_copy(update={"cameras": store.cameras[:count]}),)})

    def _try(self, count: int, settle_s: float) -> _Step:
        cameras = self._ids[:count]
        self._run.edit(self._of(count))
        problem = None
        windows: list[dict[str, Any]] = []
        try:
            self._wait_joined(cameras)
        except RunFailedError as error:
            if not self._run.alive:
                raise
            problem = str(error).splitlines()[0]
        time.sleep(settle_s)
        began = time.time()
        while problem is None and len(windows) < WINDOWS and all(w["good"] for w in windows):
            windows.append(self._window(cameras))
        reached = len(windows) == WINDOWS and all(w["good"] for w in windows)
        told = {
            "cameras": count,
            "reached": reached,
            "problem": problem,
            "windows": windows,
            "figure_delay_s": _worst_figures(windows),
        }
        slowest = min((w["rate_min"] for w in windows), default=0.0)
        what = "reached" if reached else "missed"
        say(f"{count} cameras: {what}, slowest {slowest:.2f} of {self._plan.fps:g} frames/s")
        return _Step(count, reached, began, time.time(), told)

    def _wait_joined(self, cameras: list[str]) -> None:
        """Until every camera is live and the others are gone: start-up is no part of a window."""

        def joined() -> bool:
            readers = self._run.latest["readers"] if self._run.latest else {}
            live = {camera_id for camera_id, status in readers.items() if status["state"] == "live"}
            return live == set(cameras)

        self._run.wait(joined, _JOIN_S, f"{len(cameras)} live cameras")

    def _window(self, cameras: list[str]) -> dict[str, Any]:
        plan = self._plan
        good: Counter[str] = Counter()
        rates: dict[str, list[float]] = {camera_id: [] for camera_id in cameras}
        dropped, began = drops(self._run.latest, cameras), time.monotonic()
        served, used = self._server.cpu_s, self._cpu_s()
        figures: list[dict[str, Any]] = []
        for number in range(1, plan.samples + 1):
            time.sleep(max(0.0, began + number - time.monotonic()))
            figures.append({"figure_delay_s": figure_delays(self._run.latest, cameras)})
            for camera_id in cameras:
                rate = self._rates.rate(camera_id)
                rates[camera_id].append(rate)
                good[camera_id] += rate >= AT_TARGET * plan.fps
        passed = time.monotonic() - began
        shares = {camera_id: good[camera_id] / plan.samples for camera_id in cameras}
        slowest = min(cameras, key=lambda camera_id: shares[camera_id])
        say(f"{len(cameras)} cameras, a window: {slowest} had the rate in {shares[slowest]:.0%} of its samples")
        return {
            "good": shares[slowest] >= AT_TARGET,
            "samples_at_target_min": shares[slowest],
            "slowest": slowest,
            "rate_min": min(map(min, rates.values())),
            "rate_mean": sum(map(sum, rates.values())) / (plan.samples * len(cameras)),
            "figure_delay_s": _worst_figures(figures),
            "outcomes": dict(drops(self._run.latest, cameras) - dropped),
            "server_cores": (self._server.cpu_s - served) / passed,
            "run_cores": (self._cpu_s() - used) / passed,
            "load": os.getloadavg()[0],
        }

    def _cpu_s(self) -> float:
        return sum(process.cpu_s for process in self._run.processes().values())


class Search:
    """Which number of cameras to try next: up in steps to the first miss, then half way between reached and missed.

    Args:
        first, step, most: as the command's options.

    Attributes:
        reached: the highest number that was, 0 without one.
    """

    def __init__(self, first: int, step: int, most: int) -> None:
        self.reached = 0
        self._first, self._step, self._most = first, step, most
        self._missed: int | None = None

    def next(self) -> int | None:
        """The number to try; None when the density is found."""
        if self._missed is not None:
            return (self.reached + self._missed) // 2 if self._missed - self.reached > 1 else None
        if self.reached >= self._most:
            return None
        return min(self.reached + self._step if self.reached else self._first, self._most)

    def tried(self, count: int, reached: bool) -> None:
        """What came of it."""
        if reached:
            self.reached = count
        else:
            self._missed = count


def _worst_figures(parts: list[dict[str, Any]]) -> dict[str, float | None]:
    return {name: worst(part["figure_delay_s"][name] for part in parts) for name in ("p50", "p95")}


def _promises(density: int, easy: dict[str, Any] | None) -> dict[str, Promise]:
    """What is promised at 80 % of the density."""
    lacking: Promise = {"holds": None, "told": "not measured"}
    if not density:
        lacking = promise(["no number of cameras kept its rate"], "")
    rate = promise([] if easy["reached"] else ["missed"], f"{easy['cameras']} cameras") if easy else lacking
    row, figure = (easy[delay]["p95"] if easy else None for delay in ("row_delay_s", "figure_delay_s"))
    return {
        "80 % keeps its rate": rate,
        f"arrival to committed row p95 <= {ROW_P95_S:g} s": lacking if row is None else _at_most(row, ROW_P95_S),
        f"arrival to rolling figure p95 <= {FIGURE_P95_S:g} s": (
            lacking if figure is None else _at_most(figure, FIGURE_P95_S)
        ),
    }


def _at_most(seconds: float, limit: float) -> Promise:
    told = f"more than {DELAY_EDGES_S[-1]:g} s" if math.isinf(seconds) else f"{seconds:.2f} s"
    return promise([] if seconds <= limit else [f"missed: {told}"], told)
