"""Decoding of video with PyAV: what files and network streams have in common."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from risa_ray.errors import BrokenSourceError
from risa_ray.sources.backlog import Backlog
from risa_ray.sources.base import Picture, fitted_size, freeze

DEFAULT_FPS = 25.0

_KEY_FRAME_S = 10.0
"""How long a stream may go on without a key frame to begin at again; a new connection begins with one."""

_LENGTH_IS_STORED = {"mov", "mp4", "matroska", "webm", "avi", "flv"}


class Shot:
    """A picture in the order of presentation, decoded already, or to be decoded if it is wanted.

    Attributes:
        too_late: it was passed over undecoded, since the stream is read more slowly than it comes.
    """

    def __init__(
        self,
        frame: VideoFrame | None = None,
        decode: Callable[[], VideoFrame | None] | None = None,
        too_late: bool = False,
    ) -> None:
        self.too_late = too_late
        self._frame = frame
        self._decode = decode

    def frame(self) -> VideoFrame | None:
        """The picture; None for one that cannot be decoded."""
        if self._decode is not None:
            decode, self._decode = self._decode, None
            self._frame = decode()
        return self._frame

    def skip(self) -> None:
        """The picture is not wanted; it is not decoded where that is not needed for others."""
        self._decode = None


class Decoder:
    """Decodes the main video stream of a container and keeps count of what cannot be decoded.

    Args:
        container: open for reading.
        most_lost: undecodable pictures that may wait for the next intact one to take their places before it; None for
            a file, which ends. A live stream that can never be decoded must say so.
        keep_up: pass pictures over where the stream is read more slowly than it comes.

    Attributes:
        errors: packets and pictures so far that could not be decoded; one that was skipped is none.
        stream: the video stream, or None when the container has none.
    """

    def __init__(self, container: InputContainer, most_lost: int | None = None, keep_up: bool = False) -> None:
        self.container = container
        self.stream: VideoStream | None = container.streams.best("video")  # type: ignore[assignment]
        self.errors = 0
        self._lost: list[float] = []
        self._most_lost = most_lost
        self._backlog = Backlog() if keep_up else None
        self._catching_up = False
        self._behind_at = 0.0
        self._read_to = 0.0
        self._last_packet: float | None = None
        self._last_frame: float | None = None

    @property
    def step(self) -> float:
        """Frame interval in seconds; 1/25 when the stream does not tell."""
        # a stream that was hardly probed has no average yet, but often names its rate itself
        rate = self.stream and (self.stream.average_rate or self.stream.codec_context.framerate)
        return 1 / float(rate) if rate else 1 / DEFAULT_FPS

    def shots(self, closing: threading.Event) -> Iterator[tuple[float | None, Shot]]:
        """Every picture in order of presentation, until the end or until `closing` is set.

        A picture that no other depends on comes undecoded, so that it costs nothing when it is skipped. One that is
        neither asked for nor skipped before the next is decoded then, in its place.

        Pictures that the decoder had to make up for lost data count as errors too: what it paints there is not what
        the camera saw.

        Where a live stream is read more slowly than it comes, pictures are passed over undecoded until all that waited
        has been read, and on to the next key frame: delay must not grow.

        Yields:
            The time stamp in seconds, and the picture.

        Raises:
            av.FFmpegError: the container cannot be read on.
            BrokenSourceError: there is no picture to begin at again.
        """
        for packet in self._packets(closing):
            stamp = _seconds(packet)
            if self._passes_over(packet):
                if stamp is not None:
                    yield stamp, Shot(too_late=True)
                continue
            if stamp is None or not self._stands_alone(stamp):
                yield from ((time, Shot(frame)) for time, frame in self._decode(packet))
                continue
            yield from ((time, Shot(frame)) for time, frame in self._lost_before(stamp))
            shot, errors = Shot(decode=partial(self._decode_alone, packet)), self.errors
            yield stamp, shot
            shot.frame()
            if self.errors == errors:
                self._last_frame = stamp
        if not closing.is_set():
            yield from ((time, Shot()) for time, _ in self._lost_before(None))

    def _passes_over(self, packet: Packet[Any]) -> bool:
        if self._backlog is None:
            return False
        if self._backlog.behind:
            self._behind_at = time.monotonic()
            self._catching_up = True
        elif self._catching_up and packet.is_keyframe:
            self._catching_up = False
            assert self.stream is not None
            self.stream.codec_context.flush_buffers()  # what it still holds is from before the gap
        elif self._catching_up and time.monotonic() - self._behind_at > _KEY_FRAME_S:
            raise BrokenSourceError("reading fell behind, and no key frame has come since; connecting again")
        return self._catching_up

    def _stands_alone(self, stamp: float) -> bool:
        """Whether a packet is one whole picture that comes next and that no other picture depends on.

        H.264 and H.265 may have such pictures too, but in what most cameras send each refers to the one before.
        """
        assert self.stream is not None
        comes_next = self._last_frame is None or stamp > self._last_frame
        return comes_next and self.stream.codec_context.codec.intra_only

    def _decode_alone(self, packet: Packet[Any]) -> VideoFrame | None:
        assert self.stream is not None
        frames: list[VideoFrame] = []
        if not packet.is_corrupt:  # half a JPEG decodes, to half a picture
            with suppress(av.FFmpegError):
                frames = self.stream.decode(packet)
        if len(frames) == 1 and not frames[0].is_corrupt:
            return frames[0]
        self.errors += 1
        return None

    def _packets(self, closing: threading.Event) -> Iterator[Packet[Any]]:
        """The packets of the video stream."""
        # every stream is read, not only the video, so that `_read_to` tells whether the file itself stops early
        packets = self.container.demux()
        for packet in self._backlog.watch(packets) if self._backlog else packets:
            if closing.is_set():
                return
            stamp = _seconds(packet)
            if stamp is not None:
                length = float((packet.duration or 0) * (packet.time_base or 0))
                self._read_to = max(self._read_to, stamp + length)
            if self.stream is None or packet.stream.index != self.stream.index:
                continue
            if stamp is not None:
                self._last_packet = max(self._last_packet or 0.0, stamp)
            yield packet

    def _decode(self, packet: Packet[Any]) -> Iterator[tuple[float | None, VideoFrame | None]]:
        assert self.stream is not None
        try:
            decoded = self.stream.decode(packet)
        except av.FFmpegError:
            self._lose(_seconds(packet))
            while self._most_lost is not None and len(self._lost) > self._most_lost:
                yield heapq.heappop(self._lost), None
            return
        for frame in decoded:
            if frame.is_corrupt:
                self._lose(frame.time)
                continue
            if frame.time is not None:
                self._last_frame = max(self._last_frame or frame.time, frame.time)
                yield from self._lost_before(frame.time)
            yield frame.time, frame

    def _lose(self, stamp: float | None) -> None:
        self.errors += 1
        if stamp is not None:
            heapq.heappush(self._lost, stamp)

    def _lost_before(self, stamp: float | None) -> Iterator[tuple[float, None]]:
        """Lost pictures are found in decoding order; they wait for their place in the order of presentation."""
        while self._lost and (stamp is None or self._lost[0] <= stamp):
            lost = heapq.heappop(self._lost)
            # a picture may be lost in several packets, or come out after all
            if lost != stamp and lost not in self._lost[:1]:
                yield lost, None

    def missing(self) -> str | None:
        """After the end: why the video is not complete, or None when it is.

        Formats that do not store their length (MPEG-TS, GIF) may be cut off unnoticed. A second at the end is not
        missed: the lengths that recorders write are not more exact than that.
        """
        tolerance = max(1.0, 2 * self.step)
        if self._read_to < self._stored_length() - tolerance:
            return "the file is cut off"
        if self._last_packet is not None and self._last_packet > (self._last_frame or 0.0) + tolerance:
            return "the rest cannot be decoded"
        return None

    def _stored_length(self) -> float:
        """Seconds that the container says it holds; 0 when it does not say."""
        formats = set(self.container.format.name.split(","))
        if not _LENGTH_IS_STORED & formats:
            return 0.0
        length = (self.container.duration or 0) / av.time_base
        # of an AVI without its index FFmpeg guesses the duration from the size; the header counts frames
        counted = self.stream.frames * self.step if self.stream and "avi" in formats else 0.0
        return max(length, counted)


def _seconds(packet: Packet[Any]) -> float | None:
    if packet.pts is None or packet.time_base is None:
        return None
    return float(packet.pts * packet.time_base)


def to_picture(frame: VideoFrame, pts: float, arrived_at: float, max_width: int | None) -> Picture:
    """Convert a decoded frame: upright (display matrix applied), RGB, at most `max_width` wide."""
    quarters = round(frame.rotation / 90) % 4
    lying = quarters % 2 == 1
    width, height = (frame.height, frame.width) if lying else (frame.width, frame.height)
    fitted = fitted_size(width, height, max_width)
    # reduced during conversion and before the turn, so the fewest pixels are touched
    columns, rows = fitted[::-1] if lying else fitted
    image = frame.to_ndarray(
        format="rgb24",
        width=columns,
        height=rows,
        interpolation="AREA" if fitted != (width, height) else "BILINEAR",
        threads=1,
    )
    upright = np.rot90(image, quarters) if quarters else image
    return freeze(upright, pts, arrived_at, width / fitted[0])


def reason(error: av.FFmpegError | OSError) -> str:
    """What went wrong, without the address that PyAV appends (it may hold a password)."""
    return (error.strerror or type(error).__name__).lower()
