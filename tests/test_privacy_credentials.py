"""Why a camera failed is shown, and no password of it."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from risa_ray.config import CameraConfig
from risa_ray.sources import create_source
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.buffer import FrameBuffer
from risa_ray.streaming.decoding import Decoding, Ending
from risa_ray.streaming.lifecycle import Lifecycle

START = (datetime.now(UTC) - timedelta(days=2)).replace(hour=9, minute=0, second=0, microsecond=0)
SECRET = "S3cr3t"


@pytest.fixture
def refusing() -> Iterator[str]:
    """A camera that takes no credentials: its host and port."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def ending(address: str, path: str) -> Ending:
    """How a session of the camera ends."""
    camera = CameraConfig(id="till", source=f"http://boss:{SECRET}@{address}{path}")
    source = create_source(camera, ZoneInfo("UTC"))
    session = SessionInfo("s", camera.id, "session", True, START)
    buffer = FrameBuffer("freshest", 8, 1.0)
    decoding = Decoding(source, camera, session, -1, buffer, Lifecycle(5.0))
    decoding.start()
    while not buffer.exhausted:
        buffer.wait(0.05)
    return decoding.ending()


@pytest.mark.parametrize(
    "path", ["/cam/realmonitor?channel=1&subtype=0", "/?action=stream", "/video", f"/video?channel=1&token={SECRET}"]
)
def test_the_reason_of_a_failure_is_shown_and_no_password(
    path: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ending(refusing, path)
    assert refused.refused
    assert refused.note.endswith(": access refused; check user and password, and what the user may see")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = ending(f"127.0.0.1:{free.getsockname()[1]}", path)
    assert down.note.endswith(": connection refused")

    def throw(self: Any, *_: object) -> Any:
        raise RuntimeError(f"cannot decode {self._url}")

    monkeypatch.setattr("risa_ray.sources.network.NetworkCamera.pictures", throw)
    odd = ending(refusing, path)
    assert ": RuntimeError: cannot decode http://***@127.0.0.1" in odd.note
    for end in (refused, down, odd):
        assert end.word == "broken"
        assert end.note.startswith("http://***@127.0.0.1:")
        assert SECRET not in end.note
        assert "boss" not in end.note
    if path.endswith("subtype=0"):
        assert path in refused.note, "what is no secret is shown"
