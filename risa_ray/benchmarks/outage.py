"""What one camera's outage costs: its own way back, and the others."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from risa_ray.benchmarks.accounts import Promise, Reached, frames_accounted, promise, verified
from risa_ray.benchmarks.footage import write_footage
from risa_ray.benchmarks.live_run import LiveRun, Snapshot, analysed, say
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.servers import Server, rtsp_server
from risa_ray.benchmarks.watching import committed_delays, drops
from risa_ray.inputs import config_for

BACK_S = 5.0
MORE_DELAY = 0.05

_CLIP_S = 20.0
_INTERVAL_S = 0.1
_NEVER_S = 60.0
"""A camera that is not back after so long is told as not back."""
_LAST_WINDOW_S = 12.0
_WINDOWED_S = 20.0
"""Delays are of whole windows of 10 s: a shorter time asks for none."""


@dataclass(frozen=True, slots=True)
class _Phase:
    """A stretch of the run (Unix seconds), and what became of the other cameras' frames in it."""

    kind: str
    began: float
    ended: float
    outcomes: Counter[str]


def bench_outage(
    cameras: int,
    rounds: int,
    down_s: float,
    quiet_s: float,
    seed: int,
    size: tuple[int, int],
    fps: float,
    camera: dict[str, Any],
    pipeline: dict[str, Any],
) -> dict[str, Any]:
    """One camera of several goes away and comes back, by turns killed and started again, and paused and continued.

    The victim has a server of its own. Between the rounds nothing is disturbed for as long as `quiet_s`, and what the
    others get then is what they are compared with. An outage lasts `down_s`, half more or less, at random.

    Args:
        down_s, quiet_s: at least 20 s each for figures of delay, which are of whole windows of 10 s.

    Returns:
        `back_s`: from the camera's return (its server listens, or was continued) to its next analysed frame, known to
        `resolution_s`; `others`: what became of the other cameras' frames, quiet and during outages.

    Raises:
        InputError: there is no server script, or a setting is wrong.
        RunFailedError: the run ended.
    """
    before, reached = machine(), Reached()
    rng = random.Random(seed)  # noqa: S311 - a repeatable experiment
    say(f"seed {seed}: {rounds} outages of one of {cameras} cameras")
    with tempfile.TemporaryDirectory(prefix="risa-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        files = [write_footage(folder, number, size, fps, _CLIP_S) for number in range(cameras)]
        data = str(folder / "data")
        with rtsp_server(files[:1]) as away, rtsp_server(files[1:]) as others:
            config = config_for([*away.urls, *others.urls], data, camera, pipeline)
            ids = [c.id for _, c in config.cameras()]
            with LiveRun(config, folder / "run", _INTERVAL_S, reached.note) as run:
                run.start()
                run.wait_frames(set(ids), 180)
                time.sleep(quiet_s / 2)
                told, phases = _rounds(run, away, ids, rounds, down_s, quiet_s, rng)
                time.sleep(_LAST_WINDOW_S)
                run.stop()
        compared = {kind: _others(data, ids[1:], [p for p in phases if p.kind == kind]) for kind in ("quiet", "outage")}
        accounts = {
            "every frame ends analysed or dropped": frames_accounted(data, reached),
            "risa verify is clean": verified(data),
        }
    return {
        "what": "outage",
        "seed": seed,
        "cameras": cameras,
        "size": list(size),
        "fps": fps,
        "camera": camera,
        "pipeline": pipeline,
        "resolution_s": _INTERVAL_S,
        "rounds": told,
        "others": compared,
        "promises": {
            f"back within {BACK_S:g} s": _all_back(told),
            "the others lose no frame": _no_frame_lost(compared, fps * len(ids[1:])),
            f"the others wait at most {MORE_DELAY:.0%} longer": _no_delay(compared)
            | {"optional": min(down_s, quiet_s) < _WINDOWED_S},
            **accounts,
        },
        "machine": before,
    }


def _rounds(
    run: LiveRun, away: Server, ids: list[str], rounds: int, down_s: float, quiet_s: float, rng: random.Random
) -> tuple[list[dict[str, Any]], list[_Phase]]:
    told, phases = [], []
    victim, others = ids[0], ids[1:]
    for number in range(rounds):
        phases.append(_phase(run, others, "quiet", quiet_s))
        how = ("killed", "paused")[number % 2]
        length = down_s * rng.uniform(0.5, 1.5)
        if how == "killed":
            away.kill()
        else:
            away.pause()
        phases.append(_phase(run, others, "outage", length))
        state = _state(run.latest, victim)[0]
        seen = analysed(run.latest).get(victim, 0)
        if how == "killed":
            away.start()
        else:
            away.resume()
        back_s, way = _wait_back(run, victim, seen)
        told.append({"how": how, "down_s": length, "state_at_return": state, "back_s": back_s, "way_back": way})
        say(f"{how} for {length:.0f} s ({state}): " + ("not back" if back_s is None else f"back after {back_s:.1f} s"))
        time.sleep(10)  # the way back belongs to neither phase
    return told, phases


def _phase(run: LiveRun, others: list[str], kind: str, seconds: float) -> _Phase:
    outcomes, began = drops(run.latest, others), time.time()
    time.sleep(seconds)
    return _Phase(kind, began, time.time(), drops(run.latest, others) - outcomes)


def _wait_back(run: LiveRun, victim: str, seen: int) -> tuple[float | None, list[dict[str, Any]]]:
    """Seconds until the victim has a frame more than it had (None when it has none in time), and its states till then.

    Raises:
        RunFailedError: the run ended.
    """
    returned = time.monotonic()
    way: list[dict[str, Any]] = []
    while (passed := time.monotonic() - returned) < _NEVER_S:
        state, note = _state(run.latest, victim)
        if not way or way[-1]["state"] != state:
            way.append({"after_s": round(passed, 1), "state": state, "note": note})
        if analysed(run.latest).get(victim, 0) > seen:
            return passed, way
        run.wait(lambda: run.alive, 1, "the camera was back")
        time.sleep(_INTERVAL_S / 2)
    return None, way


def _state(snapshot: Snapshot | None, camera_id: str) -> tuple[str | None, str]:
    """The state of a camera, and its note."""
    status = snapshot["readers"].get(camera_id) if snapshot else None
    return (status["state"], status["note"]) if status else (None, "")


def _others(data: str, cameras: list[str], phases: list[_Phase]) -> dict[str, Any]:
    """The other cameras over all phases of a kind."""
    outcomes = sum((p.outcomes for p in phases), Counter[str]())
    delays = [d for p in phases if (d := committed_delays(data, cameras, p.began, p.ended))["frames"]]
    weights = [d["frames"] for d in delays]
    return {
        "seconds": sum(p.ended - p.began for p in phases),
        "outcomes": dict(outcomes),
        "frames_per_s": sum(outcomes.values()) / max(1e-9, sum(p.ended - p.began for p in phases)),
        "row_delay_p50_s": _mean((d["window_p50"] for d in delays), weights),
        "row_delay_p95_s": _mean((d["window_p95"] for d in delays), weights),
        "windows": sum(d["windows"] for d in delays),
    }


def _mean(values: Iterable[float], weights: list[int]) -> float | None:
    return float(np.average(list(values), weights=weights)) if weights else None


def _all_back(rounds: list[dict[str, Any]]) -> Promise:
    times = [r["back_s"] for r in rounds if r["back_s"] is not None]
    late = [
        f"{r['how']} for {r['down_s']:.0f} s: " + ("not back" if r["back_s"] is None else f"{r['back_s']:.1f} s")
        for r in rounds
        if r["back_s"] is None or r["back_s"] > BACK_S
    ]
    return promise(late, f"median {median(times):.1f} s, at most {max(times):.1f} s" if times else "no round")


def _no_frame_lost(compared: dict[str, Any], expected_per_s: float) -> Promise:
    """Drops beyond those of the quiet times (none where these have none, else by chance: two deviations of Poisson's
    distribution), and frames that did not come at all."""
    frames = {kind: max(1, sum(c["outcomes"].values())) for kind, c in compared.items()}
    drops_of = {kind: _dropped(c["outcomes"]) for kind, c in compared.items()}
    due = drops_of["quiet"] * frames["outage"] / frames["quiet"]
    problems = []
    if drops_of["outage"] > due + 2 * math.sqrt(due):
        problems.append(f"{drops_of['outage']} dropped during outages, {due:.1f} in as many frames without")
    got = compared["outage"]["frames_per_s"]
    if got < 0.98 * expected_per_s:
        problems.append(f"{got:.1f} frames/s came during outages, {expected_per_s:g} were due")
    return promise(problems, f"{drops_of['outage']} dropped during outages, {due:.1f} in as many frames without")


def _dropped(outcomes: dict[str, int]) -> int:
    return sum(n for what, n in outcomes.items() if what != "analysed")


def _no_delay(compared: dict[str, Any]) -> Promise:
    quiet, outage = (compared[kind]["row_delay_p95_s"] for kind in ("quiet", "outage"))
    middle, outage_middle = (compared[kind]["row_delay_p50_s"] for kind in ("quiet", "outage"))
    if not quiet or not outage:
        return {"holds": None, "told": "no whole window of 10 s in one of the phases"}
    ratios = {"p50": outage_middle / middle - 1, "p95": outage / quiet - 1}
    told = ", ".join(f"{name} {more:+.1%}" for name, more in ratios.items())
    return promise([told] if max(ratios.values()) > MORE_DELAY else [], told)
