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
