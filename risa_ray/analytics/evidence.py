"""Where and when advice is meant for, and whose figures tell: those of the hour, where enough people came in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import duckdb

from risa_ray.analytics.named import Question, ask, check_place, day, hours, some
from risa_ray.errors import InputError

Evidence = Literal["hour_of_week", "hour_of_day", "all_hours"]

ENOUGH = 100
"""People that an hour needs to be told on its own: on either side of each scheduled content's comparison; at the shelf.

With so many, a difference of 0.2 between two shares about one half is found four times of five.
"""

_T = TypeVar("_T")
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True, slots=True)
class Place:
    """A zone that is meant. `local`: the moment that is meant, in the store's time zone."""

    store_id: str
    camera_id: str
    zone_id: str
    local: datetime

    @property
    def hour_local(self) -> datetime:
        """When the local hour of the moment began."""
        return self.local.replace(minute=0, second=0, microsecond=0)


def by_hour(
    connection: duckdb.DuckDBPyConnection, place: Place, tell: Callable[[], _T], lacks: Callable[[_T], str]
) -> tuple[Evidence, _T, str]:
    """What is told of the hour of the week, else of the hour of the day on all days, else of all hours.

    Args:
        connection: of `open_dataset`.
        place: its local hour is meant.
        tell: asks the views, which speak of the people of the hours in question.
        lacks: why that is not enough ("too few came"), or nothing. It must not look at differences or intervals: that
            would be choosing the evidence by its result. Of fewer people there cannot be enough where there are not of
            more.

    Returns:
        Whose figures tell, what they tell, and the first as the end of a sentence.
    """
    hour = f"{place.hour_local:%H:%M} to {place.hour_local.replace(tzinfo=None) + timedelta(hours=1):%H:%M}"
    day_of_week = _WEEKDAYS[place.local.weekday()]
    with hours(connection, place.local.hour, None):
        every_day = tell()
    if lack := lacks(every_day):
        return "all_hours", tell(), f"told by who came at any hour, as {lack} from {hour}"
    with hours(connection, place.local.hour, place.local.isoweekday()):
        weekday = tell()
    if lack := lacks(weekday):
        return "hour_of_day", every_day, f"told by who came from {hour} on any day, as {lack} on {day_of_week}"
    return "hour_of_week", weekday, f"told by who came on {day_of_week} from {hour}"


def rows_of(connection: duckdb.DuckDBPyConnection, view: str, place: Place, since: str | None) -> list[dict[str, Any]]:
    """What a view says of a zone, from `since` up to the day of the moment.

    Raises:
        InputError: `since` is no day, or lies after that.
        duckdb.Error: as `named.ask`.
    """
    last = place.local.date()
    if since is not None and day("from", since) > last:
        raise InputError(f"from: {since} lies after the day of at, {last}; give an earlier day")
    question = Question(view, place.store_id, place.camera_id, place.zone_id, since, last.isoformat())
    return ask(connection, question).rows.to_pylist()


def place_of(
    connection: duckdb.DuckDBPyConnection, store: str, camera: str | None, zone: str, kind: str, at: datetime
) -> Place:
    """The zone that is meant, which must be of a kind.

    Raises:
        InputError: there is none, it is of another kind, or of several cameras.
    """
    check_place(connection, store, camera, zone)
    named = zones_of(connection, store, camera, zone, at)
    fitting = sorted(found_camera for _, found_camera, found_kind in named if found_kind == kind)
    if not fitting:
        others = sorted(
            {name for name, _, found_kind in zones_of(connection, store, camera, None, at) if found_kind == kind}
        )
        raise InputError(f"zone: {zone!r} is no {kind} zone at that time; there is {some(others)}")
    if len(fitting) > 1:
        raise InputError(f"zone: {zone!r} is a zone of cameras {some(fitting)}; say which one with camera")
    (name,) = connection.execute(
        "SELECT coalesce(timezone, 'UTC') FROM store_versions WHERE store_id = ? AND valid_from <= ? AND ? < valid_to",
        [store, at, at],
    ).fetchall()[0]
    return Place(store, fitting[0], zone, at.astimezone(ZoneInfo(name)))


def zones_of(
    connection: duckdb.DuckDBPyConnection, store: str, camera: str | None, zone: str | None, at: datetime
) -> list[tuple[str, str, str]]:
    """Zone, camera and kind of those that are there at a moment."""
    return connection.sql(
        "SELECT zone_id, camera_id, kind FROM zone_versions WHERE store_id = $store AND active "
        "AND camera_id = coalesce($camera, camera_id) AND zone_id = coalesce($zone, zone_id) "
        "AND valid_from <= $at AND $at < valid_to",
        params={"store": store, "camera": camera, "zone": zone, "at": at},
    ).fetchall()
