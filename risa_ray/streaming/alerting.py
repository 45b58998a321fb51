"""The alerts of a run: rules that fire, channels that carry, and the record of what became of each."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta

from risa_ray.config import ChainConfig
from risa_ray.live.channels import Delivery, Outbox, Secrets, fired_since, pending_from_store
from risa_ray.live.rolling import Rolling
from risa_ray.live.rules import Alert, Rules
from risa_ray.store.alert_events import AlertEvents
from risa_ray.store.errors import StoreError

log = logging.getLogger("risa.committer")

KEPT = 1000
"""So many of the latest alerts can be asked for."""
_AGAIN_S = 10.0
_PATIENCE_S = 5.0
"""Rules wait for the store to tell of alerts before this process, but not for a store that is away."""


class Alerting:
    """Rules and channels for one thread, `take` and `store` for another.

    Args:
        config: of the run.
        secrets: of its channels.

    Attributes:
        recent: the latest alerts of this process, oldest first.
        count: how many there were.
        resumed: whether what a process before this one left was taken up.
        trouble: why rules could not be looked at; empty when they could.
    """

    def __init__(self, config: ChainConfig, secrets: Secrets) -> None:
        self.recent: deque[Alert] = deque(maxlen=KEPT)
        self.count = 0
        self.trouble = ""
        self._rules = Rules(config)
        self._outbox = Outbox(config, secrets)
        self._events = AlertEvents(config.data)
        self._resuming = self.resumed = False
        self._untaken: deque[Alert] = deque()
        self._before: list[Alert] = []
        self._reminded = False
        self._began = time.monotonic()
        self._informed = threading.Event()
        threading.Thread(target=self._remember, args=(config,), name="cool-downs", daemon=True).start()

    def reconfigure(self, config: ChainConfig, secrets: Secrets) -> None:
        """Follow the config in force: what stays the same goes on as it was.

        What a process before this one owes is taken up the first time: the config that this one was made with may be
        an old one, in which a channel is missing.
        """
        self._rules.reconfigure(config)
        self._rules.remember(self._before)
        self._outbox.reconfigure(config, secrets)
        if not self._resuming:
            self._resuming = True
            threading.Thread(target=self._resume, args=(config,), name="owed alerts", daemon=True).start()

    def evaluate(self, rolling: Rolling) -> bool:
        """Fire the rules; whether one did. A fault in them is told, and must not keep rows from the store."""
        if not self._informed.is_set() and time.monotonic() - self._began < _PATIENCE_S:
            return False  # what a process before this one fired must not fire anew
        try:
            if self._informed.is_set() and not self._reminded:
                self._rules.remember(self._before)
                self._reminded = True
            fired = self._rules.evaluate(rolling, time.time())
        except Exception as error:
            trouble = f"alert rules failed: {type(error).__name__}: {error}"
            if trouble != self.trouble:
                log.exception("alert rules failed; rows are stored all the same")
            self.trouble = trouble
            return False
        self.trouble = ""
        self._outbox.put(fired)
        self._untaken.extend(fired)
        self.recent.extend(fired)
        self.count += len(fired)
        return bool(fired)

    def take(self) -> list[Alert]:
        """What fired since the last call, to be stored."""
        return [self._untaken.popleft() for _ in range(len(self._untaken))]

    def store(self) -> None:
        """Commit what became of alerts: before the alerts themselves, or a crash between the two forgets what is owed.

        Raises:
            StoreError: the store cannot take it now; it waits.
        """
        self._events.add(self._outbox.drain_events())
        self._events.flush()

    def latest(self, number: int) -> dict[Alert, tuple[Delivery, ...]]:
        """The newest so many alerts, oldest first, and how each fares on its channels."""
        return {alert: self._outbox.deliveries(alert.alert_id) for alert in list(self.recent)[-number:]}

    def close(self, timeout_s: float) -> None:
        """Try once more what is not delivered, and end; the next run goes on with the rest."""
        self._outbox.close(timeout_s)

    def _remember(self, config: ChainConfig) -> None:
        """Take up what a process before this one fired: cool-downs go on."""
        longest_s = max((rule.cooldown_s for rule in config.alerts), default=0)
        while not self._informed.is_set():
            try:
                if longest_s:
                    self._before = fired_since(config.data, datetime.now(UTC) - timedelta(seconds=longest_s))
                self._informed.set()
            except Exception as error:
                log.warning("alerts that fired before cannot be read: %s; trying again", error)
                time.sleep(_AGAIN_S)

    def _resume(self, config: ChainConfig) -> None:
        """Take up what a process before this one did not deliver."""
        while True:
            now = datetime.now(UTC)
            try:
                self._outbox.resume(pending_from_store(config, now))
                self.resumed = True
                return
            except StoreError as error:
                log.warning("alerts that are still owed cannot be read: %s; trying again", error)
            except Exception:
                log.exception("alerts that are still owed cannot be taken up; trying again")
            time.sleep(_AGAIN_S)
