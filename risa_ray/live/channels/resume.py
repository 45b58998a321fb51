"""What an earlier process owes to channels, from the store."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from risa_ray.config import ChainConfig
from risa_ray.live.channels.line import Patience
from risa_ray.live.rules import Alert
from risa_ray.store.alert_events import read_alerts, read_events

_COLUMNS = [field.name for field in fields(Alert)]


class Owed(NamedTuple):
    """An alert and the channels that it was not delivered to. `put_at`: Unix seconds at which it was put."""

    alert: Alert
    channels: tuple[str, ...]
    put_at: float


def pending_from_store(config: ChainConfig, now: datetime, give_up_s: float = Patience.give_up_s) -> list[Owed]:
    """Alerts of the config's cameras that were queued for a channel, and neither delivered nor given up; oldest first.

    An alert that was never queued for a channel is none of its: a channel that is new in the config starts with the
    next alert. Alerts count by the time at which they fired, so those of recordings are not found.

    Args:
        now: aware.
        give_up_s: those that fired earlier are not looked for.

    Raises:
        StoreError: a table cannot be read.
    """
    since = now - timedelta(seconds=give_up_s)
    cameras = {(store.id, camera.id) for store, camera in config.cameras()}
    owed: dict[str, dict[str, float]] = {}
    settled = set()
    for row in read_events(config.data, since):
        key = row["alert_id"], row["channel"]
        if row["kind"] == "queued":
            owed.setdefault(key[0], {})[key[1]] = row["at"].timestamp()
        else:
            settled.add(key)
    waiting = {
        alert_id: {channel: at for channel, at in channels.items() if (alert_id, channel) not in settled}
        for alert_id, channels in owed.items()
    }
    if not any(waiting.values()):
        return []
    found = []
    for row in sorted(read_alerts(config.data, since), key=lambda row: row["fired_at"]):
        channels = waiting.get(row["alert_id"])
        if channels and (row["store_id"], row["camera_id"]) in cameras:
            found.append(Owed(_alert(row), tuple(channels), min(channels.values())))
    return found


def fired_since(data: str, since: datetime) -> list[Alert]:
    """Stored alerts that fired from an aware time on.

    Raises:
        StoreError: they cannot be read.
    """
    return [_alert(row) for row in read_alerts(data, since)]


def _alert(row: dict[str, Any]) -> Alert:
    return Alert(**{name: row[name] for name in _COLUMNS})
