"""The alert channels of a config file: where alerts are sent. Secrets are named here and stand in the environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from risa_ray.config_base import Identifier, Model

SEVERITIES = ("info", "warning", "critical")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("content-length", "content-type", "host", "transfer-encoding")


class _Channel(Model):
    """`min_severity`: alerts below it are not sent here. `timeout_s`: for each step of a try."""

    id: Identifier
    min_severity: Literal["info", "warning", "critical"] = "info"

    @property
    def environment(self) -> tuple[str, ...]:
        """The environment variables that it needs."""
        return ()

    def takes(self, severity: str) -> bool:
        """Whether alerts of a severity are sent here."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)

    def resolved(self, absolute: Callable[[str], str]) -> Self:
        """The same channel with absolute paths."""
        return self

    # Of the whole channel and not of its fields: a fault in a field would show what somebody wrote there, and that
    # may be the secret itself.
    @model_validator(mode="after")
    def _names_variables(self) -> Self:
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(
                    "what ends in _env names an environment variable, as PAGER_KEY; the secret itself is its value"
                )
        return self


class _Remote(_Channel):
    """`ca_file`: certificates to trust in place of the usual ones, for servers with a certificate of your own."""

    timeout_s: float = Field(default=10, gt=0, le=60)
    ca_file: str | None = None

    def resolved(self, absolute: Callable[[str], str]) -> Self:
        return self if self.ca_file is None else self.model_copy(update={"ca_file": absolute(self.ca_file)})


class WebhookChannel(_Remote):
    """An alert is POSTed as JSON, signed as the Standard Webhooks specification has it.

    `url`, or `url_env` where the address itself is a secret. `secret_env`: holds the signing key, `whsec_` and base64.
    `headers_env`: header -> the variable that holds its value, for servers that ask for a token.
    """

    kind: Literal["webhook"]
    url: str | None = None
    url_env: str | None = None
    secret_env: str | None = None
    headers_env: dict[str, str] = Field(default_factory=dict)

    @property
    def environment(self) -> tuple[str, ...]:
        return tuple(v for v in (self.url_env, self.secret_env, *self.headers_env.values()) if v is not None)

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give either 'url' or 'url_env'")
        if self.url is not None and (fault := address_fault(self.url)):
            raise ValueError(f"url {fault}")
        for header in self.headers_env:
            if not _HEADER.fullmatch(header) or header.lower() in _OURS or header.lower().startswith("webhook-"):
                raise ValueError(f"headers_env: {header!r} cannot be set; give another header")
        return self


class MqttChannel(_Remote):
    """An alert is published to `<topic>/<store>/<camera>`, or `<topic>/<store>/<camera>/<zone>`.

    `credentials_env`: holds `user:password`. `port`: 1883, with `tls` 8883. `home_assistant`: tell Home Assistant of an
    event entity for each camera and zone (MQTT discovery).
    """

    kind: Literal["mqtt"]
    host: str = Field(max_length=253)
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: bool = False
    credentials_env: str | None = None
    topic: str = Field(default="risa", max_length=200)
    home_assistant: bool = False

    @property
    def environment(self) -> tuple[str, ...]:
        return () if self.credentials_env is None else (self.credentials_env,)

    @property
    def actual_port(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    @field_validator("host")
    @classmethod
    def _name(cls, host: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", host):
            raise ValueError(
                "give the broker's name or IP address alone, as broker.local; the port has a key of its own"
            )
        return host

    @field_validator("topic")
    @classmethod
    def _plain(cls, topic: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", topic):
            raise ValueError("give a topic of letters, digits, '.', '_', '-' and '/', as risa or shops/risa")
        return topic

    @model_validator(mode="after")
    def _trusting(self) -> Self:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file is for connections with tls: true; leave it out, or set that")
        return self


class FileChannel(_Channel):
    """An alert is appended to a file as a line of JSON."""

    kind: Literal["file"]
    path: str = Field(min_length=1)

    def resolved(self, absolute: Callable[[str], str]) -> Self:
        return self.model_copy(update={"path": absolute(self.path)})


def _kind(value: object) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


ChannelConfig = Annotated[
    Annotated[WebhookChannel, Tag("webhook")]
    | Annotated[MqttChannel, Tag("mqtt")]
    | Annotated[FileChannel, Tag("file")],
    Discriminator(_kind, "channel_kind", "give kind: webhook, mqtt or file"),
]


def address_fault(url: str) -> str:
    """What is wrong with a webhook's address; empty when nothing is. It does not show the address."""
    example = "write https://host/path"
    try:
        parts = urlsplit(url)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError:
        return f"is not a valid address; {example}"
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        return f"is no http or https address; {example}"
    if user is not None:
        return "holds a user; give credentials by headers_env, or the whole address by url_env"
    return ""
