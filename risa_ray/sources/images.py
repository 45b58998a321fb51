"""One picture file, or a folder of pictures, each a frame."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from PIL import Image as PilImage

from risa_ray.config import CameraConfig
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.frames import Image
from risa_ray.pictures import PICTURE_SUFFIXES, upright
from risa_ray.sources.base import Missed, Picture, Wants, make_picture
from risa_ray.sources.clock import plausible, time_in_name
from risa_ray.sources.decoding import reason
from risa_ray.sources.recording import Recording

log = logging.getLogger("risa.sources")

LIVE = False
SECONDS_PER_PICTURE = 1.0

_EXIF_IFD = 0x8769
_DATE_TIME_ORIGINAL = 0x9003


def matches(source: str) -> bool:
    """Folders, and files with the suffix of a still picture (a GIF is a video)."""
    # these answer no where `Path` raises; what cannot be looked at is told by the kind that takes every path
    return os.path.isdir(source) or (Path(source).suffix.lower() in PICTURE_SUFFIXES and os.path.exists(source))


def open_source(camera: CameraConfig, timezone: ZoneInfo) -> Pictures:
    """A picture or a folder of pictures as a source.

    Raises:
        SourceError: the folder cannot be listed or holds no picture.
    """
    path = Path(camera.source)
    try:
        entries = sorted(path.iterdir(), key=lambda p: p.name) if path.is_dir() else [path]
        pictures = (p for p in entries if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith("."))
        found = [p for p in pictures if p.is_file()]
    except OSError as error:
        raise SourceError(f"{path}: the folder cannot be listed ({reason(error)}); check its permissions") from None
    if not found:
        raise SourceError(f"{path}: no picture in this folder; put {', '.join(sorted(PICTURE_SUFFIXES))} files there")
    return Pictures(path, found, camera, timezone)


class Pictures(Recording):
    """Pictures in the order of their names, one second apart on the stream's clock.

    A picture that cannot be read keeps its place as `Missed`; it is counted in `decode_errors`, named in
    `unreadable` and in a log warning. EXIF orientation is applied. `started_at` knows a time in the first picture's
    or the folder's name, else its EXIF.
    """

    def __init__(self, origin: Path, paths: list[Path], camera: CameraConfig, timezone: ZoneInfo) -> None:
        super().__init__(paths, camera, timezone)
        self.unreadable: list[str] = []
        self._origin = origin

    @property
    def decode_errors(self) -> int:
        """Pictures so far that could not be read."""
        return len(self.unreadable)

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        """See `Source.pictures`; pts is the picture's place in the folder, in seconds."""
        self.unreadable = []
        began = time.monotonic()
        for index, path in enumerate(self._paths):
            pts = index * SECONDS_PER_PICTURE
            pause = began + pts - time.monotonic() if self.live else 0.0
            if self._closing.wait(max(0.0, pause)):
                return
            image = _load(path)
            if image is None:
                self.unreadable.append(path.name)
                log.warning("%s: cannot be read as a picture", path)
            if not wants(pts):
                continue
            arrived_at = time.time()
            yield Missed(pts, arrived_at) if image is None else make_picture(image, pts, arrived_at, max_width)
        if len(self.unreadable) == len(self._paths):
            raise BrokenSourceError(f"{self._origin}: no picture can be decoded")

    def _first_size(self) -> tuple[int, int]:
        image = next((i for i in map(_load, self._paths) if i is not None), None)
        if image is None:
            raise SourceError(f"{self._origin}: no picture can be decoded; replace the file")
        return image.shape[1], image.shape[0]

    def _recorded_at(self) -> datetime | None:
        first = self._paths[0]
        named = time_in_name(first.stem, self._timezone) or time_in_name(self._origin.name, self._timezone)
        return named or _taken_at(first, self._timezone)


def _load(path: Path) -> Image | None:
    """The upright picture as RGB (H, W, 3), or None when it cannot be read whole."""
    try:
        with PilImage.open(path) as opened:
            return np.array(upright(opened).convert("RGB"))
    # a hostile or broken file makes Pillow raise nearly anything (struct.error, zlib.error, TypeError, ...); the caller
    # names and counts it
    except Exception:
        return None


def _taken_at(path: Path, timezone: ZoneInfo) -> datetime | None:
    """The time in a picture's EXIF, in UTC; None when there is none that can be read."""
    try:
        with PilImage.open(path) as opened:
            value = opened.getexif().get_ifd(_EXIF_IFD).get(_DATE_TIME_ORIGINAL)
        naive = datetime.strptime(str(value), "%Y:%m:%d %H:%M:%S")
    # broken EXIF makes Pillow raise nearly anything, and a picture without a time is nothing to report
    except Exception:
        return None
    return naive.replace(tzinfo=timezone).astimezone(UTC) if plausible(naive) else None
