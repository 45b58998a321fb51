"""What a config says about channels, and the secrets that it names."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from risa_ray.config import ChainConfig, load_config
from risa_ray.errors import InputError
from risa_ray.live.channels import Outbox, read_secrets

WEBHOOK = {"id": "pager", "kind": "webhook", "url": "https://pager.example/hook"}
KEY = "whsec_" + base64.b64encode(bytes(32)).decode()


def load(folder: Path, *channels: dict[str, Any], **rule: Any) -> ChainConfig:
    raw = {
        "stores": [{"id": "s", "cameras": [{"id": "c", "source": "a.mp4"}]}],
        "alerts": [{"id": "crowd", "figure": "people", "above": 3} | rule],
        "channels": list(channels),
    }
    path = folder / "chain.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_config(path)


def test_paths_are_those_of_the_config_file(tmp_path: Path) -> None:
    broker = {"id": "broker", "kind": "mqtt", "host": "10.0.0.5", "tls": True, "ca_file": "ca.pem"}
    config = load(tmp_path, WEBHOOK, broker, {"id": "log", "kind": "file", "path": "alerts.jsonl"}, channels=["log"])
    pager, mqtt, log = config.channels
    assert pager.kind == "webhook"
    assert mqtt.kind == "mqtt"
    assert (mqtt.actual_port, mqtt.ca_file) == (8883, str(tmp_path / "ca.pem"))
    assert log.kind == "file"
    assert log.path == str(tmp_path / "alerts.jsonl")


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        ({"kind": "pigeon"}, "channels[a]: give kind: webhook, mqtt or file"),
        ({}, "channels[a]: give kind: webhook, mqtt or file"),
        ({"kind": "webhook"}, "give either 'url' or 'url_env'"),
        ({"kind": "webhook", "url": "https://h", "url_env": "HOOK"}, "give either 'url' or 'url_env'"),
        ({"kind": "webhook", "url": "ftp://geheim/x"}, "url is no http or https address; write https://host/path"),
        ({"kind": "webhook", "url": "https://me:geheim@host/x"}, "give credentials by headers_env"),
        ({"kind": "webhook", "url": "https://h", "urll": "x"}, "urll: unknown key; did you mean 'url'?"),
        ({"kind": "webhook", "url": "https://h", "secret_env": "whsec_geheim="}, "names an environment variable"),
        ({"kind": "webhook", "url": "https://h", "headers_env": {"Authorization": "Bearer geheim"}}, "names an env"),
        ({"kind": "webhook", "url": "https://h", "headers_env": {"Webhook-Id": "X"}}, "'Webhook-Id' cannot be set"),
        ({"kind": "mqtt", "host": "broker:1883/geheim"}, "the port has a key of its own"),
        ({"kind": "mqtt", "host": "h", "topic": "risa/#"}, "give a topic of letters"),
        ({"kind": "mqtt", "host": "h", "credentials_env": "me:geheim"}, "names an environment variable"),
        ({"kind": "mqtt", "host": "h", "ca_file": "ca.pem"}, "ca_file is for connections with tls: true"),
        ({"kind": "file"}, "path: is missing; add it"),
        ({"kind": "file", "path": "x", "min_severity": "high"}, "must be 'info', 'warning' or 'critical'"),
    ],
)
def test_wrong_channels_are_refused_in_one_line(tmp_path: Path, channel: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, {"id": "a"} | channel)
    line = str(caught.value)
    assert told in line
    assert "channels[a]" in line
    assert "\n" not in line
    if "host" not in channel or "credentials_env" in channel:
        assert "geheim" not in line


def test_ids_are_unique_and_rules_name_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="channel id 'pager' is used twice"):
        load(tmp_path, WEBHOOK, WEBHOOK)
    with pytest.raises(InputError, match="alert crowd: no channel 'pagr'; there are pager"):
        load(tmp_path, WEBHOOK, channels=["pagr"])
    with pytest.raises(InputError, match="alert crowd: no channel 'pager'; there are none"):
        load(tmp_path, channels=["pager"])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PAGER_KEY", None, "channel pager: set the environment variable PAGER_KEY, which is missing"),
        ("PAGER_KEY", "geheim", "PAGER_KEY must hold whsec_ and 24 to 64 bytes in base64; make one with: echo"),
        ("PAGER_KEY", "whsec_Z2VoZWlt", "must hold whsec_ and 24 to 64 bytes in base64"),
        ("PAGER_URL", "geheim", "PAGER_URL is no http or https address"),
        ("PAGER_TOKEN", "geh\neim", "PAGER_TOKEN holds characters that a header cannot"),
        ("BROKER", "geheim", "channel broker: the environment variable BROKER must hold user:password"),
    ],
)
def test_wrong_secrets_are_refused_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, told: str
) -> None:
    right = {"PAGER_KEY": KEY, "PAGER_URL": "https://h/x", "PAGER_TOKEN": "Bearer abc", "BROKER": "me:pass:word"}
    for variable, content in right.items():
        monkeypatch.setenv(variable, content)
    webhook = {"id": "pager", "kind": "webhook", "url_env": "PAGER_URL", "secret_env": "PAGER_KEY"}
    broker = {"id": "broker", "kind": "mqtt", "host": "h", "credentials_env": "BROKER"}
    config = load(tmp_path, webhook | {"headers_env": {"Authorization": "PAGER_TOKEN"}}, broker)
    found = read_secrets(config.channels)
    assert {variable: secret.get_secret_value() for variable, secret in found.items()} == right
    assert "pass" not in repr(found)

    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        read_secrets(config.channels)
    assert told in str(caught.value)
    assert "geh" not in str(caught.value)


def test_what_a_channel_needs_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"channel log: .*/gone: no such folder; make it"):
        read_secrets(load(tmp_path, {"id": "log", "kind": "file", "path": "gone/alerts.jsonl"}).channels)
    with pytest.raises(InputError, match=r"channel pager: .*/ca\.pem: no such file; give the certificates to trust"):
        read_secrets(load(tmp_path, WEBHOOK | {"ca_file": "ca.pem"}).channels)


def test_a_config_without_channels_needs_nothing(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert read_secrets(config.channels) == {}
    outbox = Outbox(config, {})
    assert outbox.drain_events() == []
    outbox.close(0)
