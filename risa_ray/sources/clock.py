"""Time of recorded pictures: a clock that never runs backward, and the time of capture in a file's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

RESTART_S = 1.0
JUMP_S = 1.0
EARLIEST_YEAR, LATEST_YEAR = 1990, 2199

T = TypeVar("T")

_TIME_IN_NAME = re.compile(
    r"(?<!\d)(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})[T_ .-]{0,2}(\d{2})[-_.:]?(\d{2})[-_.:]?(\d{2})(?!\d)(Z)?"
)


class StreamClock:
    """Turns the time stamps of a stream into seconds from 0 that never decrease.

    A missing stamp counts as one frame interval. A stamp slightly in the past (a jitter of the recorder) is held at the
    latest time; one more than `RESTART_S` in the past means that the stream's clock restarted (recordings joined
    together), so time goes on from there by one frame interval.

    Args:
        step: frame interval in seconds.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._offset: float | None = None
        self._last: float | None = None
        self._gap = step

    def __call__(self, stamp: float | None) -> float:
        """Seconds since the first picture, for a stamp in seconds or None."""
        following = 0.0 if self._last is None else self._last + self._step
        latest = self._last or 0.0
        if stamp is None:
            now = following
        else:
            if self._offset is None or stamp + self._offset < latest - RESTART_S:
                self._offset = following - stamp
            now = max(latest, stamp + self._offset)
        self._gap = self._step if self._last is None else now - latest
        self._last = now
        return now

    def jumps(self, stamp: float) -> bool:
        """Whether a stamp leaps ahead of the latest time; twice the last interval is none, for slow streams."""
        if self._offset is None or self._last is None:
            return False
        return stamp + self._offset - self._last > max(JUMP_S, 2 * self._gap)


def steady(stamped: Iterable[tuple[float | None, T]], step: float) -> Iterator[tuple[float, T]]:
    """Put the items of a stream on a `StreamClock`, in order; a single wild stamp ahead is not believed.

    After a leap ahead the next stamp decides, so that one item is held back until it comes: when time has returned by
    then, the leap was an error and its item counts as one frame interval after the one before; otherwise it was a gap
    in the recording, and stays one.

    Args:
        stamped: stamps in seconds (None: missing), each with its item.
        step: frame interval in seconds.
    """
    clock = StreamClock(step)
    held: tuple[float, T] | None = None
    for stamp, item in stamped:
        if held is not None:
            returned = stamp is None or stamp < held[0] - RESTART_S
            yield clock(None if returned else held[0]), held[1]
            held = None
        if stamp is not None and clock.jumps(stamp):
            held = stamp, item
        else:
            yield clock(stamp), item
    if held is not None:
        yield clock(held[0]), held[1]


def plausible(time: datetime) -> bool:
    """Whether a recorder's clock was set: an unset one shows 1904 or 1970, a broken one anything."""
    return EARLIEST_YEAR <= time.year <= LATEST_YEAR


def time_in_name(name: str, timezone: ZoneInfo) -> datetime | None:
    """The time of capture that a recorder wrote into a file's name, in UTC; None when there is none.

    Understands cam1_20260314_091500, 2026-03-14_09-15-00, 20260314091500 and 20260314T091500Z. Without the Z the time
    is local to `timezone`; in the hour that clocks are set back the first of the two is meant.
    """
    for match in _TIME_IN_NAME.finditer(name):
        try:
            naive = datetime.strptime("".join(match.groups()[:6]), "%Y%m%d%H%M%S")
        except ValueError:
            continue  # digits that are no date, such as a serial number; a later match may be one
        if plausible(naive):
            return naive.replace(tzinfo=UTC if match[7] else timezone).astimezone(UTC)
    return None


def parse_creation_time(value: str | None) -> datetime | None:
    """The `creation_time` of a container, in UTC; None when absent or never set."""
    if not value:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not plausible(time):
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
