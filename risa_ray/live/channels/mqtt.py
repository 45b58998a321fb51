"""Alerts over MQTT, each on the topic of its camera or zone, and how Home Assistant learns of these topics."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from risa_ray.config import ChainConfig
from risa_ray.config_channels import SEVERITIES, MqttChannel
from risa_ray.live.channels.base import NotNowError, plain, reason
from risa_ray.live.channels.secrets import Secrets, secret, user_and_password
from risa_ray.live.rules import Alert

_DISCOVERY = "homeassistant"


class Message(NamedTuple):
    topic: str
    payload: dict[str, Any]
    retain: bool = False


class Mqtt:
    """Publishes an alert with QoS 1 over a connection of its own: alerts are rare, and nothing has to be kept alive.

    Args:
        chain: whose cameras and zones Home Assistant is told of.
    """

    def __init__(self, config: MqttChannel, chain: ChainConfig, secrets: Secrets) -> None:
        self._config = config
        self._secrets = secrets
        self._entities = list(discovery(config.topic, chain)) if config.home_assistant else []

    def announce(self) -> None:
        """Tell Home Assistant which entities there are. The broker keeps it for when that is started."""
        if self._entities:
            self._publish(self._entities)

    def send(self, alert: Alert) -> None:
        topic = topic_of(self._config.topic, alert.store_id, alert.camera_id, alert.zone_id)
        # Not retained: an alert of yesterday must not look new to who subscribes today.
        self._publish([Message(topic, {"event_type": alert.severity, **plain(alert)})])

    def _publish(self, messages: Sequence[Message]) -> None:
        try:
            with self._connected() as client:
                sent = [
                    client.publish(m.topic, json.dumps(m.payload, ensure_ascii=False), qos=1, retain=m.retain)
                    for m in messages
                ]
                for info in sent:
                    self._confirm(info)
        except (OSError, ValueError, RuntimeError) as error:
            raise NotNowError(f"cannot be reached ({reason(error)})") from None

    def _confirm(self, info: MQTTMessageInfo) -> None:
        info.wait_for_publish(self._config.timeout_s)
        if not info.is_published():
            raise NotNowError(f"the broker did not confirm within {self._config.timeout_s:g} s")

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        config = self._config
        # 3.1.1: every broker speaks it.
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        client.connect_timeout = config.timeout_s
        if config.credentials_env is not None:
            client.username_pw_set(*user_and_password(secret(self._secrets, config.credentials_env)))
        if config.tls:
            client.tls_set(ca_certs=config.ca_file)
        answered, answers = threading.Event(), list[ReasonCode]()

        def on_connect(_: Client, __: object, ___: object, code: ReasonCode, ____: object) -> None:
            answers.append(code)
            answered.set()

        client.on_connect = on_connect
        client.connect(config.host, config.actual_port, keepalive=max(5, int(config.timeout_s)))
        client.loop_start()
        try:
            if not answered.wait(config.timeout_s):
                raise NotNowError(f"the broker did not answer within {config.timeout_s:g} s")
            if answers[0].is_failure:
                raise NotNowError(f"the broker refuses the connection ({answers[0]})")
            yield client
        finally:
            client.disconnect()
            client.loop_stop()


def topic_of(prefix: str, store_id: str, camera_id: str | None, zone_id: str | None) -> str:
    """Where the alerts of a zone, a camera or a store are published; `<prefix>/<store>/#` has all of a store."""
    return "/".join(part for part in (prefix, store_id, camera_id, zone_id) if part)


def discovery(prefix: str, chain: ChainConfig) -> Iterator[Message]:
    """An event entity of Home Assistant for each camera and each zone that people are counted in.

    https://www.home-assistant.io/integrations/event.mqtt: the kind of an event is the alert's severity, all else in
    the message becomes an attribute.
    """
    for store, camera in chain.cameras():
        device = {
            "identifiers": [f"risa_{store.id}_{camera.id}"],
            "name": f"{store.name or store.id}: {camera.name or camera.id}",
            "manufacturer": "RISA",
        }
        zones = [(z.id, z.name or z.id) for z in camera.zones if not z.hidden]
        for zone_id, name in [(None, "Alerts"), *zones]:
            parts = [store.id, camera.id, *([zone_id] if zone_id else [])]
            payload = {
                "name": name,
                "unique_id": "_".join(["risa", *parts]),
                "state_topic": topic_of(prefix, store.id, camera.id, zone_id),
                "event_types": list(SEVERITIES),
                "qos": 1,
                "icon": "mdi:store-alert",
                "device": device,
                "origin": {"name": "RISA"},
            }
            # Their ids in topics know no dots.
            entity = "_".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in ["risa", *parts])
            yield Message(f"{_DISCOVERY}/event/{entity}/config", payload, retain=True)
