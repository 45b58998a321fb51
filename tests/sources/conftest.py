"""Clips of the demo scene, and servers of network streams."""

from __future__ import annotations

import http.server
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import av
import cv2
import pytest

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


def _encoded(count: int) -> list[bytes]:
    """H.264 access units (Annex B) of the demo scene."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *CLIP_SIZE, "yuv420p"
    encoder.time_base = Fraction(1, CLIP_FPS)
    encoder.options = {"tune": "zerolatency", "preset": "veryfast", "x264-params": "repeat-headers=1:keyint=5"}
    units = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(cv2.resize(render("front", index / CLIP_FPS), CLIP_SIZE), format="rgb24")
        frame.pts = index
        units += [bytes(packet) for packet in encoder.encode(frame)]
    return units


def _rtp_payloads(unit: bytes) -> Iterator[bytes]:
    """NAL units as RTP payloads, long ones in fragments (RFC 6184, FU-A)."""
    for nal in unit.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        if len(nal) <= 1400:
            yield nal
            continue
        parts = [nal[i : i + 1400] for i in range(1, len(nal), 1400)]
        for number, part in enumerate(parts):
            flags = (number == 0) << 7 | (number == len(parts) - 1) << 6
            yield bytes([nal[0] & 0xE0 | 28, flags | nal[0] & 0x1F]) + part


class _Rtsp(socketserver.StreamRequestHandler):
    """As much of RTSP (RFC 2326) as a player needs, with RTP in the same TCP connection."""

    units: list[bytes]

    def handle(self) -> None:
        while request := self.rfile.readline().decode().split():
            headers = {}
            while ":" in (line := self.rfile.readline().decode()):
                key, _, value = line.partition(":")
                headers[key.lower()] = value.strip()
            self._answer(request[0], request[1], headers)
            if request[0] == "PLAY":
                self._play()
                return

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> None:
        body = ""
        extra = "Session: 1\r\n"
        if method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            body += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:v\r\n"
            extra = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            assert "TCP" in headers["transport"]
            extra += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode())

    def _play(self) -> None:
        sequence = 0
        for index, unit in enumerate(self.units):
            payloads = list(_rtp_payloads(unit))
            for number, payload in enumerate(payloads):
                marker = 0x80 if number == len(payloads) - 1 else 0
                head = struct.pack(">BBHII", 0x80, 96 | marker, sequence, index * 90000 // CLIP_FPS, 7)
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(head + payload)) + head + payload)
                sequence += 1


@pytest.fixture
def rtsp_camera() -> Iterator[str]:
    """Address (host:port) of an RTSP camera on this machine: 30 pictures at 10 per second, sent at once."""
    handler = type("Rtsp", (_Rtsp,), {"units": _encoded(30)})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
