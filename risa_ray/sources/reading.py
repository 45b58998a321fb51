"""From the pictures of a source to the numbered frames of a session."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from risa_ray.config import CameraConfig
from risa_ray.frames import Frame, Outcome, from_unix
from risa_ray.sources.base import Missed, Source

_NAMED = 10
"""Unreadable pictures that a note names; the log has all."""


class Sampler:
    """Keeps at most `fps` pictures per second, as a pure function of the sequence of pts.

    Time is cut into slots of 1/fps; the first picture in each slot is kept. So the outcome depends on neither the load
    nor the clock, and two readings of a file keep the same pictures.

    Args:
        fps: None keeps every picture.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._last: int | None = None

    def __call__(self, pts: float) -> bool:
        if self._fps is None:
            return True
        # the margin keeps a stamp such as 0.19999999 in the slot that it was rounded out of
        slot = math.floor(pts * self._fps + 1e-6)
        if self._last is not None and slot <= self._last:
            return False
        self._last = slot
        return True


def read_frames(
    source: Source,
    camera: CameraConfig,
    session_id: str,
    started_at: datetime,
    after_seq: int = -1,
    heard: Callable[[], None] = lambda: None,
) -> Iterator[Frame | Outcome]:
    """Read a source to its end as frames of one session, numbered from 0 in the order they were sampled.

    A sampled picture that cannot be decoded has its number too: it comes as an outcome, dropped as `decode_error`, or
    as `overrun` where decoding is slower than the camera.

    Args:
        started_at: capture time of pts 0, as kept with the session; not used for a live source, whose pictures are
            stamped on arrival.
        after_seq: resume: frames up to this number are passed over, and the rest carries the numbers it had.
        heard: called for every picture, sampled or not.

    Raises:
        BrokenSourceError: the source broke off; the frames before have been yielded.
    """
    sampler = Sampler(camera.sampling_fps)
    seq = -1

    def wants(pts: float) -> bool:
        nonlocal seq
        heard()
        if not sampler(pts):
            return False
        seq += 1
        return seq > after_seq

    for picture in source.pictures(wants, camera.max_width):
        live = source.live
        captured_at = from_unix(picture.arrived_at) if live else started_at + timedelta(seconds=picture.pts)
        if isinstance(picture, Missed):
            yield Outcome(seq, picture.pts, captured_at, picture.arrived_at, picture.cause)
            continue
        yield Frame(
            camera_id=camera.id,
            session_id=session_id,
            frame_seq=seq,
            pts=picture.pts,
            captured_at=captured_at,
            arrived_at=picture.arrived_at,
            image=picture.image,
            scale=picture.scale,
        )


def undecoded(source: Source | None) -> str:
    """What of a source could not be decoded, with the names where there are any; empty when nothing."""
    if source is None or not source.decode_errors:
        return ""
    count, names = source.decode_errors, getattr(source, "unreadable", [])
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    if not names:
        return f"{pictures} could not be decoded"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{pictures} could not be read: {', '.join(names[:_NAMED])}{more}"
