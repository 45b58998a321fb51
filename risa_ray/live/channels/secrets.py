"""The secrets of channels, which stand in environment variables and nowhere else."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Mapping

from pydantic import SecretStr

from risa_ray.config_channels import ChannelConfig, FileChannel, MqttChannel, address_fault
from risa_ray.errors import InputError
from risa_ray.live.channels.base import NotNowError

Secrets = Mapping[str, SecretStr]
"""Environment variable -> its value, which does not show when it is printed."""
_KEY_BYTES = range(24, 65)
_MAKE_ONE = 'make one with: echo "whsec_$(openssl rand -base64 32)"'


def read_secrets(channels: Iterable[ChannelConfig]) -> dict[str, SecretStr]:
    """The variables that channels need, from the environment of this process.

    Whoever has them hands them on, so that an actor of Ray needs no environment.

    Raises:
        InputError: a variable is missing, or holds something else (its value is not shown); a file's folder, or the
            certificates to trust, are missing.
    """
    found = {}
    for channel in channels:
        for name in channel.environment:
            value = os.environ.get(name, "").strip()
            if not value:
                raise InputError(f"channel {channel.id}: set the environment variable {name}, which is missing")
            found[name] = SecretStr(value)
        _check(channel, found)
    return found


def secret(secrets: Secrets, variable: str) -> str:
    """The value of a variable.

    Raises:
        NotNowError: it was not handed on.
    """
    if variable not in secrets:
        raise NotNowError(f"the environment variable {variable} is missing; set it and start the job again")
    return secrets[variable].get_secret_value()


def signing_key(value: str) -> bytes:
    """The key in `whsec_<base64>`.

    Raises:
        ValueError: it is none of 24 to 64 bytes.
    """
    prefix, _, encoded = value.partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != "whsec" or len(key) not in _KEY_BYTES:
        raise ValueError(f"must hold whsec_ and 24 to 64 bytes in base64; {_MAKE_ONE}")
    return key


def user_and_password(value: str) -> tuple[str, str]:
    """The two parts of `user:password`.

    Raises:
        ValueError: it is none.
    """
    user, colon, password = value.partition(":")
    if not user or not colon:
        raise ValueError("must hold user:password")
    return user, password


def _check(channel: ChannelConfig, found: Secrets) -> None:
    if isinstance(channel, FileChannel):
        if not os.path.isdir(folder := os.path.dirname(channel.path)):
            raise InputError(f"channel {channel.id}: {folder}: no such folder; make it, or give another path")
        return
    if channel.ca_file is not None and not os.path.isfile(channel.ca_file):
        raise InputError(f"channel {channel.id}: {channel.ca_file}: no such file; give the certificates to trust")
    checks: list[tuple[str | None, Callable[[str], object]]] = []
    if isinstance(channel, MqttChannel):
        checks = [(channel.credentials_env, user_and_password)]
    else:
        checks = [(channel.secret_env, signing_key), (channel.url_env, _address)]
        checks += [(name, _header) for name in channel.headers_env.values()]
    for name, check in checks:
        if name is None:
            continue
        try:
            check(found[name].get_secret_value())
        except ValueError as error:
            raise InputError(f"channel {channel.id}: the environment variable {name} {error}") from None


def _address(value: str) -> None:
    if fault := address_fault(value):
        raise ValueError(fault)


def _header(value: str) -> None:
    if not value.isprintable() or not value.isascii():
        raise ValueError("holds characters that a header cannot; use plain ASCII")
