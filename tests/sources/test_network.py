from __future__ import annotations

import http.server
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from risa_ray.config import CameraConfig, redact
from risa_ray.errors import AccessRefusedError, BrokenSourceError, SourceError
from risa_ray.sources import Picture, Source, with_credentials

MakeSource = Callable[..., Source]


def _read(source: Source) -> tuple[list[Picture], BrokenSourceError | None]:
    pictures: list[Picture] = []
    try:
        pictures.extend(p for p in source.pictures(lambda pts: True, None) if isinstance(p, Picture))
    except BrokenSourceError as error:
        return pictures, error
    return pictures, None


def test_mjpeg_has_the_arrival_clock(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://{http_camera}/live"))
    assert len(pictures) >= 10
    assert pictures[0].pts == 0
    assert [p.pts for p in pictures] == sorted(p.pts for p in pictures)
    assert pictures[-1].pts <= pictures[-1].arrived_at - pictures[0].arrived_at + 0.1
    assert "closed the connection" in str(error)


def test_a_video_file_over_http_is_complete_at_its_end(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://{http_camera}/clip.mp4"))
    assert error is None
    assert len(pictures) == 40


def test_a_video_file_over_http_that_stops_early_is_broken(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://{http_camera}/cut.mp4"))
    assert 5 <= len(pictures) < 35
    assert error is not None


def test_a_live_stream_that_ends_is_broken(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://u:geheim@{http_camera}/live.ts"))
    assert len(pictures) >= 28
    assert "closed the connection" in str(error)
    assert "geheim" not in str(error)


def test_a_stream_that_ends_after_close_is_not_broken(http_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"http://{http_camera}/live")
    pictures = source.pictures(lambda pts: True, None)
    next(pictures)
    source.close()
    assert list(pictures) == []


def test_a_refusal_is_explained_without_the_password(http_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"http://boss:geheim@{http_camera}/private")
    pictures, error = _read(source)
    assert not pictures
    assert isinstance(error, AccessRefusedError)
    assert "check user and password" in str(error)
    assert "geheim" not in str(error) + source.fingerprint()
    assert "boss" not in str(error) + source.fingerprint()


def test_a_camera_that_is_down_passes_the_check_and_breaks_on_reading(make_source: MakeSource) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        source = make_source(f"rtsp://u:geheim@127.0.0.1:{free.getsockname()[1]}/x")
        source.check()
        _, error = _read(source)
    assert "connection refused" in str(error)
    assert not isinstance(error, AccessRefusedError)  # which makes the reader wait for a minute
    assert "geheim" not in str(error)


def test_a_closed_source_gives_nothing_more(http_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"http://{http_camera}/clip.mp4")
    pictures = source.pictures(lambda pts: True, None)
    next(pictures)
    source.close()
    source.close()
    assert list(pictures) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://u:geheim@host/x", "cannot read ftp://"),
        ("rtsp://u:geheim@/x", "names no host"),
        ("rtsp://u:geheim@host:99999/x", "not a valid address"),
    ],
)
def test_wrong_addresses_are_refused_without_the_password(address: str, says: str, make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        make_source(address)
    assert "geheim" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_host_is_named_as_such(make_source: MakeSource) -> None:
    _, error = _read(make_source("rtsp://camera..store/x"))
    assert "unknown host" in str(error)


def test_a_host_that_swallows_packets_is_given_up_soon(make_source: MakeSource) -> None:
    with socket.socket() as full, ExitStack() as callers:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # more than the host will keep waiting: from here on it answers nobody
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        _, error = _read(make_source(f"http://127.0.0.1:{full.getsockname()[1]}/x"))
    assert "the host does not answer" in str(error)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("trickle", [b"", b"a"])
def test_a_host_that_never_shows_a_picture_is_given_up(
    scheme: str, trickle: bytes, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One accepts and says nothing, another sends a byte now and then."""
    monkeypatch.setattr("risa_ray.sources.network.OPEN_TIMEOUT_S", 0.5)
    over = threading.Event()

    class Mute(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if scheme == "http" and trickle else b"")
                while not over.wait(0.05):
                    self.request.sendall(trickle)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mute) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _, error = _read(make_source(f"{scheme}://127.0.0.1:{server.server_address[1]}/x", stall_timeout_s=0.5))
        over.set()
        server.shutdown()
    assert "no data for 0.5 s" in str(error)


def test_pictures_of_a_new_size_come_on(make_source: MakeSource) -> None:
    """A camera whose resolution is changed while it is watched."""

    class Camera(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
            self.end_headers()
            for width, height in [(320, 180)] * 5 + [(640, 360)] * 5 + [(96, 128)] * 5:
                jpeg = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes()
                self.wfile.write(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
            self.wfile.write(b"--b--\r\n")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = make_source(f"http://127.0.0.1:{server.server_address[1]}/")
        pictures: list[Picture] = []
        with pytest.raises(BrokenSourceError):
            pictures.extend(p for p in source.pictures(lambda pts: True, 320) if isinstance(p, Picture))
        server.shutdown()
    sizes = [(p.image.shape[1], p.image.shape[0], p.scale) for p in pictures]
    assert len(sizes) >= 12  # the last may be lost with the connection
    assert list(dict.fromkeys(sizes)) == [(320, 180, 1.0), (320, 180, 2.0), (96, 128, 1.0)]


def test_the_credentials_of_the_environment_are_put_into_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_LOGIN", "boss:p@ss/w?rd:%#\n")
    camera = CameraConfig(id="c", source="rtsp://host:554/x?channel=1", credentials_env="CAMERA_LOGIN", sampling_fps=5)
    resolved = with_credentials(camera)
    assert resolved.source == "rtsp://boss:p%40ss%2Fw%3Frd%3A%25%23@host:554/x?channel=1"
    assert (resolved.credentials_env, resolved.sampling_fps) == (None, 5)
    assert with_credentials(resolved) is resolved
    assert redact(resolved.source) == "rtsp://***@host:554/x?channel=1"


@pytest.mark.parametrize(("value", "says"), [(None, "set the environment"), ("geheim", "does not hold user:password")])
def test_wrong_credentials_variables_are_named_without_their_value(
    value: str | None, says: str, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAMERA_LOGIN", raising=False)
    if value is not None:
        monkeypatch.setenv("CAMERA_LOGIN", value)
    with pytest.raises(SourceError, match=says) as refused:
        make_source("rtsp://host/x", credentials_env="CAMERA_LOGIN")
    assert "CAMERA_LOGIN" in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "rtsp://u:p@host/x", "credentials_env": "LOGIN"}, "either in the address or by credentials_env"),
        ({"source": "usb:0", "credentials_env": "LOGIN"}, "for addresses"),
        ({"source": "http://host/x", "transport": "udp"}, "transport udp is for rtsp://"),
        ({"source": "rtsps://host/x", "transport": "udp"}, "transport udp is for rtsp://"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CameraConfig.model_validate({"id": "c", **settings})
