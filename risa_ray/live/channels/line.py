"""The alerts that wait for one channel, and the thread that delivers them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from risa_ray.live.channels.base import Channel, NotNowError, RefusedError
from risa_ray.live.rules import Alert
from risa_ray.redaction import redact

log = logging.getLogger("risa.alerts")

MOST_WAITING = 10_000
"""More are not kept in memory: the oldest counts as failed."""


@dataclass(frozen=True)
class Patience:
    """How a channel is tried again: after `first_s`, twice as long each time, `longest_s` at most, all seconds.

    Short enough that a channel that is back is found within a minute. `give_up_s`: from when an alert was put.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    give_up_s: float = 24 * 3600.0
    clock: Callable[[], float] = time.time
    ticks: Callable[[], float] = time.monotonic
    """Does not jump when the clock is set."""

    def wait_s(self, failures: int) -> float:
        """After so many failures in a row; half of it is left to chance, so that not all come back at one moment."""
        longest = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, nothing secret)


@dataclass(slots=True, eq=False)
class Waiting:
    """An alert on its way. `put_at`: Unix seconds."""

    alert: Alert
    put_at: float
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try, or of giving up. `at`: Unix seconds; `error`: empty where it was delivered."""

    state: Literal["pending", "delivered", "failed"]
    at: float
    tries: int
    error: str = ""


Tell = Callable[[Alert, str, Tried], None]
"""Called with the alert, the channel's id and what came of it, from the channel's thread."""


class Line:
    """One channel's alerts in a line. A receiver in trouble is left alone for a while, whatever waits for it.

    An alert that did not go through goes to the end of the line: one that a receiver chokes on does not hold up others.

    Args:
        channel_id: for the log, and for `tell`.
    """

    def __init__(self, channel_id: str, channel: Channel, tell: Tell, patience: Patience) -> None:
        self.channel_id = channel_id
        self._channel = channel
        self._tell = tell
        self._patience = patience
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._announced = False
        self._failures = 0
        self._not_before = self._asked_until = 0.0
        self._last_tries: int | None = None
        self._closed = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"alerts-{channel_id}", daemon=True)
        self._thread.start()

    def put(self, alert: Alert, put_at: float) -> None:
        """Take an alert; returns at once."""
        with self._changed:
            self._waiting.append(Waiting(alert, put_at))
            surplus = self._waiting.popleft() if len(self._waiting) > MOST_WAITING else None
            self._changed.notify()
        if surplus is not None:
            self._fail(surplus, f"more than {MOST_WAITING} alerts wait")

    def replace(self, channel: Channel) -> None:
        """Deliver what waits, and what comes, by another channel, at once."""
        with self._changed:
            self._channel, self._announced = channel, False
            self._failures, self._not_before, self._asked_until = 0, 0.0, 0.0
            self._changed.notify()

    def finish(self) -> None:
        """Try what waits once more, then end; does not wait for it."""
        with self._changed:
            if self._last_tries is None:
                self._last_tries = len(self._waiting)
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended; after `timeout_s` it ends with the try that is under way."""
        self._thread.join(max(0.0, timeout_s))
        with self._changed:
            self._closed = True
            self._changed.notify()

    def drop(self, why: str) -> None:
        """End at once; what waits has failed."""
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for waiting in dropped:
            self._fail(waiting, why)

    def _run(self) -> None:
        while (channel := self._due()) is not None:
            self._try(channel)

    def _due(self) -> Channel | None:
        """Wait until there is something to try, and return by which channel; None when it has ended."""
        with self._changed:
            while not self._closed:
                now = self._patience.ticks()
                if self._last_tries is not None:
                    if not self._last_tries or not self._waiting or now < self._asked_until:
                        return None
                    self._last_tries -= 1
                    return self._channel
                wait = self._not_before - now if self._waiting or not self._announced else None
                if wait is not None and wait <= 0:
                    return self._channel
                self._changed.wait(wait)
            return None

    def _try(self, channel: Channel) -> None:
        """Deliver the first in the line, after what the receiver is to know before all others."""
        with self._changed:
            waiting = self._waiting[0] if self._waiting else None
        try:
            if not self._announced:
                channel.announce()
                self._announced = channel is self._channel
            if waiting is not None:
                channel.send(waiting.alert)
        except RefusedError as error:
            self._settle(waiting, "failed", str(error))
            self._in_trouble(str(error), "an alert is given up")
        except NotNowError as error:
            self._later(waiting, str(error), error.after_s)
        except Exception as error:
            # Its thread must live on, or nothing is ever delivered again.
            log.exception("alert channel %s: failed unexpectedly", self.channel_id)
            self._later(waiting, f"failed unexpectedly ({type(error).__name__})", 0.0)
        else:
            self._settle(waiting, "delivered")
            if self._trouble:
                log.info("alert channel %s: delivers again", self.channel_id)
            self._trouble = ""

    def _later(self, waiting: Waiting | None, error: str, after_s: float) -> None:
        """Nothing goes through now: leave the channel alone for a while, and give up what waited too long."""
        patience = self._patience
        now, ticks = patience.clock(), patience.ticks()
        with self._changed:
            self._failures += 1
            self._asked_until = ticks + after_s
            self._not_before = ticks + max(after_s, patience.wait_s(self._failures))
            if waiting is not None and self._waiting and self._waiting[0] is waiting:
                waiting.tries += 1
                self._waiting.rotate(-1)
            old = [entry for entry in self._waiting if now - entry.put_at >= patience.give_up_s]
            if old:
                self._waiting = deque(entry for entry in self._waiting if now - entry.put_at < patience.give_up_s)
            still = waiting in self._waiting
            count = len(self._waiting)
        self._in_trouble(error, f"{count} waiting, trying again")
        if waiting is not None and still:
            self._tell(waiting.alert, self.channel_id, Tried("pending", now, waiting.tries, redact(error)))
        for entry in old:
            self._fail(entry, f"given up after {patience.give_up_s / 3600:g} h: {error}")

    def _settle(self, waiting: Waiting | None, state: Literal["delivered", "failed"], error: str = "") -> None:
        with self._changed:
            self._failures = 0
            # It may have been dropped meanwhile, or lost its place to newer ones.
            if waiting is None or not self._waiting or self._waiting[0] is not waiting:
                return
            self._waiting.popleft()
        tried = Tried(state, self._patience.clock(), waiting.tries + 1, redact(error))
        self._tell(waiting.alert, self.channel_id, tried)

    def _fail(self, waiting: Waiting, error: str) -> None:
        self._tell(
            waiting.alert, self.channel_id, Tried("failed", self._patience.clock(), waiting.tries, redact(error))
        )

    def _in_trouble(self, error: str, then: str) -> None:
        if not self._trouble:
            log.warning("alert channel %s: %s; %s", self.channel_id, redact(error), then)
        self._trouble = error
