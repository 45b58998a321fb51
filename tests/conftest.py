"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No test depends on how fast the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# For torch, before it is loaded: on a busy machine the threads of small networks wait for each other far longer than
# they work. Whatever else needs a number of threads sets its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_left_out: set[str] = set()


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of real videos, pictures and faces beside the project; tests that need it are left out without it."""
    if not _SHARED.is_dir():
        _left_out.add(request.node.nodeid)
        pytest.skip("the shared test data is not here")
    return _SHARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.write_line(f"left out: {len(_left_out)} tests on real data, since ../shared/data is missing")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """One small Ray cluster for the whole session, with two logical GPUs so that placement can be seen."""
    import ray

    from risa_ray.streaming.cluster import connect

    connect("local", num_cpus=4, num_gpus=2, show_worker_logs=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MB, in memory; mounting one takes rights that not everybody has."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered video file of the demo scene: 40 frames at 8 fps, 480x270, several faces."""
    from risa_ray.sources.demo import write_clip

    path = tmp_path_factory.mktemp("clips") / "scene_20260314_091500.mp4"
    write_clip(path, "front", 5.0, 8, (480, 270))
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small expression model, for tests that are not about its answers."""
    from tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def risa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process, which spares its start of seconds: exit code, output and errors."""
    from risa_ray.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["risa", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def refused(risa: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """The one line with which the command refuses bad input."""

    def run(*arguments: object) -> str:
        code, output, errors = risa(*arguments)
        assert (code, output) == (2, "")
        assert len(errors.strip().splitlines()) == 1, errors
        assert errors.startswith("risa: ")
        return errors.strip()

    return run
