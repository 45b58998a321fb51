"""Fixtures shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered video file of the demo scene: 40 frames at 8 fps, 480x270, several faces."""
    from risa_ray.sources.demo import write_clip

    path = tmp_path_factory.mktemp("clips") / "scene_20260314_091500.mp4"
    write_clip(path, "front", 5.0, 8, (480, 270))
    return path
