"""Against a real broker, mosquitto."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr
from receivers import alert, chain, until

from risa_ray.config_channels import MqttChannel
from risa_ray.live.channels.base import NotNowError
from risa_ray.live.channels.mqtt import Mqtt

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
SECRETS = {"BROKER": SecretStr("risa:pass:word")}


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    if MOSQUITTO is None:
        pytest.skip("the MQTT broker is not installed: apt-get install mosquitto")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(folder: Path, port: int, *settings: str) -> Iterator[None]:
    """A broker that listens when this is entered."""
    folder.mkdir(exist_ok=True)
    # Started by root it would become another user, who cannot read the test's files.
    lines = ["user root", f"listener {port} 127.0.0.1", "persistence false", *settings]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([str(MOSQUITTO), "-c", str(config)], stderr=subprocess.PIPE)
    try:
        until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A broker that takes everybody."""
    found = free_port()
    with running(tmp_path_factory.mktemp("broker"), found, "allow_anonymous true"):
        yield found


class Listener:
    """Subscribes to topics, and keeps what comes."""

    def __init__(self, port: int, *topics: str) -> None:
        self.messages: list[tuple[str, Any, bool]] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe([(topic, 1) for topic in topics])
        assert subscribed.wait(10)

    def _take(self, _: Client, __: Any, message: MQTTMessage) -> None:
        self.messages.append((message.topic, json.loads(message.payload), message.retain))

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listen(port: int) -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*topics: str) -> Listener:
        listeners.append(Listener(port, *topics))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.stop()


def mqtt(port: int, **values: Any) -> Mqtt:
    values = {"host": "127.0.0.1", "timeout_s": 5} | values
    config = MqttChannel(id="broker", kind="mqtt", port=port, **values)
    return Mqtt(config, chain([]), SECRETS)


def test_an_alert_comes_on_the_topic_of_its_place(port: int, listen: Callable[..., Listener]) -> None:
    listener = listen("shops/risa/#")
    channel = mqtt(port, topic="shops/risa")
    channel.send(alert(1))
    channel.send(alert(2, zone_id=None, severity="critical"))
    until(lambda: len(listener.messages) == 2)
    assert [topic for topic, _, _ in listener.messages] == ["shops/risa/007/door/desk", "shops/risa/007/door"]
    (_, first, _), (_, second, _) = listener.messages
    assert (first["event_type"], first["alert_id"], first["text"]) == (
        "warning",
        "alert1",
        "Käse: 7 people now, above 5",
    )
    assert (second["event_type"], second["fired_at"]) == ("critical", "2026-11-23T10:15:32Z")
    late = listen("shops/risa/#")
    mqtt(port, topic="other").send(alert())
    assert late.messages == [], "an alert must not look new to who subscribes later"


def test_home_assistant_is_told_of_every_place(port: int, listen: Callable[..., Listener]) -> None:
    mqtt(port).announce()
    mqtt(port, home_assistant=True).announce()
    listener = listen("homeassistant/#")
    until(lambda: len(listener.messages) >= 2)
    told = {topic: (payload, retained) for topic, payload, retained in listener.messages}
    # Nobody is counted in the staff zone.
    assert set(told) == {
        "homeassistant/event/risa_007_door/config",
        "homeassistant/event/risa_007_door_desk/config",
    }
    desk, retained = told["homeassistant/event/risa_007_door_desk/config"]
    assert retained
    assert (desk["name"], desk["state_topic"]) == ("Info desk", "risa/007/door/desk")
    assert desk["event_types"] == ["info", "warning", "critical"]
    assert desk["device"] == {"identifiers": ["risa_007_door"], "name": "Riverside: Main door", "manufacturer": "RISA"}
    events = listen(desk["state_topic"])
    mqtt(port, home_assistant=True).send(alert())
    ((_, event, retained),) = until(lambda: list(events.messages))
    assert event["event_type"] in desk["event_types"]
    assert not retained


def test_credentials_come_from_the_environment(tmp_path: Path) -> None:
    port = free_port()
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "risa", "pass:word"], check=True)
    with running(tmp_path, port, "allow_anonymous false", f"password_file {passwords}"):
        mqtt(port, credentials_env="BROKER").send(alert())
        with pytest.raises(NotNowError, match="refuses the connection"):
            mqtt(port).send(alert())
    with pytest.raises(NotNowError, match="environment variable OTHER is missing"):
        mqtt(port, credentials_env="OTHER").send(alert())


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    port, key, certificate = free_port(), tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = ["allow_anonymous true", f"certfile {certificate}", f"keyfile {key}"]
    with running(tmp_path, port, *settings):
        mqtt(port, tls=True, ca_file=str(certificate)).send(alert())
        with pytest.raises(NotNowError, match=r"cannot be reached \(self.signed certificate"):
            mqtt(port, tls=True).send(alert())


def test_a_broker_that_is_away_or_silent_is_tried_again(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(NotNowError, match="Connection refused"):
        mqtt(port).send(alert())
    with socket.create_server(("127.0.0.1", port)):
        began = time.monotonic()
        with pytest.raises(NotNowError, match=r"did not answer within 0\.2 s"):
            mqtt(port, timeout_s=0.2).send(alert())
        assert time.monotonic() - began < 5
    with running(tmp_path, port, "allow_anonymous true"):
        mqtt(port).send(alert())
