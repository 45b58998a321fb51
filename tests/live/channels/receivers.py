"""Real receivers of alerts, alerts to send them, and patience that suits a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from risa_ray.config import ChainConfig, parse_config
from risa_ray.live.channels.line import Patience
from risa_ray.live.rules import Alert

FIRED = datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC)
QUICK = Patience(first_s=0.01, longest_s=0.02)


def alert(number: int = 1, rule: str = "crowd", severity: Any = "warning", **values: Any) -> Alert:
    """An alert of store 007, camera door, zone desk."""
    defaults: dict[str, Any] = {
        "alert_id": f"alert{number}",
        "rule_id": rule,
        "store_id": "007",
        "camera_id": "door",
        "zone_id": "desk",
        "figure": "people",
        "value": 7.0,
        "threshold": 5.0,
        "direction": "above",
        "tracks": None,
        "window_s": 60.0,
        "severity": severity,
        "text": "Käse: 7 people now, above 5",
        "fired_at": FIRED + timedelta(seconds=number),
    }
    return Alert(**(defaults | values))


def chain(
    channels: Sequence[dict[str, Any]], data: Path | str = "data", rules: Sequence[dict[str, Any]] = ()
) -> ChainConfig:
    """A chain with alert rule `crowd`, for all channels, and `rules`."""
    desk = {"id": "desk", "name": "Info desk", "kind": "service", "polygon": [[0, 0], [1, 0], [1, 1]]}
    back = {"id": "back", "kind": "staff", "polygon": [[0, 0], [1, 0], [1, 1]]}
    door = {"id": "door", "name": "Main door", "source": "door.mp4", "zones": [desk, back]}
    crowd = {"id": "crowd", "figure": "people", "above": 5}
    raw = {
        "data": str(data),
        "stores": [{"id": "007", "name": "Riverside", "cameras": [door]}],
        "alerts": [crowd, *rules],
        "channels": list(channels),
    }
    return parse_config(raw, "test")


def until(holds: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Wait for what happens in another thread; returns what holds."""
    end = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class Receiver:
    """Answers with `status` and `headers`; with status 0 it hangs until it is stopped."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.choke_on = b""
        """A body with it in is answered 500, whatever the status."""
        self._released = threading.Event()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/geheim"

    @property
    def ids(self) -> list[str]:
        return [r.headers["webhook-id"] for r in self.requests]

    def start(self) -> None:
        """Listen, on the same port as before."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                # Before it is noted: a test that sees the request may change the next answer at once.
                status, extra = receiver.status, dict(receiver.headers)
                if receiver.choke_on and receiver.choke_on in body:
                    status = 500
                receiver.requests.append(Request(self.path, headers, body, time.monotonic()))
                if status == 0:
                    receiver._released.wait()
                    return
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.do_POST()  # a redirect that is followed

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
