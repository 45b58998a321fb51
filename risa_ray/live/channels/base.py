"""What every channel is, and what it says when an alert does not go through."""

from __future__ import annotations

import json
from typing import Any, Protocol

from pydantic import TypeAdapter

from risa_ray.live.rules import Alert

_ALERT = TypeAdapter(Alert)


class NotNowError(Exception):
    """It did not go through and is to be tried again, in one line without secrets.

    Args:
        after_s: the receiver asks not to be tried sooner.
    """

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class RefusedError(Exception):
    """The receiver will not have this alert, however often it is sent; in one line without secrets."""


class Channel(Protocol):
    """A way to tell somebody of an alert. Used by one thread."""

    def announce(self) -> None:
        """What the receiver is to know before the first alert. Done once; may do nothing.

        Raises:
            NotNowError: to be tried again.
        """

    def send(self, alert: Alert) -> None:
        """Deliver an alert; returns once the receiver has it.

        Raises:
            NotNowError: to be tried again. The receiver may have it all the same.
            RefusedError: not to be tried again.
        """


def plain(alert: Alert) -> dict[str, Any]:
    """An alert as JSON can hold it: ISO times in UTC, null for what is no finite number."""
    values: dict[str, Any] = json.loads(_ALERT.dump_json(alert))
    return values


def reason(error: BaseException) -> str:
    """Why the network or the system failed, in a few words: never an address, which may hold a secret."""
    seen: BaseException | None = error
    for _ in range(10):
        told = getattr(seen, "verify_message", None) or getattr(seen, "strerror", None)
        if told:
            return str(told)
        # urllib3 keeps the cause as `reason`, requests as its only argument.
        args = getattr(seen, "args", ())
        inner = getattr(seen, "reason", None) or (args[0] if args else None)
        following = inner if isinstance(inner, BaseException) else getattr(seen, "__cause__", None)
        seen = following or getattr(seen, "__context__", None)
        if seen is None:
            break
    return type(error).__name__
