"""The demo store: two live views of a scene that is drawn while it runs, with no camera and no footage of anybody.

demo:front                              the view past the service desk
demo:side                               the same moments from the other side
demo:front?seconds=60&fps=10&seed=1     length, pictures per second, and who plays which part
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import av
import cv2

from risa_ray.config import CameraConfig
from risa_ray.errors import SourceError
from risa_ray.sources.base import Picture, Wants, make_picture
from risa_ray.sources.demo.backdrop import HEIGHT, WIDTH
from risa_ray.sources.demo.scene import DEMO_SECONDS, DEMO_ZONES, VIEWS, appearances, render

__all__ = ["DEMO_SECONDS", "DEMO_ZONES", "VIEWS", "DemoCamera", "appearances", "render", "write_clip"]

LIVE = True
PREFIX = "demo:"
DEMO_FPS = 15.0

_LIMITS = {"seconds": (0.1, 1e6), "fps": (0.1, 60.0), "seed": (0.0, 2.0**31)}


def matches(source: str) -> bool:
    """Sources that begin with `demo:`."""
    return source.startswith(PREFIX)


def open_source(camera: CameraConfig, timezone: ZoneInfo) -> DemoCamera:
    """A view of the demo scene as a live source.

    Raises:
        SourceError: no such view, or a parameter that is unknown or out of range.
    """
    view, _, query = camera.source.removeprefix(PREFIX).partition("?")
    if view not in VIEWS:
        known = " or ".join(PREFIX + v for v in VIEWS)
        raise SourceError(f"{camera.source}: the demo has no view {view!r}; use {known}")
    values: dict[str, float] = {"seconds": DEMO_SECONDS, "fps": DEMO_FPS, "seed": 0.0}
    for key, text in parse_qsl(query, keep_blank_values=True):
        values[key] = _number(camera.source, key, text)
    return DemoCamera(camera.source, view, values["seconds"], values["fps"], int(values["seed"]))


def _number(source: str, key: str, text: str) -> float:
    if key not in _LIMITS:
        raise SourceError(f"{source}: unknown parameter {key!r}; the demo takes {', '.join(_LIMITS)}")
    low, high = _LIMITS[key]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SourceError(f"{source}: {key}={text} is not a number from {low:g} to {high:g}")
    return value


class DemoCamera:
    """Shows the scene in real time and ends after `seconds`; a picture nobody wants is not drawn."""

    def __init__(self, address: str, view: str, seconds: float, fps: float, seed: int) -> None:
        self.live = True
        self.decode_errors = 0
        self._address = address
        self._view = view
        self._count = round(seconds * fps)
        self._fps = fps
        self._seed = seed
        self._closing = threading.Event()

    def check(self) -> None:
        """See `Source.check`; also draws the first picture, so that the scene starts on time."""
        render(self._view, 0.0, self._seed)

    def started_at(self) -> datetime:
        """The present."""
        return datetime.now(UTC)

    def fingerprint(self) -> str:
        """The address."""
        return self._address

    def size(self) -> tuple[int, int]:
        """960 x 540."""
        return WIDTH, HEIGHT

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture]:
        """See `Source.pictures`."""
        began = time.monotonic()
        for index in range(self._count):
            pts = index / self._fps
            if self._closing.wait(max(0.0, began + pts - time.monotonic())):
                return
            if wants(pts):
                arrived_at = time.time()
                yield make_picture(render(self._view, pts, self._seed), pts, arrived_at, max_width)

    def close(self) -> None:
        """See `Source.close`."""
        self._closing.set()


def write_clip(path: Path, view: str, seconds: float, fps: float, size: tuple[int, int] | None = None) -> None:
    """Write the scene's first seconds as an H.264 file; the container follows from the suffix.

    Args:
        size: width and height in pixels, both even; None for 960 x 540.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = size or (WIDTH, HEIGHT)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for index in range(round(seconds * fps)):
            image = render(view, index / fps)
            if size is not None:
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
