"""Model files for the tests of how they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tiny import write_tiny_model


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model file whose settings differ from the usual ones as asked."""
    return partial(write_tiny_model, tmp_path)
