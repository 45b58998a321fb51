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

from risa_ray.config import CameraConfig, is_url, redact
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources.base import Picture, Wants
from risa_ray.sources.clock import StreamClock
from risa_ray.sources.decoding import Decoder, reason, to_picture

LIVE = True
SCHEMES = ("rtsp", "rtsps", "http", "https")
OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0

# these carry no time stamps of the camera's; FFmpeg makes them up at 25 per second
_WITHOUT_CLOCK = {"mpjpeg", "mjpeg", "jpeg_pipe", "image2pipe"}


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

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture]:
        """See `Source.pictures`; also raises BrokenSourceError when no connection can be made."""
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

    def _receive(self, container: InputContainer, wants: Wants, max_width: int | None) -> Iterator[Picture]:
        decoder = Decoder(container)
        if decoder.stream is None:
            raise BrokenSourceError(f"{redact(self._url)}: the stream carries no video; check the path of the address")
        clock = StreamClock(decoder.step)
        own_clock = container.format.name not in _WITHOUT_CLOCK
        for frame in decoder.frames(self._closing):
            self.decode_errors = decoder.errors
            pts = clock(frame.time if own_clock else time.monotonic())
            if wants(pts):
                yield to_picture(frame, pts, time.time(), max_width)
        self.decode_errors = decoder.errors


def _explain(error: av.FFmpegError) -> str:
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return "access refused; check user and password in the address"
    if isinstance(error, av.error.ExitError):
        return f"no data for {READ_TIMEOUT_S:g} s"
    if error.errno == errno.EIO:  # FFmpeg's word for an HTTP stream of unknown length that ends
        return "the camera closed the connection"
    return reason(error)
