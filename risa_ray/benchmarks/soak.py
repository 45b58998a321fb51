"""The pipeline on real servers for as long as one likes, with faults made on purpose."""

from __future__ import annotations

import heapq
import os
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any

from risa_ray.analytics import open_dataset
from risa_ray.benchmarks.accounts import (
    Promise,
    Reached,
    faces_accounted,
    frames_accounted,
    kept,
    promise,
    rows_and_keys,
    verified,
)
from risa_ray.benchmarks.footage import write_footage
from risa_ray.benchmarks.growth import LEAST_SAMPLES, Growths, counts_flat, memory_flat
from risa_ray.benchmarks.live_run import LiveRun, RunFailedError, Snapshot, analysed, say, trouble_of
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.polling import Poller
from risa_ray.benchmarks.processes import shared_memory_files
from risa_ray.benchmarks.servers import Server, mjpeg_server, rtsp_server
from risa_ray.benchmarks.watching import committed_delays, figure_delays
from risa_ray.frames import DROP_CAUSES
from risa_ray.inputs import config_for

SAMPLE_S = 10.0

_CLIP_S = 20.0
_PER_SERVER = 4
_DOWN_S = (1.0, 20.0)
_SAY_EVERY = 6
_GARBAGE = ("--garbage-every", "3")
_QUARTERS = 4
_BACK_S = 60.0
"""How long cameras may take to come back once the last fault is over."""


class _Faults:
    """Makes a fault now and then: who, what and when come from the seed."""

    def __init__(self, run: LiveRun, servers: list[Server], garbage: Server | None, every_s: float, seed: int) -> None:
        self.made: list[dict[str, Any]] = []
        self._run = run
        self._servers = servers
        self._garbage = garbage
        self._every_s = every_s
        self._rng = random.Random(seed)  # noqa: S311 - a repeatable experiment
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._busy: set[int] = set()
        self._began = time.monotonic()
        self._later(self._gap(), self._fault)

    def step(self) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def end(self) -> None:
        """Bring back every server that is away; make no more faults."""
        while self._due:
            action = heapq.heappop(self._due)[2]
            if action != self._fault:
                action()

    def _fault(self) -> None:
        kinds = ["server killed", "server paused", "reader", "analyzer", "committer"]
        kinds += ["garbage"] if self._garbage else []
        kind = self._rng.choice(kinds)
        if kind in ("reader", "analyzer", "committer"):
            self._kill_actor(kind)
        else:
            self._disturb(kind)
        self._later(self._gap(), self._fault)

    def _kill_actor(self, kind: str) -> None:
        actors = [actor for actor in self._run.actors() if actor.kind == kind]
        if actors:
            actor = self._rng.choice(actors)
            os.kill(actor.pid, signal.SIGKILL)
            self._note(f"{kind} killed", actor.name)

    def _disturb(self, kind: str) -> None:
        """Take a server away, or have it serve garbage, and put it right after a while."""
        index = self._rng.randrange(len(self._servers))
        server = self._garbage if kind == "garbage" and self._garbage else self._servers[index]
        down_s = self._rng.uniform(*_DOWN_S)
        if id(server) in self._busy:
            return
        self._busy.add(id(server))
        again: Callable[[], None] = server.start
        if kind == "server paused":
            server.pause()
            again = server.resume
        else:
            server.kill()
        if kind == "garbage":
            server.start([*server.arguments, *_GARBAGE])
            again = server.restart
        self._later(down_s, lambda: self._right(server, again))
        self._note(kind, server.urls[0], down_s)

    def _right(self, server: Server, again: Callable[[], None]) -> None:
        again()
        self._busy.discard(id(server))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._number), action))

    def _gap(self) -> float:
        return self._every_s * self._rng.uniform(0.5, 1.5)

    def _note(self, what: str, whom: str, down_s: float | None = None) -> None:
        at_s = round(time.monotonic() - self._began, 1)
        self.made.append({"at_s": at_s, "what": what, "whom": whom, "down_s": down_s})
        say(f"{at_s:8.1f} s: {what}: {whom}" + (f", for {down_s:.0f} s" if down_s else ""))


class _Cameras:
    """How far the sessions got, and connections and stalls of every reader's process, which count from 0 each."""

    def __init__(self) -> None:
        self.reached = Reached()
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}

    def note(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        self.reached.note(snapshot)
        for camera_id, status in snapshot["readers"].items():
            if status["process"]:
                key = (camera_id, status["process"]["pid"])
                self._counts[key] = (status["connections"], status["stalls"])

    def told(self) -> dict[str, Any]:
        """Per camera: connections, and stalls."""
        connections: Counter[str] = Counter()
        stalls: Counter[str] = Counter()
        for (camera_id, _), (connected, stalled) in self._counts.items():
            connections[camera_id] += connected
            stalls[camera_id] += stalled
        return {"connections": dict(connections), "stalls": dict(stalls)}


def bench_soak(
    cameras: int,
    minutes: float,
    faults: bool,
    fault_every_s: float,
    seed: int,
    size: tuple[int, int],
    fps: float,
    camera: dict[str, Any],
    pipeline: dict[str, Any],
    sample_s: float = SAMPLE_S,
) -> dict[str, Any]:
    """Run cameras of real servers for some minutes, and say what grew, what was dropped and what is in the store.

    The last camera is served as MJPEG over HTTP, the others over RTSP, four to a server. With faults, one comes every
    `fault_every_s` on average, half more or less: a server killed and started again, paused and continued, or (MJPEG)
    serving garbage for 1 to 20 s, a reader, analyzer or committer killed.

    A run that ends before its time is told of as far as it came.

    Raises:
        InputError: there is no server script, or a setting is wrong.
        RunFailedError: the run ended before every camera had a frame.
    """
    before = machine()
    say(f"seed {seed}: {cameras} cameras for {minutes:g} minutes, {'with' if faults else 'without'} faults")
    growths, seen, samples = Growths(), _Cameras(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="risa-", ignore_cleanup_errors=True) as temporary, ExitStack() as stack:
        folder = Path(temporary)
        files = [write_footage(folder, number, size, fps, _CLIP_S) for number in range(cameras)]
        servers = [stack.enter_context(server) for server in _servers(files, fps)]
        data = str(folder / "data")
        config = config_for([url for server in servers for url in server.urls], data, camera, pipeline)
        ids = {c.id for _, c in config.cameras()}
        poller = stack.enter_context(Poller(data))
        run = stack.enter_context(LiveRun(config, folder / "run", on_snapshot=seen.note))
        run.start()
        run.wait_frames(ids, 240)
        made = _Faults(run, servers, servers[-1] if cameras > 1 else None, fault_every_s, seed) if faults else None
        began = time.time()
        trouble = trouble_of(lambda: _soak(run, made, growths, samples, ids, minutes * 60, sample_s))
        ended = time.time()
        back = _all_back(run, ids)
        states = _states(run.latest)
        unstopped = trouble_of(run.stop)
        log_end = run.tail().splitlines()
        store = _stored(data)
        step_s = (ended - began) / _QUARTERS
        quarters = [committed_delays(data, ids, began + i * step_s, began + (i + 1) * step_s) for i in range(_QUARTERS)]
        short = {"optional": minutes * 60 <= LEAST_SAMPLES * sample_s}
        promises = {
            "it ran to its end": promise(trouble or unstopped, f"{minutes:g} minutes"),
            "every camera came back": back,
            "memory is flat": memory_flat(growths.series) | short,
            "threads, descriptors, shared memory do not grow": short
            | counts_flat(growths.series, [s["shared_memory_files"] for s in samples]),
            "every frame ends analysed or dropped": frames_accounted(data, seen.reached),
            "faces of accounted frames only": faces_accounted(data),
            "rows found are those expected": _rows_found(store),
            "risa verify is clean": verified(data),
        }
    promises["a reader sees no error and no double"] = poller.promise
    return {
        "what": "soak",
        "seed": seed,
        "cameras": cameras,
        "minutes": minutes,
        "size": list(size),
        "fps": fps,
        "camera": camera,
        "pipeline": pipeline,
        "faults": made.made if made else None,
        "states_at_end": states,
        **seen.told(),
        "store": store,
        "polls": poller.result or None,
        "log_end": log_end,
        "row_delay_s": quarters,
        "promises": promises,
        "kept": all(map(kept, promises.values())),
        "processes": [series.told() for series in growths.series],
        "samples": samples,
        "machine": before,
    }


def _servers(files: list[Path], fps: float) -> list[Server]:
    rtsp = files[:-1] or files
    servers = [rtsp_server(rtsp[i : i + _PER_SERVER]) for i in range(0, len(rtsp), _PER_SERVER)]
    if len(files) > 1:
        servers.append(mjpeg_server(files[-1], fps))
    return servers


def _soak(
    run: LiveRun,
    faults: _Faults | None,
    growths: Growths,
    samples: list[dict[str, Any]],
    cameras: set[str],
    seconds: float,
    sample_s: float,
) -> None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if passed >= len(samples) * sample_s:
            growths.sample(run)
            samples.append(_sample(run, cameras, passed))
            if len(samples) % _SAY_EVERY == 1:
                say(f"{passed:8.1f} s: {samples[-1]['states']}, figures p95 {samples[-1]['figure_delay_s']['p95']} s")
        run.wait(lambda: run.alive, 1, "its time was over")
        if faults is not None:
            faults.step()
        time.sleep(0.2)
    if faults is not None:
        faults.end()


def _all_back(run: LiveRun, cameras: set[str]) -> Promise:
    """Whether every camera is live, with frames analysed after the last fault; waits for it."""
    before = analysed(run.latest)

    def missing() -> list[str]:
        now, states = analysed(run.latest), _states(run.latest)
        return [
            f"camera {i}: {states.get(i, 'gone')}, {now.get(i, 0) - before.get(i, 0)} more frames"
            for i in sorted(cameras)
            if states.get(i) != "live" or now.get(i, 0) <= before.get(i, 0)
        ]

    with suppress(RunFailedError):
        run.wait(lambda: not missing(), _BACK_S, "frames of every camera")
    return promise(missing(), f"{len(cameras)} cameras live, with new frames")


def _states(snapshot: Snapshot | None) -> dict[str, str]:
    return {i: status["state"] for i, status in snapshot["readers"].items()} if snapshot else {}


def _sample(run: LiveRun, cameras: set[str], at_s: float) -> dict[str, Any]:
    latest = run.latest
    resident: dict[str, float] = defaultdict(float)
    kinds = {actor.pid: actor.kind for actor in run.actors()} | {run.pid: "driver"}
    for pid, process in run.processes().items():
        resident[kinds.get(pid, "ray")] += process.use.resident_mb
    return {
        "at_s": round(at_s, 1),
        "states": dict(Counter(_states(latest).values())),
        "trouble": latest["committer"]["trouble"] if latest else "",
        "figure_delay_s": figure_delays(latest, cameras),
        "resident_mb": {kind: round(mb, 1) for kind, mb in resident.items()},
        "shared_memory_files": shared_memory_files(),
    }


def _stored(data: str) -> dict[str, Any]:
    columns = ["read", "analysed", *(f"dropped_{cause}" for cause in DROP_CAUSES), "faces"]
    with open_dataset(data, raw=True) as connection:
        sums = ", ".join(f"sum({column})::BIGINT" for column in columns)
        totals = connection.sql(f"SELECT {sums} FROM frames").fetchall()[0]  # noqa: S608 - our own columns
        rows, keys = rows_and_keys(connection)
    return {**dict(zip(columns, totals, strict=True)), "rows": rows, "distinct_rows": keys}


def _rows_found(store: dict[str, Any]) -> dict[str, Any]:
    right = store["faces"] == store["rows"] == store["distinct_rows"]
    told = f"{store['faces']} expected, {store['rows']} found, {store['distinct_rows']} distinct"
    return promise([] if right else [told], told)
