"""How many cameras a machine takes: Intel's stream-density method on real servers."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from risa_ray.benchmarks.accounts import promise
from risa_ray.benchmarks.footage import write_footage
from risa_ray.benchmarks.live_run import LiveRun, RunFailedError, say
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.servers import Server, rtsp_server
from risa_ray.benchmarks.watching import RATE_SPAN_S, Rates, committed_delays, drops, figure_delays
from risa_ray.config import ChainConfig
from risa_ray.inputs import config_for

AT_TARGET = 0.95
"""Share of the target rate at which a sample is at the target, and share of the samples that have to be."""

WINDOWS = 2
ROW_P95_S = 2.0
FIGURE_P95_S = 1.0

_CLIP_S = 20.0
_JOIN_S = 90.0
_LAST_WINDOW_S = 12.0


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
    rate, over the last 10 s), and a number of cameras is reached with two good windows in a row. After the first miss
    of a step of several, cameras are added one by one from the last number reached. A second phase runs 80 % of the
    density, and measures the delays there.

    Raises:
        InputError: there is no server script, or a setting is wrong.
        RunFailedError: the run ended.
    """
    before = machine()
    with tempfile.TemporaryDirectory(prefix="risa-") as temporary:
        folder = Path(temporary)
        files = [write_footage(folder, number, plan.size, plan.fps, _CLIP_S) for number in range(plan.most)]
        with rtsp_server(files) as server:
            bench = _Density(plan, folder, server)
            density, steps, eased = bench.run()
            time.sleep(_LAST_WINDOW_S)  # until the last window's row is in the store
            told = [bench.tell(step) for step in steps]
            easy = bench.tell(eased) if eased else None
            bench.close()
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
        "density": density,
        "limit_found": any(not step.reached for step in steps),
        "at_80_percent": easy,
        "promises": _promises(easy),
        "steps": told,
        "machine": before,
    }


class _Density:
    """The run, and the numbers of cameras tried on it."""

    def __init__(self, plan: Plan, folder: Path, server: Server) -> None:
        self._plan = plan
        self._server = server
        self._data = str(folder / "data")
        self._rates = Rates()
        self._whole = config_for(server.urls, self._data, plan.camera, plan.pipeline)
        self._ids = [camera.id for _, camera in self._whole.cameras()]
        self._stack = ExitStack()
        self._run = self._stack.enter_context(
            LiveRun(self._of(plan.first), folder / "run", on_snapshot=self._rates.note)
        )

    def run(self) -> tuple[int, list[_Step], _Step | None]:
        """The density, the steps to it, and the step at 80 % of it (None without a density)."""
        plan = self._plan
        self._run.start()
        self._run.wait(lambda: self._run.latest is not None, 120, "start")
        steps: list[_Step] = []
        reached, most, step, count = 0, plan.most, plan.step, min(plan.first, plan.most)
        while reached < most:
            steps.append(self._try(count))
            if steps[-1].reached:
                reached = count
            else:
                most, step = count - 1, 1
            count = min(reached + step, most)
        eased = self._try(max(1, int(0.8 * reached))) if reached else None
        return reached, steps, eased

    def tell(self, step: _Step) -> dict[str, Any]:
        """What the step says, with the delays of its windows."""
        cameras = self._ids[: step.cameras]
        return step.told | {"row_delay_s": committed_delays(self._data, cameras, step.began, step.ended)}

    def close(self) -> None:
        """End the run."""
        with self._stack:
            self._run.stop()

    def _of(self, count: int) -> ChainConfig:
        """The config of the first cameras."""
        store = self._whole.stores[0]
        return self._whole.model_copy(update={"stores": (store.model_copy(update={"cameras": store.cameras[:count]}),)})

    def _try(self, count: int) -> _Step:
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
        time.sleep(self._plan.settle_s)
        began = time.time()
        while problem is None and len(windows) < WINDOWS and all(w["good"] for w in windows):
            windows.append(self._window(cameras))
        reached = len(windows) == WINDOWS and all(w["good"] for w in windows)
        told = {
            "cameras": count,
            "reached": reached,
            "problem": problem,
            "windows": windows,
            "figure_delay_s": figure_delays(self._run.latest, cameras),
        }
        worst = min((w["rate_min"] for w in windows), default=0.0)
        say(
            f"{count} cameras: {'reached' if reached else 'missed'}, slowest {worst:.2f} of {self._plan.fps:g} frames/s"
        )
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
        for number in range(1, plan.samples + 1):
            time.sleep(max(0.0, began + number - time.monotonic()))
            for camera_id in cameras:
                rate = self._rates.rate(camera_id)
                rates[camera_id].append(rate)
                good[camera_id] += rate >= AT_TARGET * plan.fps
        passed = time.monotonic() - began
        shares = {camera_id: good[camera_id] / plan.samples for camera_id in cameras}
        worst = min(cameras, key=lambda camera_id: shares[camera_id])
        return {
            "good": shares[worst] >= AT_TARGET,
            "samples_at_target_min": shares[worst],
            "slowest": worst,
            "rate_min": min(map(min, rates.values())),
            "rate_mean": sum(map(sum, rates.values())) / (plan.samples * len(cameras)),
            "outcomes": dict(drops(self._run.latest, cameras) - dropped),
            "server_cores": (self._server.cpu_s - served) / passed,
            "run_cores": (self._cpu_s() - used) / passed,
            "load": os.getloadavg()[0],
        }

    def _cpu_s(self) -> float:
        return sum(process.cpu_s for process in self._run.processes().values())


def _promises(easy: dict[str, Any] | None) -> dict[str, Any]:
    if easy is None:
        return {"delays at 80 %": {"holds": None, "told": "no density was found"}}
    row, figure = easy["row_delay_s"]["p95"], easy["figure_delay_s"]["p95"]
    return {
        f"capture to committed row p95 <= {ROW_P95_S:g} s": _at_most(row, ROW_P95_S),
        f"capture to rolling figure p95 <= {FIGURE_P95_S:g} s": _at_most(figure, FIGURE_P95_S),
    }


def _at_most(value: float | None, limit: float) -> dict[str, Any]:
    if value is None:
        return {"holds": None, "told": "not measured"}
    return promise([] if value <= limit else [f"missed: {value:.2f} s"], f"{value:.2f} s")
