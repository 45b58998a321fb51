"""Alerts on their way to the channels of a config, each in a line of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from risa_ray.config import ChainConfig
from risa_ray.config_channels import ChannelConfig, MqttChannel, WebhookChannel
from risa_ray.frames import from_unix
from risa_ray.live.channels.base import Channel
from risa_ray.live.channels.file import File
from risa_ray.live.channels.line import Line, Patience, Tried
from risa_ray.live.channels.mqtt import Mqtt
from risa_ray.live.channels.resume import Owed
from risa_ray.live.channels.secrets import Secrets
from risa_ray.live.channels.webhook import Webhook
from risa_ray.live.rules import Alert
from risa_ray.store.alert_events import event

SHOWN = 2000
"""So many alerts' deliveries can be asked for; those of older ones stand in the table alone."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert on one of its channels.

    Attributes:
        at: of the delivery, or of the last try, aware UTC; None before the first.
        tries: of this process.
        error: of the last try; empty where it was delivered.
    """

    channel: str
    state: Literal["pending", "delivered", "failed"]
    at: datetime | None = None
    tries: int = 0
    error: str = ""


class Outbox:
    """Delivers alerts at least once, each channel in a thread of its own, so that none waits for another.

    What is to be kept comes as rows of `alert_events` from `drain_events`: once they are stored, a successor goes on
    with what was not delivered, see `resume`.

    Args:
        config: with absolute paths.
        secrets: of its channels, see `read_secrets`. A channel whose secrets are missing keeps its alerts.
    """

    def __init__(self, config: ChainConfig, secrets: Secrets, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}
        self._made_of: dict[str, tuple[object, ...]] = {}
        self._deliveries: dict[str, dict[str, Delivery]] = {}
        self._events: list[dict[str, Any]] = []
        self._config = config
        self.reconfigure(config, secrets)

    def reconfigure(self, config: ChainConfig, secrets: Secrets) -> None:
        """Follow an edited config: what waits for a channel that was changed goes its new way, at once.

        What waits for one that was removed has failed.
        """
        self._config = config
        for channel_id in self._lines.keys() - {channel.id for channel in config.channels}:
            self._lines.pop(channel_id).drop("the channel was removed from the config")
            del self._made_of[channel_id]
        for channel in config.channels:
            made_of = _ingredients(channel, config, secrets)
            if self._made_of.get(channel.id) == made_of:
                continue
            self._made_of[channel.id] = made_of
            way = _open(channel, config, secrets)
            if channel.id in self._lines:
                self._lines[channel.id].replace(way)
            else:
                self._lines[channel.id] = Line(channel.id, way, self._tell, self._patience)

    def put(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that fired; returns at once."""
        now = self._patience.clock()
        for alert in alerts:
            to = self._channels_of(alert)
            if not to:
                continue
            with self._lock:
                self._show(alert.alert_id, {channel_id: Delivery(channel_id, "pending") for channel_id in to})
                self._events += [event(alert, "queued", from_unix(now), channel=channel_id) for channel_id in to]
            for channel_id in to:
                self._lines[channel_id].put(alert, now)

    def resume(self, owed: Iterable[Owed]) -> None:
        """Go on with what a predecessor did not deliver; alerts that are known here are left out."""
        now = self._patience.clock()
        for alert, channels, put_at in owed:
            with self._lock:
                if alert.alert_id in self._deliveries:
                    continue
                self._show(alert.alert_id, {channel_id: Delivery(channel_id, "pending") for channel_id in channels})
            for channel_id in channels:
                if channel_id in self._lines:
                    self._lines[channel_id].put(alert, put_at)
                else:
                    self._tell(alert, channel_id, Tried("failed", now, 0, "the channel was removed from the config"))

    def deliveries(self, alert_id: str) -> tuple[Delivery, ...]:
        """How an alert fares on each of its channels; empty where it has none, or is not known here any more."""
        with self._lock:
            return tuple(self._deliveries.get(alert_id, {}).values())

    def drain_events(self) -> list[dict[str, Any]]:
        """Rows of `alert_events` since the last call, for `AlertEvents.add`."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def close(self, timeout_s: float) -> None:
        """Try what waits once more, and end. What did not go through stays owed to its channel: a next run goes on.

        Args:
            timeout_s: a try that is under way then is not waited for.
        """
        for line in self._lines.values():
            line.finish()
        until = time.monotonic() + timeout_s
        for line in self._lines.values():
            line.join(until - time.monotonic())

    def _channels_of(self, alert: Alert) -> list[str]:
        """By the alert's rule, and how severe it is."""
        rule = next((rule for rule in self._config.alerts if rule.id == alert.rule_id), None)
        wanted = None if rule is None else rule.channels
        return [
            channel.id
            for channel in self._config.channels
            if channel.takes(alert.severity) and (wanted is None or channel.id in wanted)
        ]

    def _tell(self, alert: Alert, channel_id: str, tried: Tried) -> None:
        at = from_unix(tried.at)
        with self._lock:
            shown = self._deliveries.get(alert.alert_id)
            if shown is not None:
                shown[channel_id] = Delivery(channel_id, tried.state, at, tried.tries, tried.error)
            if tried.state != "pending":
                row = event(alert, tried.state, at, channel=channel_id, tries=tried.tries, note=tried.error)
                self._events.append(row)

    def _show(self, alert_id: str, deliveries: dict[str, Delivery]) -> None:
        self._deliveries[alert_id] = deliveries
        while len(self._deliveries) > SHOWN:
            del self._deliveries[next(iter(self._deliveries))]


def _ingredients(channel: ChannelConfig, config: ChainConfig, secrets: Secrets) -> tuple[object, ...]:
    """All that a channel is made of."""
    told = config.stores if isinstance(channel, MqttChannel) and channel.home_assistant else None
    return channel, told, {name: secrets.get(name) for name in channel.environment}


def _open(channel: ChannelConfig, config: ChainConfig, secrets: Mapping[str, Any]) -> Channel:
    if isinstance(channel, WebhookChannel):
        return Webhook(channel, secrets)
    if isinstance(channel, MqttChannel):
        return Mqtt(channel, config, secrets)
    return File(channel)
