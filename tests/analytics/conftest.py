"""Made-up rows for the views, and METRICS transcribed naively to compare them with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _databases() -> Iterator[None]:
    """Closes what `worlds.connect` keeps: DuckDB complains of connections that Python's end finds open."""
    yield
    import worlds

    worlds.database.cache_clear()


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dataset of two busy stores."""
    from simulated import simulate_busy

    return simulate_busy(tmp_path_factory.mktemp("busy"))


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dataset of a quiet store."""
    from simulated import simulate_quiet

    return simulate_quiet(tmp_path_factory.mktemp("quiet"))
