"""Who may reach the live page and the API, and how much of them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from risa_ray.config_analyze import AnalyzeConfig, UploadLimits
from risa_ray.config_base import Model
from risa_ray.config_faults import explain
from risa_ray.errors import InputError

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class TlsConfig(Model):
    """Files in PEM format. `certificate` holds the whole chain, the server's own first."""

    certificate: str = Field(min_length=1)
    key: str = Field(min_length=1)


class LimitsConfig(Model):
    """What one client may ask for. A client is a token, or an address where there are none."""

    requests_per_s: float = Field(default=20, gt=0, description="on average")
    burst: int = Field(default=100, ge=1, description="requests at once, before the average counts")
    streams: int = Field(default=32, ge=1, description="open pages of one client")
    streams_in_all: int = Field(default=512, ge=1, description="open pages of all clients")
    request_s: float = Field(default=60, gt=0, le=3600, description="a request and its answer; open pages have no end")


class ServeConfig(Model):
    """Section `serve`. The machine itself alone, unless there are tokens and the way to it is encrypted.

    `tokens_file` names a file with a line per token, as `risa serve-token` makes it; `tokens_env` an environment
    variable with the same lines. `names`: host names under which others reach the server. `behind_proxy`: a proxy does
    TLS and passes the client's address in X-Forwarded-For; requests from elsewhere than `trusted_proxies` are refused.
    `analyze` is that of uploads, with limits of their own; null: there are none.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=1, le=65535)
    names: tuple[str, ...] = ()
    tokens_file: str | None = None
    tokens_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    tls: TlsConfig | None = None
    behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    limits: LimitsConfig = LimitsConfig()
    analyze: AnalyzeConfig | None = AnalyzeConfig()

    @property
    def address(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    @property
    def with_tokens(self) -> bool:
        return self.tokens_file is not None or self.tokens_env is not None

    @field_validator("names")
    @classmethod
    def _plain_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name; give it without scheme, port and path, as risa.example")
        return tuple(name.lower() for name in names)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(
                    f"{network!r} is no address and no network; give one as 10.0.0.7 or 10.0.0.0/24"
                ) from None
        return networks

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> ServeConfig:
        if self.tokens_file is not None and self.tokens_env is not None:
            raise ValueError("give tokens_file or tokens_env, not both")
        if self.behind_proxy and not self.with_tokens:
            raise ValueError(
                "behind_proxy lets other machines in, which takes tokens: make one with `risa serve-token` and name "
                "their file in tokens_file"
            )
        if not is_loopback(self.host) and not (self.with_tokens and (self.tls or self.behind_proxy)):
            raise ValueError(
                f"host {self.host} is reached from other machines, which takes tokens (tokens_file, see "
                "`risa serve-token`) and tls, or behind_proxy: true where a proxy does TLS; or leave host out"
            )
        return self

    def override(self, host: str | None = None, port: int | None = None) -> ServeConfig:
        """The same with what the command line says.

        Raises:
            InputError: the address is open to others without tokens and encryption.
        """
        given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        return parse_serve(self.model_dump() | given)

    def resolved(self, absolute: Callable[[str], str]) -> ServeConfig:
        """The same with the paths of its files as `absolute` makes them."""
        tls = self.tls and TlsConfig(certificate=absolute(self.tls.certificate), key=absolute(self.tls.key))
        tokens = self.tokens_file and absolute(self.tokens_file)
        analyze = self.analyze
        if analyze is not None and "/" in analyze.model:  # a path, not a name
            analyze = analyze.model_copy(update={"model": absolute(analyze.model)})
        return self.model_copy(update={"tls": tls, "tokens_file": tokens, "analyze": analyze})


def parse_serve(raw: dict[str, Any], origin: str = "serve") -> ServeConfig:
    """Validate the section given as a mapping; `origin` names it in errors.

    Raises:
        InputError: one line with the key, the value and the way out.
    """
    try:
        return ServeConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{origin}: {explain(error, raw, _known_keys)}") from None


SECTIONS: dict[str, type[Model]] = {
    "serve": ServeConfig,
    "tls": TlsConfig,
    "limits": LimitsConfig,
    "analyze": AnalyzeConfig,
    "uploads": UploadLimits,
}


def _known_keys(section: str) -> list[str]:
    return list(SECTIONS.get(section, ServeConfig).model_fields)


def is_loopback(host: str) -> bool:
    """Whether an address, or host name, is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
