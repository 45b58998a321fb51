"""Pictures with blurred faces that somebody looks at: drawn only then, from cameras whose config allows it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from risa_ray.frames import Frame, Run

if TYPE_CHECKING:  # torch comes with it
    from risa_ray.vision.analyze import CameraSetup, CameraState

log = logging.getLogger("risa.analyzer")

WANTED_S = 5.0
"""Nobody asked for so long: nobody looks, and what was drawn is forgotten."""
EVERY_S = 1.0
"""At most one picture of a camera so often."""
OLD_S = 15.0
"""What was drawn before is not shown any more: its camera sends nothing, or its analyzer is too busy."""
_SHARE = 0.1
"""Of the analyzer's time, for the pictures of all its cameras."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG and when it was captured, as `Frame.captured_at`."""

    jpeg: bytes
    captured_at: datetime


@dataclass(slots=True)
class _Wish:
    asked_at: float
    seen_at: float = float("-inf")
    drawn_at: float = float("-inf")
    picture: Picture | None = None


class Pictures:
    """Who looks at which camera, and the newest picture of each. `ask` and `see` may be called from two threads.

    Args:
        draw: makes the JPEG of an analysed frame, as `Analyzer.picture`.
    """

    def __init__(self, draw: Callable[[Frame, CameraSetup, CameraState], bytes]) -> None:
        self._draw = draw
        self._wishes: dict[str, _Wish] = {}
        self._free_at = float("-inf")
        self._lock = threading.Lock()

    def ask(self, camera_id: str) -> Picture | None:
        """The newest picture of a camera; asking is what makes the next one be drawn. None: there is none yet."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            wish = self._wishes.setdefault(camera_id, _Wish(now))
            wish.asked_at = now
            return wish.picture

    def see(self, run: Run, setup: CameraSetup, state: CameraState) -> None:
        """Draw the last frame of a run that was analysed, where somebody looks and it is time for another one.

        Args:
            state: of the camera after the run.
        """
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            wish = self._wishes.get(setup.camera_id)
            if wish is not None and not setup.blurred_picture:
                wish.picture = None
        frame = next((item for item in reversed(run) if isinstance(item, Frame)), None)
        if wish is None or frame is None or not setup.blurred_picture:
            return
        wish.seen_at = now
        if now < max(self._free_at, wish.drawn_at + EVERY_S) or not self._is_its_turn(wish, now):
            return
        try:
            wish.picture = Picture(self._draw(frame, setup, state), frame.captured_at)
        except Exception:
            # The rows of this frame are on their way; a picture more or less must not touch them.
            log.exception("camera %s: its blurred picture could not be drawn", setup.camera_id)
        wish.drawn_at = time.monotonic()
        self._free_at = wish.drawn_at + (wish.drawn_at - now) * (1 / _SHARE - 1)

    def forget(self) -> None:
        """Let go of what nobody looks at any more."""
        with self._lock:
            self._forget(time.monotonic())

    def _is_its_turn(self, wish: _Wish, now: float) -> bool:
        """Whether no other camera that sends frames has waited for longer."""
        others = [other for other in self._wishes.values() if now - other.seen_at < EVERY_S]
        return all(wish.drawn_at <= other.drawn_at for other in others)

    def _forget(self, now: float) -> None:
        for wish in self._wishes.values():
            if now - wish.drawn_at > OLD_S:
                wish.picture = None
        self._wishes = {name: wish for name, wish in self._wishes.items() if now - wish.asked_at < WANTED_S}
