"""Network cameras: RTSP (over TCP or UDP) and HTTP(S) video or MJPEG."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import av
from av.container import InputContainer

from risa_ray.config import CameraConfig, is_url, redact
from risa_ray.errors import AccessRefusedError, BrokenSourceError, SourceError
from risa_ray.sources.base import Missed, Picture, Wants
from risa_ray.sources.clock import steady
from risa_ray.sources.decoding import Decoder, Shot, reason, to_picture

LIVE = True
SCHEMES = ("rtsp", "rtsps", "http", "https")
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
KNOCK_TIMEOUT_S = 1.5
"""For a host to accept a connection. A second attempt of TCP's falls into it; longer, and a camera that comes back
while we still wait for it to answer would be found late."""

OPEN_TIMEOUT_S = 5.0
"""For the first packets to come, twice at most; longer for cameras whose `stall_timeout_s` is."""

_RTSP = {
    # RTSP names the codec, and every picture its size: there is nothing to probe for. FFmpeg would else read 20
    # pictures to find their rate: 4 s at 5 per second. (Not `fflags nobuffer`: it throws the probed key frame away.)
    "probesize": "32",
    "fpsprobesize": "0",
    "buffer_size": str(1 << 20),  # UDP: a key frame arrives as one burst
}
_HTTP = {"analyzeduration": "1000000", "fpsprobesize": "0"}

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
    return NetworkCamera(camera)


def with_credentials(camera: CameraConfig) -> CameraConfig:
    """The same camera with the credentials of `credentials_env` in its address, percent-encoded.

    Whoever has the variable resolves it, so that a reader on another node needs no environment.

    Raises:
        SourceError: the variable is missing or holds no `user:password`; its value is not shown.
    """
    variable = camera.credentials_env
    if variable is None:
        return camera
    value = os.environ.get(variable, "").strip("\r\n")
    if not value:
        raise SourceError(f"camera {camera.id}: set the environment variable {variable} to user:password")
    user, colon, password = value.partition(":")
    if not user or not colon:
        raise SourceError(f"camera {camera.id}: the environment variable {variable} does not hold user:password")
    scheme, _, rest = camera.source.partition("://")
    source = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
    return camera.model_copy(update={"source": source, "credentials_env": None})


class NetworkCamera:
    """A camera reached by an address. One call of `pictures` is one connection; the caller reconnects."""

    def __init__(self, camera: CameraConfig) -> None:
        self.live = True
        self.decode_errors = 0
        self._url = camera.source
        self._transport = camera.transport
        self._fresh = camera.policy != "every_frame"
        self._read_timeout_s = 2 * camera.stall_timeout_s
        self._open_timeout_s = max(OPEN_TIMEOUT_S, camera.stall_timeout_s)
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

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        """See `Source.pictures`; also raises BrokenSourceError when no connection can be made.

        A stream has no end of its own: unless `close` was called, its end is a break too, so that the camera is
        connected again. Only a video file over HTTP that was played to its end is complete.
        """
        if self._closing.is_set():
            return
        self.decode_errors = 0
        self._knock()
        began, opening = time.monotonic(), True
        try:
            with self._connect() as container:
                opening = False
                yield from self._receive(container, wants, max_width)
        except av.FFmpegError as error:
            timeout_s = self._open_timeout_s if opening else self._read_timeout_s
            # while it opens an RTSP stream, FFmpeg calls a time-out "invalid data"
            late = isinstance(error, av.error.ExitError) or (opening and time.monotonic() - began >= timeout_s)
            silent = BrokenSourceError(f"{redact(self._url)}: no data for {timeout_s:g} s")
            raise (silent if late else self._broken(error)) from None

    def close(self) -> None:
        """See `Source.close`; a read that waits for the camera ends within twice its `stall_timeout_s`."""
        self._closing.set()

    def _knock(self) -> None:
        """Find the host and see that it answers: FFmpeg waits for long, and says of both only that it failed."""
        parts, shown = urlsplit(self._url), redact(self._url)
        address = parts.hostname or "", parts.port or PORTS[parts.scheme.lower()]
        try:
            socket.create_connection(address, timeout=KNOCK_TIMEOUT_S).close()
        except (socket.gaierror, UnicodeError):
            raise BrokenSourceError(f"{shown}: unknown host; check its name, and that this machine finds it") from None
        except TimeoutError:
            raise BrokenSourceError(
                f"{shown}: the host does not answer; is the camera on, and in this network?"
            ) from None
        except OSError as error:
            raise BrokenSourceError(f"{shown}: {(error.strerror or 'no connection').lower()}") from None

    def _connect(self) -> InputContainer:
        rtsp = self._url.lower().startswith("rtsp")
        return av.open(
            self._url,
            mode="r",
            options=_RTSP | {"rtsp_transport": self._transport} if rtsp else _HTTP,
            timeout=(self._open_timeout_s, self._read_timeout_s),
            metadata_errors="replace",
        )

    def _broken(self, error: av.FFmpegError) -> BrokenSourceError:
        shown = redact(self._url)
        if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
            return AccessRefusedError(f"{shown}: access refused; check user and password, and what the user may see")
        if isinstance(error, av.error.HTTPNotFoundError):
            return BrokenSourceError(f"{shown}: no such stream; check the path of the address")
        if error.errno == errno.EIO:  # FFmpeg's word for an HTTP stream of unknown length that ends
            return BrokenSourceError(f"{shown}: {_CLOSED}")
        return BrokenSourceError(f"{shown}: {reason(error)}")

    def _receive(self, container: InputContainer, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        # a recording comes as fast as it is read
        keep_up = self._fresh and not self._is_file(container)
        decoder = Decoder(container, most_lost=_MOST_LOST, keep_up=keep_up)
        if decoder.stream is None:
            raise BrokenSourceError(f"{redact(self._url)}: the stream carries no video; check the path of the address")
        for pts, (arrived_at, shot) in self._timed(decoder):
            self.decode_errors = decoder.errors
            if not wants(pts):
                shot.skip()
                continue
            frame = shot.frame()
            self.decode_errors = decoder.errors
            if frame is None:
                yield Missed(pts, arrived_at, "overrun" if shot.too_late else "decode_error")
            else:
                yield to_picture(frame, pts, arrived_at, max_width)
        self.decode_errors = decoder.errors
        if self._closing.is_set():
            return
        why = decoder.missing() if self._is_file(container) else _CLOSED
        if why:
            raise BrokenSourceError(f"{redact(self._url)}: {why}")

    def _timed(self, decoder: Decoder) -> Iterator[tuple[float, tuple[float, Shot]]]:
        """pts, and the arrival with the picture: on the camera's clock where it sends one, else on ours."""
        shots = decoder.shots(self._closing)
        if decoder.container.format.name not in _WITHOUT_CLOCK:
            yield from steady(((stamp, (time.time(), shot)) for stamp, shot in shots), decoder.step)
            return
        began: float | None = None
        for _, shot in shots:
            now = time.monotonic()
            began = now if began is None else began
            yield now - began, (time.time(), shot)

    def _is_file(self, container: InputContainer) -> bool:
        """A recording on a web server knows its length; a camera's stream never does."""
        over_http = self._url.lower().startswith("http")
        return over_http and container.format.name not in _WITHOUT_CLOCK and (container.duration or 0) > 0
