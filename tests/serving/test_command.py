"""`risa serve` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from served import titles
from waiting import eventually

from risa_ray.serving.server import free_port


@contextmanager
def serving(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command on a cluster of its own, once it answers."""
    command = [sys.executable, "-m", "risa_ray.cli", "serve", "--no-analyze", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: requests.get(f"http://127.0.0.1:{port}/v1/health", timeout=30).ok or process.poll(), 120)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def head_of(driver: int) -> int:
    """The process that keeps the cluster of a driver together; its log folder is named after the driver."""
    (pid,) = (p for p, title in titles().items() if b"/gcs_server\0" in title and f"_{driver}/".encode() in title)
    return pid


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    port = free_port(0)
    with serving(port, tmp_path) as process:
        assert requests.get(f"http://127.0.0.1:{port}/").headers["content-type"].startswith("text/html")
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert f"serving http://127.0.0.1:{port}/ (Ctrl-C ends it)" in out
    assert "no cluster was named, so no job can be found" in out
    assert errors.endswith("risa: stopping; the page and the API end\n")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/")


def test_it_tells_that_the_cluster_is_gone(tmp_path: Path) -> None:
    with serving(free_port(0), tmp_path) as process:
        os.kill(head_of(process.pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
    assert "risa: the Ray cluster is gone, and the page with it" in errors
