"""Asking actors how they are without ever waiting for one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError

from risa_ray.streaming.calls import hopeless

T = TypeVar("T")


class Polled(Generic[T]):
    """The last answer of an actor that is asked again and again. One that hangs or restarts keeps nobody waiting.

    Args:
        ask: makes the remote call, and returns its reference.

    Attributes:
        value: the last answer, None before the first.
        news: whether the last `look` brought an answer.
        dead: the actor could not start again, and Ray has given it up.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._reference: Any = None
        self._heard_at = time.monotonic()
        self.value: T | None = None
        self.news = False
        self.dead = False

    @property
    def silent_s(self) -> float:
        """How long the actor has not answered."""
        return time.monotonic() - self._heard_at

    def look(self) -> T | None:
        """Take the answer if it has come, and ask anew; the last answer."""
        self.news = False
        if self._reference is not None and ray.wait([self._reference], timeout=0)[0]:
            try:
                self.value = ray.get(self._reference)
                self.news = True
                self._heard_at = time.monotonic()
                self.dead = False
            except RayError as error:
                self.dead = hopeless(error)  # or being restarted: `silent_s` tells for how long
            self._reference = None
        if self._reference is None:
            self._reference = self._ask()
        return self.value

    def patience(self) -> None:
        """Begin to count `silent_s` anew: the actor was just given a reason to be silent."""
        self._heard_at = time.monotonic()
