"""Alerts over HTTP: signed POSTs of JSON, as the Standard Webhooks specification has them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import requests

from risa_ray.config_channels import WebhookChannel
from risa_ray.live.channels.base import NotNowError, RefusedError, plain, reason
from risa_ray.live.channels.secrets import Secrets, secret, signing_key
from risa_ray.live.rules import Alert

_LATER = (408, 425, 429)
"""Of the answers 4xx those that tell to try again."""
_LONGEST_S = 3600.0
"""What a receiver asks for beyond it is cut: somebody has to hear of an alert the same day."""


class Webhook:
    """Posts an alert to an address. `webhook-id` is the alert's id: a receiver knows by it what it has already.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, config: WebhookChannel, secrets: Secrets, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._secrets = secrets
        self._clock = clock

    def announce(self) -> None:
        """Nothing: a receiver hears of alerts alone."""

    def send(self, alert: Alert) -> None:
        body, headers = self._request(alert)
        config = self._config
        url = config.url if config.url is not None else secret(self._secrets, config.url_env or "")
        try:
            with requests.post(
                url,
                data=body,
                headers=headers,
                timeout=config.timeout_s,
                allow_redirects=False,
                verify=config.ca_file or True,
                stream=True,  # an answer says all in its first line
                auth=_as_it_is,
            ) as answer:
                self._judge(answer)
        except requests.Timeout:
            raise NotNowError(f"no answer within {config.timeout_s:g} s") from None
        except (requests.RequestException, OSError, ValueError) as error:
            raise NotNowError(f"cannot be reached ({reason(error)})") from None

    def _request(self, alert: Alert) -> tuple[bytes, dict[str, str]]:
        values = plain(alert)
        payload = {"type": "alert.fired", "timestamp": values["fired_at"], "data": values}
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        moment = int(self._clock())
        headers = {
            "content-type": "application/json",
            "user-agent": "risa",
            "webhook-id": alert.alert_id,
            "webhook-timestamp": str(moment),
        }
        config = self._config
        if config.secret_env is not None:
            key = signing_key(secret(self._secrets, config.secret_env))
            headers["webhook-signature"] = signature(key, alert.alert_id, moment, body)
        return body, headers | {name: secret(self._secrets, value) for name, value in config.headers_env.items()}

    def _judge(self, answer: requests.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            return
        told = f"answered {status} {answer.reason or ''}".strip()[:100]
        if 400 <= status < 500 and status not in _LATER:
            raise RefusedError(told)
        if 300 <= status < 400:
            told += "; redirects are not followed, give the final address"
        raise NotNowError(told, retry_after(answer.headers.get("retry-after", ""), self._clock()))


def signature(key: bytes, message_id: str, moment: int, body: bytes) -> str:
    """The value of `webhook-signature`: HMAC-SHA256 over id, time and body, joined by dots.

    Args:
        moment: Unix seconds, as in `webhook-timestamp`.
    """
    signed = hmac.digest(key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def retry_after(value: str, now: float) -> float:
    """The seconds that a `Retry-After` header asks for (RFC 9110, a number or a date), an hour at most; 0 for none."""
    try:
        seconds = float(int(value))
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(0.0, seconds), _LONGEST_S)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without it a ~/.netrc could replace the config's own Authorization header."""
    return request
