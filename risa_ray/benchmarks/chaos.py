"""The delivery promise under SIGKILLs at random moments: readers, analyzers, committer and driver."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from risa_ray.benchmarks.accounts import (
    Promise,
    Reached,
    faces_accounted,
    files_whole,
    frames_accounted,
    kept,
    promise,
    same_rows,
    verified,
)
from risa_ray.benchmarks.footage import frames_in, write_footage
from risa_ray.benchmarks.live_run import Actor, LiveRun, RunFailedError, Snapshot, analysed, say
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.polling import Poller
from risa_ray.config import ChainConfig
from risa_ray.inputs import config_for
from risa_ray.streaming.lifecycle import ENDED

KINDS = ("reader", "analyzer", "committer", "driver")

_FPS = 10.0
_SIZE = (480, 270)
_LIVE_FPS = 5
_LEAD_IN_FRAMES = 50
_AGAIN_SHARE = 1 / 3
_AGAIN_S = 5.0
_GAP_S = 8.0
_INTERVAL_S = 0.1
_STUCK_S = 180.0
"""Without progress, or without the actor to be killed, for so long the run is given up as stuck."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Whom to kill, and when: once the run works and has read so many more frames, and some seconds after.

    `again`: into the recovery from the kill before, so many seconds after it, or frames if these come first.
    """

    kind: str
    again: bool
    frames: int
    wait_s: float


@dataclass
class _Strikes:
    """What was done, and what came of it."""

    kills: list[dict[str, Any]] = field(default_factory=list)
    pids: dict[str, set[int]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    reached: Reached = field(default_factory=Reached)
    committer: int | None = None
    before: dict[str, int] = field(default_factory=dict)
    """Analysed frames when the committer's process, which goes by its pid, was first heard of."""

    def note(self, snapshot: Snapshot) -> None:
        """Remember the processes of a snapshot, to count restarts, and how far its sessions are."""
        self.reached.note(snapshot)
        uses = [(f"reader {i}", status["process"]) for i, status in snapshot["readers"].items()]
        uses += [(f"analyzer {i}", status["process"]) for i, status in enumerate(snapshot["analyzers"])]
        committer = snapshot["committer"]["process"]
        uses.append(("committer", committer))
        if committer["pid"] != self.committer:
            self.before = analysed(snapshot)
            self.committer = committer["pid"]
        for name, use in uses:
            if use:
                self.pids.setdefault(name, set()).add(use["pid"])

    def worked(self, snapshot: Snapshot | None) -> bool:
        """Whether a frame of every camera that has not ended came through the committer that there is now."""
        if snapshot is None or snapshot["committer"]["process"]["pid"] != self.committer:
            return False
        counts = analysed(snapshot)
        return all(
            counts.get(i, 0) > self.before.get(i, 0) or status["state"] in ENDED
            for i, status in snapshot["readers"].items()
        )


def plan_kills(kills: int, rng: random.Random, frames_per_kill: int | None) -> list[Kill]:
    """Kills of every kind in turn, shuffled. A third comes within 5 s of the one before, into its recovery.

    Args:
        frames_per_kill: frames between two kills, on average; None: for live cameras, seconds of work decide.
    """
    kinds = [KINDS[i % len(KINDS)] for i in range(kills)]
    rng.shuffle(kinds)
    plan = []
    for number, kind in enumerate(kinds):
        if number and rng.random() < _AGAIN_SHARE:
            plan.append(Kill(kind, True, frames_per_kill or 0, rng.uniform(0, _AGAIN_S)))
        elif frames_per_kill is None:
            plan.append(Kill(kind, False, 0, rng.uniform(0, 2 * _GAP_S)))
        else:
            plan.append(Kill(kind, False, rng.randrange(1, 2 * frames_per_kill), 0.0))
    return plan


def bench_chaos(
    kills: int,
    seed: int,
    live: bool = False,
    detector: str = "mtcnn",
    min_face_size: int = 40,
    model: str = "default",
    frames_per_kill: int = 200,
) -> dict[str, Any]:
    """Kill at random moments, and see whether the promise holds; a killed driver is started again at once.

    Files: two rendered files with `every_frame`, as long as the kills need, against an undisturbed run of the same in
    this invocation. Live: two demo cameras in real time, until the kills are done. A reader in a process of its own
    polls the dataset all along.

    Args:
        frames_per_kill: frames of both files together from one kill to the next, on average.

    Returns:
        What was done and seen; `promises`, each with `holds` (null: not measured) and `told`; `kept`: all of them hold.

    Raises:
        RunFailedError: the undisturbed run failed.
    """
    rng = random.Random(seed)  # noqa: S311 - a repeatable experiment
    plan = plan_kills(kills, rng, None if live else frames_per_kill)
    say(f"seed {seed}: {kills} kills ({'live' if live else 'files'})")
    before, began = machine(), time.monotonic()
    camera = {"detector": detector, "min_face_size": min_face_size}
    with tempfile.TemporaryDirectory(prefix="risa-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        work = _live if live else _files
        result = work(folder, plan, rng, camera, {"model": model})
    promises: dict[str, Promise] = result["promises"]
    done = Counter(kill["kind"] for kill in result["kills"])
    promises["all kills landed while it worked"] = promise(
        [] if len(result["kills"]) == kills else [f"{len(result['kills'])} of {kills}"], f"{kills} kills"
    )
    return {
        "what": "chaos",
        "mode": "live" if live else "files",
        "seed": seed,
        "detector": detector,
        "min_face_size": min_face_size,
        "killed": {kind: done[kind] for kind in KINDS},
        **result,
        "kept": all(map(kept, promises.values())),
        "seconds": time.monotonic() - began,
        "machine": before,
    }


def _files(
    folder: Path, plan: list[Kill], rng: random.Random, camera: dict[str, Any], pipeline: dict[str, Any]
) -> dict[str, Any]:
    # Twice what the plan counts: the run goes on while a kill is on its way.
    frames = _LEAD_IN_FRAMES + sum(2 * kill.frames for kill in plan)
    seconds = frames / 2 / _FPS
    files = [write_footage(folder, number, _SIZE, _FPS, seconds) for number in range(2)]
    expected = {path.stem: frames_in(path) for path in files}
    sources = [str(path) for path in files]
    say(f"undisturbed: {sum(expected.values())} frames of {len(files)} files")
    with LiveRun(config_for(sources, str(folder / "undisturbed"), camera, pipeline), folder / "u") as run:
        run.start()
        report = run.finish(timeout_s=_long_enough(frames))
    data = str(folder / "data")
    strikes = _Strikes()
    with (
        Poller(data) as poller,
        LiveRun(config_for(sources, data, camera, pipeline), folder / "k", _INTERVAL_S, strikes.note) as run,
    ):
        run.start()
        _strike_all(run, plan, rng, strikes)
        try:
            run.finish(timeout_s=_long_enough(frames))
        except RunFailedError as error:
            strikes.trouble.append(str(error))
    return _told(strikes, run, poller) | {
        "frames": expected,
        "undisturbed_s": report["elapsed_s"],
        "promises": {
            "it ran to its end": promise(strikes.trouble, f"driver started {run.started} times"),
            "files: every frame once": files_whole(data, expected),
            "files: the undisturbed run's numbers": same_rows(data, str(folder / "undisturbed")),
            **_accounts(data, strikes, poller),
        },
    }


def _live(
    folder: Path, plan: list[Kill], rng: random.Random, camera: dict[str, Any], pipeline: dict[str, Any]
) -> dict[str, Any]:
    sources = [f"demo:{view}?seconds=1000000&fps={_LIVE_FPS}" for view in ("front", "side")]
    data = str(folder / "data")
    strikes = _Strikes()
    config: ChainConfig = config_for(sources, data, camera, pipeline)
    with Poller(data) as poller, LiveRun(config, folder / "k", _INTERVAL_S, strikes.note) as run:
        run.start()
        _strike_all(run, plan, rng, strikes)
        try:
            run.wait_frames({c.id for _, c in config.cameras()}, _STUCK_S)
            time.sleep(_GAP_S)
            run.stop()
        except RunFailedError as error:
            strikes.trouble.append(str(error))
    return _told(strikes, run, poller) | {
        "promises": {
            "it ran to its end": promise(strikes.trouble, f"driver started {run.started} times"),
            **_accounts(data, strikes, poller),
        },
    }


def _accounts(data: str, strikes: _Strikes, poller: Poller) -> dict[str, Promise]:
    return {
        "every frame ends analysed or dropped": frames_accounted(data, strikes.reached),
        "faces of accounted frames only": faces_accounted(data),
        "risa verify is clean": verified(data),
        "a reader sees no error and no double": poller.promise,
    }


def _told(strikes: _Strikes, run: LiveRun, poller: Poller) -> dict[str, Any]:
    return {
        "kills": strikes.kills,
        "driver_starts": run.started,
        "processes_seen": {name: len(pids) for name, pids in sorted(strikes.pids.items())},
        "polls": poller.result or None,
        "log_end": run.tail().splitlines(),
    }


def _strike_all(run: LiveRun, plan: list[Kill], rng: random.Random, strikes: _Strikes) -> None:
    """Kill as planned; ends early when the run does, or is stuck."""
    began = time.monotonic()
    furthest = 0
    for number, kill in enumerate(plan, 1):
        try:
            if not kill.again:
                run.wait(lambda: strikes.worked(run.latest), _STUCK_S, "work")
            _wait_moment(run, kill, furthest)
            furthest = max(furthest, _frames_read(run))
            victim = _victim(run, kill.kind, rng)
            _kill(run, victim, strikes)
        except (RunFailedError, ProcessLookupError) as error:
            if run.report is None:  # else the work was too short for the kills, which is told apart
                strikes.trouble.append(f"before kill {number} ({kill.kind}): {error}")
            return
        at = round(time.monotonic() - began, 2)
        strikes.kills.append({"at_s": at, "kind": victim.kind, "name": victim.name})
        say(f"{at:7.1f} s: kill {number} of {len(plan)}: {victim.kind} {victim.name}")


def _kill(run: LiveRun, victim: Actor, strikes: _Strikes) -> None:
    """SIGKILL; a killed driver is started again at once, as by whoever looks after it."""
    if victim.kind == "driver":
        run.kill()
        run.start()
    else:
        os.kill(victim.pid, signal.SIGKILL)


def _wait_moment(run: LiveRun, kill: Kill, furthest: int) -> None:
    """Let the run work on until the kill is due; to end meanwhile is a fault."""
    until = time.monotonic() + kill.wait_s

    def due() -> bool:
        over = time.monotonic() >= until
        if not kill.frames:
            return over
        read = _frames_read(run) >= furthest + kill.frames
        return read or over if kill.again else read

    run.wait(due, _STUCK_S, "progress")


def _victim(run: LiveRun, kind: str, rng: random.Random) -> Actor:
    """A living actor of a kind, awaited where it is not back yet.

    Raises:
        RunFailedError: there is none in time.
    """
    if kind == "driver":
        if not run.alive or run.report is not None:
            raise RunFailedError(f"the run has ended: {run.failed or run.tail()}")
        return Actor("driver", "driver", run.pid)
    found: list[Actor] = []

    def look() -> bool:
        found[:] = [actor for actor in run.actors() if actor.kind == kind]
        return bool(found)

    run.wait(look, _STUCK_S, f"living {kind}")
    return rng.choice(found)


def _frames_read(run: LiveRun) -> int:
    """Frames of the sources' sessions that were read so far; it falls back where a killed process reads again."""
    latest = run.latest
    return sum(status["last_seq"] + 1 for status in latest["readers"].values()) if latest else 0


def _long_enough(frames: int) -> float:
    """Seconds that a slow machine needs for so many frames."""
    return 300 + frames
