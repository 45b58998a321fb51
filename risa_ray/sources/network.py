"""Network cameras: RTSP (over TCP) and HTTP(S) video or MJPEG."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from risa_ray.config import CameraConfig, is_url, redact
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources.base import Picture, Undecodable, Wants
from risa_ray.sources.clock import steady
from risa_ray.sources.decoding import Decoder, reason, to_picture

LIVE = True
SCHEMES = ("rtsp", "rtsps", "http", "https")
OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0

# these carry no time stamps of the camera's; FFmpeg makes them up at 25 per second
_WITHOUT_CLOCK = {"mpjpeg", "mjpeg", "jpeg_pipe", "image2pipe"}
_MOST_LOST = 32
_CLOSED = "the camera closed the connection"


def matches(source: str) -> bool:
    """Every address with a scheme."""
    return is_url(source)


def open_source(camera: CameraConfig, timezone: ZoneInfo) -> NetworkCamera:
    """A network camera as a source.

    Raises:
        SourceError: the address has an unknown scheme, no host or a wrong port.
    """
    shown = redact(camera.source)
    try:
        parts = urlsplit(camera.source)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SourceError(f"{shown}: not a valid address; write rtsp://user:password@host:554/path") from None
    if parts.scheme.lower() not in SCHEMES:
        raise SourceError(f"{shown}: cannot read {parts.scheme}:// addresses; use {', '.join(SCHEMES)}")
    if not host:
        raise SourceError(f"{shown}: the address names no host; write {parts.scheme}://host/path")
    return NetworkCamera(camera.source)


class NetworkCamera:
    """A camera reached by an address. One call of `pictures` is one connection; the caller reconnects."""

    def __init__(self, url: str) -> None:
        self.live = True
        self.decode_errors = 0
        self._url = url
        self._closing = threading.Event()

    def check(self) -> None:
        """Nothing to check without a connection: the address was parsed when the source was made."""

    def started_at(self) -> datetime:
        """The present."""
        return datetime.now(UTC)

    def fingerprint(self) -> str:
        """The address without its credentials."""
        return redact(self._url)

    def size(self) -> None:
        """Not known without a connection."""

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture | Undecodable]:
        """See `Source.pictures`; also raises BrokenSourceError when no connection can be made.

        A stream has no end of its own: unless `close` was called, its end is a break too, so that the camera is
        connected again. Only a video file over HTTP that was played to its end is complete.
        """
        if self._closing.is_set():
            return
        self.decode_errors = 0
        try:
            with self._connect() as container:
                yield from self._receive(container, wants, max_width)
        except av.FFmpegError as error:
            raise BrokenSourceError(f"{redact(self._url)}: {_explain(error)}") from None

    def close(self) -> None:
        """See `Source.close`; a read that waits for the camera ends within `READ_TIMEOUT_S`."""
        self._closing.set()

    def _connect(self) -> InputContainer:
        options = {"rtsp_transport": "tcp"} if self._url.lower().startswith("rtsp") else {}
        return av.open(
            self._url, mode="r", options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), metadata_errors="replace"
        )

    def _receive(
        self, container: InputContainer, wants: Wants, max_width: int | None
    ) -> Iterator[Picture | Undecodable]:
        decoder = Decoder(container, most_lost=_MOST_LOST)
        if decoder.stream is None:
            raise BrokenSourceError(f"{redact(self._url)}: the stream carries no video; check the path of the address")
        for pts, (arrived_at, frame) in self._timed(decoder):
            self.decode_errors = decoder.errors
            if not wants(pts):
                continue
            if frame is None:
                yield Undecodable(pts, arrived_at)
            else:
                yield to_picture(frame, pts, arrived_at, max_width)
        self.decode_errors = decoder.errors
        if self._closing.is_set():
            return
        why = decoder.missing() if self._is_file(container) else _CLOSED
        if why:
            raise BrokenSourceError(f"{redact(self._url)}: {why}")

    def _timed(self, decoder: Decoder) -> Iterator[tuple[float, tuple[float, VideoFrame | None]]]:
        """pts, and the arrival with the picture: on the camera's clock where it sends one, else on ours."""
        frames = decoder.frames(self._closing)
        if decoder.container.format.name not in _WITHOUT_CLOCK:
            yield from steady(((stamp, (time.time(), frame)) for stamp, frame in frames), decoder.step)
            return
        began: float | None = None
        for _, frame in frames:
            now = time.monotonic()
            began = now if began is None else began
            yield now - began, (time.time(), frame)

    def _is_file(self, container: InputContainer) -> bool:
        """A recording on a web server knows its length; a camera's stream never does."""
        over_http = self._url.lower().startswith("http")
        return over_http and container.format.name not in _WITHOUT_CLOCK and (container.duration or 0) > 0


def _explain(error: av.FFmpegError) -> str:
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return "access refused; check user and password in the address"
    if isinstance(error, av.error.ExitError):
        return f"no data for {READ_TIMEOUT_S:g} s"
    if error.errno == errno.EIO:  # FFmpeg's word for an HTTP stream of unknown length that ends
        return _CLOSED
    return reason(error)
