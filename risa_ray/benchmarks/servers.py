"""Real camera servers in processes of their own, to be killed, paused and started again."""

from __future__ import annotations

import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import risa_ray
from risa_ray.benchmarks.processes import cpu_seconds
from risa_ray.errors import InputError

_READY_S = 30.0
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORTS = 12_000
_TRIED = 100


class Server:
    """One of the scripts that serve cameras, on a port of its own. A context manager, which starts it.

    It ends with the thread that started it, whatever kills that.

    Args:
        command: a script of a checkout, with its interpreter where it needs one; it prints `ready URL` for each camera
            once it listens.
        arguments: beside --port and --with-parent.
        cameras: how many addresses it will print.

    Attributes:
        arguments: as given.
        urls: the addresses, in the order of the arguments; the same after a restart.
    """

    def __init__(self, command: Sequence[str], arguments: Sequence[str], cameras: int = 1) -> None:
        self.urls: list[str] = []
        self._command = list(command)
        self._cameras = cameras
        self._port = _free_port()
        self.arguments = list(arguments)
        self._process: subprocess.Popen[str] | None = None
        self._spent_s = 0.0

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, arguments: Sequence[str] | None = None) -> None:
        """Start it, with other arguments where they are given, and wait until it listens.

        Raises:
            InputError: it says why it cannot, or says nothing.
        """
        given = self.arguments if arguments is None else arguments
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self._port), "--with-parent", str(os.getpid()), *given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.urls = self._wait_ready(self._process)

    def kill(self) -> None:
        """SIGKILL, as a camera that loses its power."""
        if self._process is not None:
            self._spent_s += cpu_seconds(self._process.pid) or 0.0
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill and start it as it was meant to be."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP, as a camera that hangs: its connections stay open and nothing comes."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return self._spent_s + (cpu_seconds(self._process.pid) or 0.0 if self._process else 0.0)

    def _wait_ready(self, process: subprocess.Popen[str]) -> list[str]:
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pass_on, args=(process, lines), daemon=True).start()
        said: deque[str] = deque(maxlen=20)  # read all along, so that it never waits for a reader
        errors = threading.Thread(target=said.extend, args=(process.stderr or (),), daemon=True)
        errors.start()
        urls: list[str] = []
        deadline = time.monotonic() + _READY_S
        while len(urls) < self._cameras:
            line = None
            with suppress(queue.Empty):
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            if line is None:
                process.kill()
                process.wait()
                errors.join(5)
                told = said[-1].strip() if said else f"{self._command[-1]}: not ready in {_READY_S:g} s"
                raise InputError(told)
            if line.startswith("ready "):
                urls.append(line.split(maxsplit=1)[1].strip())
        return urls


def find_script(name: str) -> Path:
    """A script of the checkout that this package runs from.

    Raises:
        InputError: there is none, as in an installed package.
    """
    path = Path(risa_ray.__file__).resolve().parents[1] / "scripts" / name
    if not path.is_file():
        raise InputError(f"scripts/{name} is missing: run this from a checkout of the project, which has it")
    return path


def rtsp_server(files: Sequence[Path]) -> Server:
    """Shows video files over RTSP, each again and again, under their names.

    Raises:
        InputError: the script is missing.
    """
    arguments = [part for path in files for part in ("--camera", f"{path.stem}={path}")]
    return Server([str(find_script("rtsp-server"))], arguments, len(files))


def mjpeg_server(file: Path, fps: float) -> Server:
    """Shows a video file as MJPEG over HTTP, again and again.

    Raises:
        InputError: the script is missing.
    """
    return Server([sys.executable, str(find_script("mjpeg-server"))], ["--camera", str(file), "--fps", f"{fps:g}"])


def _pass_on(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put(None)


def _free_port() -> int:
    """A port that no connection is given by the system: it must still be free when a server comes back.

    Raises:
        InputError: none was found.
    """
    end = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    for port in random.sample(range(max(1024, end - _PORTS), end), min(_TRIED, end - 1024)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise InputError(f"no free port below {end}, where {_EPHEMERAL} begins; end what listens there")
