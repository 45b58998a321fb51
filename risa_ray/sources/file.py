"""Video files, animated GIF among them."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import av
from av.container import InputContainer

from risa_ray.config import CameraConfig, is_url
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources.base import Missed, Picture, Wants
from risa_ray.sources.clock import modified_at, parse_creation_time, steady, time_in_name
from risa_ray.sources.decoding import Decoder, reason, to_picture

log = logging.getLogger("risa.sources")

LIVE = False


def matches(source: str) -> bool:
    """Every path is a video file, unless another kind claims it first."""
    return not is_url(source)


def open_source(camera: CameraConfig, timezone: ZoneInfo) -> VideoFile:
    """A video file as a source.

    Raises:
        SourceError: there is no such file.
    """
    path = Path(camera.source)
    if not path.is_file():
        raise SourceError(f"{path}: no such file or folder; check 'source' of camera {camera.id}")
    return VideoFile(path, camera, timezone)


class VideoFile:
    """A video file; with `realtime` it is played at its own speed and counts as live."""

    def __init__(self, path: Path, camera: CameraConfig, timezone: ZoneInfo) -> None:
        self.live = camera.realtime
        self.decode_errors = 0
        self._path = path
        self._start = camera.start
        self._timezone = timezone
        self._closing = threading.Event()
        self._size: tuple[int, int] | None = None

    def check(self) -> None:
        """See `Source.check`."""
        self.size()

    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, from the first one.

        Raises:
            SourceError: no picture can be read.
        """
        if self._size is None:
            with self._open() as container:
                self._size = self._first_size(container)
        return self._size

    def started_at(self) -> datetime:
        """Config `start`, else a time in the file's name, else the container's, else the modification time."""
        if self.live:
            return datetime.now(UTC)
        if self._start is not None:
            return self._start.astimezone(UTC)
        return time_in_name(self._path.stem, self._timezone) or self._created_at() or modified_at(self._path)

    def fingerprint(self) -> str:
        """Of name, size and modification time."""
        return fingerprint([self._path])

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        """See `Source.pictures`."""
        self.decode_errors = 0
        try:
            container = self._open()
        except SourceError as error:
            raise BrokenSourceError(str(error)) from None
        try:
            with container:
                yield from self._play(Decoder(container), wants, max_width)
        finally:
            if self.decode_errors:
                log.warning("%s: %d pictures could not be decoded", self._path, self.decode_errors)

    def close(self) -> None:
        """See `Source.close`."""
        self._closing.set()

    def _play(self, decoder: Decoder, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        began = time.monotonic()
        pts = 0.0
        try:
            for pts, shot in steady(decoder.shots(self._closing), decoder.step):
                self.decode_errors = decoder.errors
                if self.live and self._closing.wait(max(0.0, began + pts - time.monotonic())):
                    return
                if not wants(pts):
                    shot.skip()
                    continue
                frame = shot.frame()
                self.decode_errors = decoder.errors
                if frame is None:
                    yield Missed(pts, time.time())
                else:
                    yield to_picture(frame, pts, time.time(), max_width)
        except av.FFmpegError as error:
            raise self._broken(pts, reason(error)) from None
        self.decode_errors = decoder.errors
        missing = decoder.missing()
        if missing and not self._closing.is_set():
            raise self._broken(pts, missing)

    def _broken(self, pts: float, why: str) -> BrokenSourceError:
        return BrokenSourceError(f"{self._path}: breaks off at {pts:.1f} s ({why}); what came before is kept")

    def _open(self) -> InputContainer:
        try:
            # 'file:' keeps a colon in a name from being taken for a protocol
            container = av.open(f"file:{self._path}", mode="r", metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            why = reason(error) if isinstance(error, av.FFmpegError) else str(error.strerror)
            raise SourceError(f"{self._path}: cannot be read as video ({why}); convert or replace the file") from None
        # FFmpeg would otherwise paint any text file as a terminal
        if container.format.name == "tty" or not container.streams.video:
            container.close()
            raise SourceError(f"{self._path}: there is no video in it; give a video or picture file")
        return container

    def _first_size(self, container: InputContainer) -> tuple[int, int]:
        try:
            for _, shot in Decoder(container).shots(threading.Event()):
                if (frame := shot.frame()) is None:
                    continue
                lying = round(frame.rotation / 90) % 2 == 1
                return (frame.height, frame.width) if lying else (frame.width, frame.height)
        except av.FFmpegError as error:
            raise SourceError(f"{self._path}: no picture can be decoded ({reason(error)}); replace the file") from None
        raise SourceError(f"{self._path}: no picture can be decoded (nothing to read); replace the file")

    def _created_at(self) -> datetime | None:
        with self._open() as container:
            return parse_creation_time(container.metadata.get("creation_time"))


def fingerprint(paths: list[Path]) -> str:
    """A digest of names, sizes and modification times."""
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
