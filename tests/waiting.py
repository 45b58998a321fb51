"""Waiting for what happens elsewhere, without depending on how fast that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests


def eventually(ask: Callable[[], Any], seconds: float = 60) -> Any:
    """The first answer that is true; a server that is away is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answer := ask():
                return answer
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
