"""Makes the helpers beside the tests importable under importmode=importlib, and real receivers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from receivers import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server that notes what it is sent, and answers what the test says."""
    server = Receiver()
    yield server
    server.stop()
