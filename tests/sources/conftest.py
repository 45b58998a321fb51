"""Clips of the demo scene, and servers of network streams."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from zoneinfo import ZoneInfo

import av
import cv2
import pytest

from risa_ray.benchmarks.servers import Server, find_script
from risa_ray.config import CameraConfig
from risa_ray.sources import Source, create_source
from risa_ray.sources.demo import render, write_clip

CLIP_SECONDS, CLIP_FPS, CLIP_SIZE = 4, 10, (320, 180)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of the demo scene, 320 x 180, 10 per second, with the index in front (cut off, it opens still)."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "plain.mp4", "front", CLIP_SECONDS, CLIP_FPS, CLIP_SIZE)
    remux(folder / "plain.mp4", folder / "clip.mp4", movflags="faststart")
    return folder / "clip.mp4"


def remux(
    source: Path, target: Path, rotation: int = 0, metadata: dict[str, str] | None = None, **options: str
) -> None:
    """Copy a clip's packets into another file."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        if rotation:
            stream.set_display_rotation(rotation)
        writer.metadata.update(metadata or {})
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)


@pytest.fixture(name="remux")
def _remux() -> Callable[..., None]:
    return remux


@pytest.fixture
def make_source() -> Iterator[Callable[..., Source]]:
    """Create a source from its string (and camera settings), and close it after the test."""
    made: list[Source] = []

    def make(source: str | Path, timezone: str = "Europe/Berlin", **settings: object) -> Source:
        camera = CameraConfig.model_validate({"id": "cam", "source": str(source), **settings})
        made.append(create_source(camera, ZoneInfo(timezone)))
        return made[-1]

    yield make
    for source in made:
        source.close()


class _Camera(http.server.BaseHTTPRequestHandler):
    """MJPEG at /live, MPEG-TS at /live.ts, a file at /clip.mp4, half of it at /cut.mp4, a refusal at /private."""

    clip: bytes
    transport_stream: bytes

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path in ("/clip.mp4", "/cut.mp4"):
            content = self.clip if self.path == "/clip.mp4" else self.clip[: len(self.clip) // 2]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        elif self.path == "/live.ts":
            self.send_response(200)  # without a length: until the connection is closed
            self.end_headers()
            self.wfile.write(self.transport_stream)
        elif self.path == "/live":
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for index in range(12):
                jpeg = cv2.imencode(".jpg", render("front", index / 10)[..., ::-1])[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                self.wfile.write(head + jpeg + b"\r\n")
        else:
            self.send_error(401)


@pytest.fixture
def http_camera(clip: Path, tmp_path: Path) -> Iterator[str]:
    """Address (host:port) of an HTTP camera on this machine."""
    remux(clip, tmp_path / "live.ts")
    content = {"clip": clip.read_bytes(), "transport_stream": (tmp_path / "live.ts").read_bytes()}
    handler = type("Camera", (_Camera,), content)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="session")
def serve_rtsp() -> Callable[..., Server]:
    """A function from the arguments of scripts/rtsp-server to a server that is yet to be started."""
    asked = subprocess.run([find_script("rtsp-server"), "--help"], check=False, capture_output=True)
    if asked.returncode:
        pytest.skip("GStreamer's RTSP server is not installed: run scripts/rtsp-server for the packages")
    return lambda *arguments, cameras=1: Server([str(find_script("rtsp-server"))], arguments, cameras)


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures, 320 x 180, 10 per second: H.264 that sends pictures in another order than it shows them."""
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    write_clip(path, "front", 1.2, CLIP_FPS, CLIP_SIZE)
    return path


@pytest.fixture(scope="session")
def rtsp_cameras(serve_rtsp: Callable[..., Server], short_clip: Path) -> Iterator[dict[str, str]]:
    """Addresses of two RTSP cameras without a password: `clip`, a video in a loop, and `test`, a pattern at 20/s."""
    cameras = "--camera", f"clip={short_clip}", "--camera", "test=test:320x180@20"
    with serve_rtsp(*cameras, "--gop", "10", cameras=2) as server:
        yield {url.rpartition("/")[2]: url for url in server.urls}


@pytest.fixture
def serve_mjpeg() -> Iterator[Callable[..., str]]:
    """Start scripts/mjpeg-server with these arguments; its address."""
    with ExitStack() as running:

        def serve(*arguments: str) -> str:
            server = Server([sys.executable, str(find_script("mjpeg-server"))], ["--fps", "20", *arguments])
            return running.enter_context(server).urls[0]

        yield serve
