"""The last hour of every place, kept from one telling to the next: only what may have changed is asked of the tables.

Of 200 cameras an hour is millions of rows. It is asked in blocks of minutes, and waits for some stores at a time, so
that a question stays small however many cameras there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeVar

import duckdb

from risa_ray.serving import models, stored

_T = TypeVar("_T")

BLOCK = timedelta(minutes=10)
SETTLED = timedelta(minutes=3)
"""So long after a block ended it is read at every telling: rows of a live camera are there by then."""
RENEWED = timedelta(minutes=5)
"""So long it is kept: what came later, as from a store that hung, shows by then."""
QUEUES_EVERY = timedelta(minutes=2)
QUEUES_KEPT = timedelta(minutes=6)
STORES_AT_A_TIME = 16
BACK = timedelta(hours=2, minutes=10)
"""How far back waits are looked for: the local hour before this one, and stays that began before that."""


class Recent(NamedTuple):
    """The arguments of `open_recent`: the part of the last hours that a question is about."""

    since: datetime
    until: datetime | None = None
    kinds: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()


class Ask(Protocol):
    """Asks the tables something about a part of the last hours."""

    async def __call__(self, work: Callable[[duckdb.DuckDBPyConnection], _T], recent: Recent) -> _T: ...


class _Block(NamedTuple):
    places: dict[stored.Place, stored.Minutes]
    read_at: datetime

    def is_due(self, start: datetime, now: datetime) -> bool:
        # A clock that was set back must not keep it for good.
        return self.read_at < start + BLOCK + SETTLED or not timedelta() <= now - self.read_at <= RENEWED


class LastHour:
    """What the tables say of the last hour.

    Args:
        ask: of the tables.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._blocks: dict[datetime, _Block] = {}
        self._queues: list[models.QueueHour] = []
        self._queued_at: datetime | None = None

    async def see_minutes(self, now: datetime) -> None:
        """Read the minutes that may have changed, the newest first; raises what `ask` does."""
        starts = list(_starts(now))
        self._blocks = {start: block for start, block in self._blocks.items() if start in starts}
        for start in reversed(starts):
            known = self._blocks.get(start)
            if known is None or known.is_due(start, now):
                places = await self._ask(_minutes(start), Recent(start, start + BLOCK))
                self._blocks[start] = _Block(places, now)

    async def see_queues(self, now: datetime) -> None:
        """Read the waits, if it is time; raises what `ask` does."""
        if self._queued_at is not None and timedelta() <= now - self._queued_at < QUEUES_EVERY:
            return
        stores = await self._ask(lambda tables: stored.stores_with_queues(tables, now), Recent(now))
        found: list[models.QueueHour] = []
        for first in range(0, len(stores), STORES_AT_A_TIME):
            some = tuple(stores[first : first + STORES_AT_A_TIME])
            recent = Recent(now - BACK, None, stored.WAITED_IN, some)
            found += await self._ask(lambda tables: stored.queues(tables, now), recent)
        self._queues, self._queued_at = found, now

    def told(self, now: datetime) -> models.HourNow:
        """The last 60 whole minutes of what was read."""
        since = stored.first_minute(now)
        starts = list(_starts(now))
        places = sorted({place for start in starts if start in self._blocks for place in self._blocks[start].places})
        skipped = (since - starts[0]) // timedelta(minutes=1)
        moods = []
        for place in places:
            parts = [self._blocks[s].places.get(place) if s in self._blocks else None for s in starts]
            moods.append(_mood(place, [part or _NOTHING for part in parts], skipped))
        # Old waits are not shown for new ones, should the tables not answer.
        known = self._queued_at is not None and now - self._queued_at < QUEUES_KEPT
        return models.HourNow(at=now, since=since, moods=moods, queues=self._queues if known else [])


_NOTHING = stored.Minutes.nothing(BLOCK // timedelta(minutes=1))


def _minutes(start: datetime) -> Callable[[duckdb.DuckDBPyConnection], dict[stored.Place, stored.Minutes]]:
    return lambda tables: stored.minutes(tables, start, start + BLOCK)


def _starts(now: datetime) -> Iterator[datetime]:
    """Of the blocks that hold the hour."""
    first = stored.first_minute(now)
    start = first.replace(minute=first.minute // 10 * 10)
    while start < first + timedelta(minutes=stored.MINUTES):
        yield start
        start += BLOCK


def _mood(place: stored.Place, parts: Sequence[stored.Minutes], skipped: int) -> models.HourMood:
    end = skipped + stored.MINUTES
    hidden: dict[str, list[int]] = {}
    for number, status in enumerate([status for part in parts for status in part.hidden][skipped:end]):
        if status is not None:
            hidden.setdefault(status, []).append(number)
    return models.HourMood(
        store_id=place.store_id,
        camera_id=place.camera_id,
        zone_id=place.zone_id or None,
        tracks=[n for part in parts for n in part.tracks][skipped:end],
        net_sentiment=[net for part in parts for net in part.net_sentiment][skipped:end],
        hidden=hidden,
    )
