"""Alerts on their way to whoever is to hear of them: webhooks, MQTT, files."""

from risa_ray.live.channels.outbox import Delivery, Outbox
from risa_ray.live.channels.resume import fired_since, pending_from_store
from risa_ray.live.channels.secrets import Secrets, read_secrets

__all__ = ["Delivery", "Outbox", "Secrets", "fired_since", "pending_from_store", "read_secrets"]
