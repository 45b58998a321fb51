"""The server's HTTP/1.1, with an end to its patience before a request is there.

uvicorn waits for ever for the headers of a request, and its faster parser takes any number of them. h11 limits them,
and is fast enough: the work is in the answers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from risa_ray.config_serve import ServeConfig, TlsConfig
from risa_ray.errors import InputError
from risa_ray.serving.incoming import LARGEST_HEADERS

HEADERS_S = 10.0
"""The headers of a request come within this time of the connection, or of their first byte."""
_OTHER_CONNECTIONS = 256
_quiet = logging.getLogger("risa.http")
_quiet.setLevel(logging.ERROR)  # uvicorn warns of every odd request: anybody could fill the disk with that


class PatientProtocol(H11Protocol):
    """A connection. For uvicorn's setting `http`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self.logger = _quiet
        self.access_log = False  # it shows query strings, and uvicorn's setting leaves a logger that others opened

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Tell what cannot be read as a request, in the words of all our errors."""
        body = json.dumps(
            {"detail": "this is no HTTP request that the server takes; its headers may be too large"}
        ).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        if self.conn.our_state is h11.IDLE:
            answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def settings(config: ServeConfig) -> dict[str, Any]:
    """Settings of uvicorn that the gate counts on."""
    return {
        "http": PatientProtocol,
        "h11_max_incomplete_event_size": LARGEST_HEADERS,
        "ws": "none",
        # uvicorn would believe anybody on this machine who says in X-Forwarded-For that he is somebody else.
        "proxy_headers": False,
        "server_header": False,
        # A connection takes a file descriptor, whether it asks for something or not.
        "limit_concurrency": config.limits.streams_in_all + _OTHER_CONNECTIONS,
        "ssl_certfile": config.tls and config.tls.certificate,
        "ssl_keyfile": config.tls and config.tls.key,
    }


def check_tls(tls: TlsConfig | None) -> None:
    """Try the certificate and its key.

    Raises:
        InputError: one cannot be read, or they do not belong together.
    """
    if tls is None:
        return
    try:
        # An encrypted key would have the server ask for its password, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except OSError as error:  # that of ssl is one, too
        reason = getattr(error, "reason", None) or error.strerror or "not PEM"
        raise InputError(
            f"serve.tls: {tls.certificate} and {tls.key} cannot be used ({reason}); give a certificate in PEM format "
            "and its key, without a password"
        ) from None
