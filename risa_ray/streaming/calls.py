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
        GetTimeoutError: it does not answer in time.
        RayTaskError: the actor answered with an error.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            return ray.get(call(), timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except RayActorError as error:
            if hopeless(error) or (deadline is not None and time.monotonic() > deadline):
                raise
            time.sleep(_PAUSE_S)


def hopeless(error: Exception) -> bool:
    """Whether an actor could not start, which Ray does not try again."""
    return isinstance(error, ActorDiedError) and bool(getattr(error, "actor_init_failed", False))


def last_line(error: Exception) -> str:
    """What went wrong, in one line, without Ray's traceback of the remote process."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return lines[-1] if lines else type(cause).__name__
