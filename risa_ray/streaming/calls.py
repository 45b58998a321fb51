"""Calling actors that may be restarting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError

_PAUSE_S = 0.5


def patiently(call: Callable[[], Any], stopping: threading.Event | None = None) -> Any:
    """The answer of an actor that Ray restarts, however long that takes.

    Args:
        call: makes the remote call, and returns its reference.
        stopping: gives up once this is set.

    Raises:
        RayActorError: the actor is not there and `stopping` is set.
        RayTaskError: the actor answered with an error.
    """
    while True:
        try:
            return ray.get(call())
        except RayActorError:
            if stopping is not None and stopping.is_set():
                raise
            time.sleep(_PAUSE_S)


def last_line(error: Exception) -> str:
    """What went wrong, without Ray's traceback of the remote process."""
    return str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
