"""A run under test: the pipeline in a process of its own, which a harness watches, edits, stops and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from risa_ray.benchmarks.processes import Process, in_session
from risa_ray.config import ChainConfig
from risa_ray.errors import InputError

Snapshot = dict[str, Any]
"""The driver's `Snapshot` as JSON, with `at`: monotonic seconds of its arrival here."""

_TAIL = 30
_GONE_S = 30.0
"""So long processes that were killed may take to be gone."""


class RunFailedError(Exception):
    """The process under test ended, or did not do what it should in time; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor of the run: its kind (reader, analyzer, committer), its name and its process."""

    kind: str
    name: str
    pid: int


class LiveRun:
    """Runs a config as a child that is started, and started again, until `close`. A context manager.

    Args:
        config: with absolute paths.
        folder: for the config, the log and Ray's files; short, since Ray's sockets lie in it (a name below 50 letters).
        interval_s: seconds between two snapshots.
        on_snapshot: called with each, from a thread.

    Attributes:
        latest: the last snapshot of the current process, None before its first.
        report: the driver's `StreamReport` as JSON, once it has one.
        failed: the line with which bad input or the store's trouble ended the process.
        started: how often a process was started.
    """

    def __init__(
        self,
        config: ChainConfig,
        folder: Path,
        interval_s: float = 0.5,
        on_snapshot: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        self.latest: Snapshot | None = None
        self.report: Snapshot | None = None
        self.failed: str | None = None
        self.started = 0
        self._folder = folder
        self._interval_s = interval_s
        self._on_snapshot = on_snapshot
        self._path = folder / "config.yaml"
        self._log = folder / "run.log"
        self._process: subprocess.Popen[str] | None = None
        self._reading: threading.Thread | None = None
        self._sessions: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.edit(config)

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def edit(self, config: ChainConfig) -> None:
        """Replace the config file, which a run under way follows."""
        new = self._path.with_suffix(".new")
        new.write_text(config.model_dump_json(by_alias=True), encoding="utf-8")
        new.replace(self._path)

    def start(self) -> None:
        """Start the process, as after a reboot when there was one."""
        self.latest = self.report = self.failed = None
        environment = dict(os.environ) | {"RAY_TMPDIR": str(self._folder / "ray"), "PYTHONUNBUFFERED": "1"}
        environment.pop("RAY_ADDRESS", None)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "risa_ray.benchmarks.live_child", str(self._path), str(self._interval_s)],
                stdin=subprocess.PIPE,  # never written to: it ends with this process, and the run with it
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        self.started += 1
        self._sessions.append(self._process.pid)
        self._reading = threading.Thread(target=self._read, args=(self._process,), name="snapshots", daemon=True)
        self._reading.start()

    @property
    def pid(self) -> int:
        """The driver's process."""
        if self._process is None:
            raise RunFailedError("the run was not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the driver's process runs."""
        return self._process is not None and self._process.poll() is None

    def actors(self) -> list[Actor]:
        """The actors of the last snapshot whose processes live, in a fixed order."""
        latest = self.latest
        if latest is None:
            return []
        there = self.processes()
        named = [
            *(("reader", camera_id, status["process"]) for camera_id, status in sorted(latest["readers"].items())),
            *(("analyzer", str(i), status["process"]) for i, status in enumerate(latest["analyzers"])),
            ("committer", "committer", latest["committer"]["process"]),
        ]
        return [Actor(kind, name, use["pid"]) for kind, name, use in named if use and use["pid"] in there]

    def processes(self) -> dict[int, Process]:
        """Every process of the run now, Ray's included."""
        return in_session(self.pid)

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until a condition holds, looking every 50 ms.

        Raises:
            RunFailedError: the process ended before, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if not self.alive:
                self._joined()
                if condition():
                    return
                raise RunFailedError(f"the run ended before {what}: {self.failed or self.tail()}")
            if time.monotonic() > deadline:
                raise RunFailedError(f"no {what} within {timeout_s:.0f} s; the end of the log: {self.tail()}")
            time.sleep(0.05)

    def wait_frames(self, cameras: set[str], timeout_s: float) -> None:
        """Wait until each of the cameras has an analysed frame.

        Raises:
            RunFailedError: as `wait`.
        """
        self.wait(lambda: cameras <= {c for c, n in analysed(self.latest).items() if n}, timeout_s, "first frames")

    def stop(self, timeout_s: float = 90) -> Snapshot:
        """SIGTERM, and the report of the drained run.

        Raises:
            RunFailedError: there is none.
        """
        if self.alive and self._process is not None:
            self._process.terminate()
        return self.finish(timeout_s)

    def finish(self, timeout_s: float) -> Snapshot:
        """The report of a run that ends by itself.

        Raises:
            RunFailedError: there is none.
        """
        self.wait(lambda: self.report is not None, timeout_s, "end of the run")
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        if self.report is None:  # for the type checker
            raise RunFailedError("no report")
        return self.report

    def kill(self) -> None:
        """SIGKILL to the driver; what becomes of its actors is Ray's affair."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._joined()

    def close(self) -> None:
        """End whatever is left of the run, Ray's processes included, and wait until they are gone."""
        self.kill()
        deadline = time.monotonic() + _GONE_S
        while (left := [pid for session in self._sessions for pid in in_session(session)]) and (
            time.monotonic() < deadline
        ):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def tail(self) -> str:
        """The last lines of the log."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-_TAIL:])

    def _joined(self) -> None:
        """Wait until what the process wrote last was read."""
        if self._reading is not None:
            self._reading.join(10)

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        for line in process.stdout:
            try:
                told = json.loads(line)
            except json.JSONDecodeError:  # the process was killed while it wrote
                continue
            self.report = told.get("report", self.report)
            self.failed = told.get("failed", self.failed)
            if "snapshot" in told:
                self.latest = told["snapshot"] | {"at": time.monotonic()}
                self._on_snapshot(self.latest)


def analysed(snapshot: Snapshot | None) -> dict[str, int]:
    """Analysed frames per camera, as counted since the driver began: what is sent again counts again."""
    outcomes = snapshot["committer"]["outcomes"] if snapshot else {}
    return {camera_id: counts.get("analysed", 0) for camera_id, counts in outcomes.items()}


def trouble_of(work: Callable[[], object]) -> list[str]:
    """Work on a run and its servers; if one of them failed, why. What was measured until then can still be told."""
    try:
        work()
    except (RunFailedError, InputError) as error:
        return [str(error)]
    return []


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
