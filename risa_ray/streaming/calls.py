"""Calling actors that may be restarting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError

_PAUSE_S = 0.5


def patiently(call: Callable[[], Any], timeout_s: float | None = None) -> Any:
    """The answer of an actor that Ray restarts.

    Args:
        call: makes the remote call, and returns its reference.
        timeout_s: how long to wait for the actor to come back; None waits as long as Ray goes on restarting it.

    Raises:
        RayActorError: the actor cannot start any more, or is not back in time.
        RayTaskError: the actor answered with an error.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            return ray.get(call())
        except RayActorError as error:
            hopeless = isinstance(error, ActorDiedError) and getattr(error, "actor_init_failed", False)
            if hopeless or (deadline is not None and time.monotonic() > deadline):
                raise
            time.sleep(_PAUSE_S)


def last_line(error: Exception) -> str:
    """What went wrong, in one line, without Ray's traceback of the remote process."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return lines[-1] if lines else type(cause).__name__
