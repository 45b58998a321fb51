"""USB cameras through OpenCV: `usb:0` or `usb:/dev/video0`."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import cv2

from risa_ray.config import CameraConfig
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources.base import Missed, Picture, Wants, make_picture

LIVE = True
PREFIX = "usb:"


def matches(source: str) -> bool:
    """Sources that begin with `usb:`."""
    return source.startswith(PREFIX)


def open_source(camera: CameraConfig, timezone: ZoneInfo) -> UsbCamera:
    """A USB camera as a source.

    Raises:
        SourceError: neither a number nor a device file.
    """
    device = camera.source.removeprefix(PREFIX)
    if not re.fullmatch(r"\d{1,3}|/.+", device):
        raise SourceError(f"{camera.source}: not a USB camera; write usb:0 or usb:/dev/video0")
    return UsbCamera(device)


class UsbCamera:
    """A camera at this machine. It has no clock of its own, so pts count from the arrival of the first picture."""

    def __init__(self, device: str) -> None:
        self.live = True
        self.decode_errors = 0
        self._device = device
        self._closing = threading.Event()

    @property
    def _name(self) -> str:
        return f"{PREFIX}{self._device}"

    @property
    def _path(self) -> str:
        return f"/dev/video{self._device}" if self._device.isdigit() else self._device

    def check(self) -> None:
        """See `Source.check`: a camera that is there must be readable; it may also be plugged in later."""
        if os.path.exists(self._path) and not os.access(self._path, os.R_OK):
            raise SourceError(f"{self._name}: no permission to read {self._path}; add this user to the group 'video'")

    def started_at(self) -> datetime:
        """The present."""
        return datetime.now(UTC)

    def fingerprint(self) -> str:
        """The camera's address."""
        return self._name

    def size(self) -> None:
        """Not known without a connection."""

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        """See `Source.pictures`."""
        backend = cv2.CAP_V4L2 if self._path.startswith("/dev/") else cv2.CAP_ANY
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it would warn at every attempt to connect
        capture = cv2.VideoCapture(self._path, backend)
        try:
            if not capture.isOpened():
                raise BrokenSourceError(f"{self._name}: cannot be opened; is the camera plugged in and not in use?")
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old pictures in a queue of the driver's are of no use
            yield from self._capture(capture, wants, max_width)
        finally:
            capture.release()

    def close(self) -> None:
        """See `Source.close`."""
        self._closing.set()

    def _capture(self, capture: cv2.VideoCapture, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        began: float | None = None
        while not self._closing.is_set():
            if not capture.grab():
                raise BrokenSourceError(f"{self._name}: no more pictures; was the camera unplugged?")
            now, arrived_at = time.monotonic(), time.time()
            began = now if began is None else began
            if not wants(now - began):
                continue
            ok, bgr = capture.retrieve()
            if ok and bgr is not None:
                yield make_picture(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), now - began, arrived_at, max_width)
            else:
                self.decode_errors += 1
                yield Missed(now - began, arrived_at)
