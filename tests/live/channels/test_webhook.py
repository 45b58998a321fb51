from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from receivers import Receiver, alert

from risa_ray.config_channels import WebhookChannel
from risa_ray.live.channels.base import NotNowError, RefusedError
from risa_ray.live.channels.secrets import signing_key
from risa_ray.live.channels.webhook import Webhook, retry_after, signature

KEY = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def webhook(url: str, **values: Any) -> Webhook:
    config = WebhookChannel(id="pager", kind="webhook", url=url, timeout_s=values.pop("timeout_s", 5), **values)
    return Webhook(config, {"KEY": SecretStr(KEY), "TOKEN": SecretStr("Bearer abc")})


def test_an_alert_is_posted_as_json_and_signed(receiver: Receiver) -> None:
    webhook(receiver.url, secret_env="KEY", headers_env={"Authorization": "TOKEN"}).send(alert())
    (got,) = receiver.requests
    assert got.path == "/hook/geheim"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["authorization"] == "Bearer abc"
    assert got.headers["webhook-id"] == "alert1"
    moment = got.headers["webhook-timestamp"]
    assert abs(int(moment) - time.time()) < 60
    signed = f"alert1.{moment}.".encode() + got.body
    expected = hmac.new(b"0123456789abcdef0123456789abcdef", signed, hashlib.sha256).digest()
    assert got.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    body = json.loads(got.body)
    assert (body["type"], body["timestamp"]) == ("alert.fired", "2026-11-23T10:15:31Z")
    assert body["data"]["text"] == "Käse: 7 people now, above 5"
    assert body["data"]["tracks"] is None


def test_the_signature_is_that_of_the_specification() -> None:
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_no_number_is_null(receiver: Receiver) -> None:
    webhook(receiver.url).send(alert(value=float("nan")))
    assert json.loads(receiver.requests[0].body)["data"]["value"] is None
    assert "webhook-signature" not in receiver.requests[0].headers


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_answer_2xx_is_success(receiver: Receiver, status: int) -> None:
    receiver.status = status
    webhook(receiver.url).send(alert())


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_other_answers_4xx_are_final(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(RefusedError, match=f"answered {status}"):
        webhook(receiver.url).send(alert())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_answers_that_may_change_are_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.headers = status, {"Retry-After": "120"}
    with pytest.raises(NotNowError, match=f"answered {status}") as caught:
        webhook(receiver.url).send(alert())
    assert caught.value.after_s == 120


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.headers = status, {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    with pytest.raises(NotNowError, match="redirects are not followed"):
        webhook(receiver.url).send(alert())
    assert [r.path for r in receiver.requests] == ["/hook/geheim"]


def test_a_server_that_hangs_is_left(receiver: Receiver) -> None:
    receiver.status = 0
    with pytest.raises(NotNowError, match=r"no answer within 0\.2 s"):
        webhook(receiver.url, timeout_s=0.2).send(alert())


def test_no_error_shows_the_address(receiver: Receiver) -> None:
    receiver.stop()
    with pytest.raises(NotNowError) as caught:
        webhook(receiver.url).send(alert())
    assert str(caught.value) == "cannot be reached (Connection refused)"
    with pytest.raises(NotNowError) as caught:
        webhook("http://no-such-host.invalid/geheim").send(alert())
    assert "geheim" not in str(caught.value)
    assert str(caught.value).startswith("cannot be reached (")


def test_a_server_that_speaks_no_http_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"SSH-2.0-what\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(NotNowError, match="cannot be reached"):
            webhook(f"http://127.0.0.1:{port}/geheim").send(alert())


def test_a_netrc_changes_no_header(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    webhook(receiver.url, headers_env={"Authorization": "TOKEN"}).send(alert())
    assert receiver.requests[0].headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("99999999", 3600), ("-3", 0), ("soon", 0), ("", 0), (formatdate(1_000_090), 90), (formatdate(5), 0)],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, 1_000_000.0) == seconds
