"""Video files, animated GIF among them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import av
from av.container import InputContainer

from risa_ray.config import CameraConfig, is_url
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources.base import Missed, Picture, Wants
from risa_ray.sources.clock import parse_creation_time, steady, time_in_name
from risa_ray.sources.decoding import Decoder, reason, to_picture
from risa_ray.sources.recording import Recording

log = logging.getLogger("risa.sources")

LIVE = False


def matches(source: str) -> bool:
    """Every path is a video file, unless another kind claims it first."""
    return not is_url(source)


def open_source(camera: CameraConfig, timezone: ZoneInfo) -> VideoFile:
    """A video file as a source.

    Raises:
        SourceError: there is no such file, or no way to it.
    """
    path = Path(camera.source)
    try:
        found = path.is_file()
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise SourceError(f"{path}: {reason(error)}; check 'source' of camera {camera.id}") from None
    if not found:
        raise SourceError(f"{path}: no such file or folder; check 'source' of camera {camera.id}")
    return VideoFile(path, camera, timezone)


class VideoFile(Recording):
    """A video file; `started_at` knows a time in its name, else the container's."""

    def __init__(self, path: Path, camera: CameraConfig, timezone: ZoneInfo) -> None:
        super().__init__([path], camera, timezone)
        self.decode_errors = 0
        self._path = path

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
            why = f"cannot be read as video ({reason(error)}); convert or replace the file"
            raise SourceError(f"{self._path}: {why}") from None
        # FFmpeg would otherwise paint any text file as a terminal
        if container.format.name == "tty" or not container.streams.video:
            container.close()
            raise SourceError(f"{self._path}: there is no video in it; give a video or picture file")
        return container

    def _first_size(self) -> tuple[int, int]:
        try:
            with self._open() as container:
                for _, shot in Decoder(container).shots(threading.Event()):
                    if (frame := shot.frame()) is None:
                        continue
                    lying = round(frame.rotation / 90) % 2 == 1
                    return (frame.height, frame.width) if lying else (frame.width, frame.height)
        except av.FFmpegError as error:
            raise SourceError(f"{self._path}: no picture can be decoded ({reason(error)}); replace the file") from None
        raise SourceError(f"{self._path}: no picture can be decoded (nothing to read); replace the file")

    def _recorded_at(self) -> datetime | None:
        if named := time_in_name(self._path.stem, self._timezone):
            return named
        with self._open() as container:
            return parse_creation_time(container.metadata.get("creation_time"))
