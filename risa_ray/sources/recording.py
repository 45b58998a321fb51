"""What recordings have in common, be they a video or pictures: their size, their beginning, what tells them apart."""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from risa_ray.config import CameraConfig
from risa_ray.errors import SourceError
from risa_ray.sources.decoding import reason


class Recording(ABC):
    """One or more files as a source; with `realtime` they are played at their own speed and count as live.

    What is told of them stays as it was when it was first asked for, at the latest at `check`: files may be changed or
    deleted while a run goes on, and what they were called at its start is what it knows them by.

    Args:
        paths: the files.
        camera: whose they are.
        timezone: of the store, for times in names.
    """

    def __init__(self, paths: list[Path], camera: CameraConfig, timezone: ZoneInfo) -> None:
        self.live = camera.realtime
        self._paths = paths
        self._timezone = timezone
        self._closing = threading.Event()
        self._start = camera.start
        self._size: tuple[int, int] | None = None
        self._started_at: datetime | None = None
        self._fingerprint: str | None = None

    def check(self) -> None:
        """See `Source.check`."""
        self.size()
        self.started_at()
        self.fingerprint()

    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, from the first one that can be read.

        Raises:
            SourceError: none can be read.
        """
        if self._size is None:
            self._size = self._first_size()
        return self._size

    def started_at(self) -> datetime:
        """Config `start`, else what the files tell, else the modification time of the first.

        Raises:
            SourceError: it is gone, or cannot be opened.
        """
        if self.live:
            return datetime.now(UTC)
        if self._started_at is None:
            told = self._start or self._recorded_at()
            self._started_at = told.astimezone(UTC) if told else _modified_at(self._paths[0])
        return self._started_at

    def fingerprint(self) -> str:
        """A digest of names, sizes and modification times.

        Raises:
            SourceError: a file is gone.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for path in self._paths:
                stat = _stat(path)
                digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
            self._fingerprint = digest.hexdigest()[:32]
        return self._fingerprint

    def close(self) -> None:
        """See `Source.close`."""
        self._closing.set()

    @abstractmethod
    def _first_size(self) -> tuple[int, int]:
        """See `size`."""

    @abstractmethod
    def _recorded_at(self) -> datetime | None:
        """The time of capture in a name or in a file, in UTC; None when there is none."""


def _modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(_stat(path).st_mtime, UTC)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({reason(error)}); check the path and its permissions") from None
