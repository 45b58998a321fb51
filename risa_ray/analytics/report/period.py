"""Which store and days a report is about, and the views' rows of them, each view asked once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from risa_ray.errors import InputError

DEFAULT_DAYS = 30

DATED: dict[str, str | None] = {
    "camera_hour": "hour_local",
    "mood": "hour_local",
    "mood_by_minute": "minute_local",
    "zone_hour": "hour_local",
    "footfall": "hour_local",
    "operations": "hour_local",
    "product_engagement": "day",
    "service_interactions": "day",
    "journey": None,
    "journey_ladder": None,
    "content_response": None,
    "next_products": None,
    "track_splits": "day",
    "tracks": "timezone(getvariable('zone'), first_seen)",
    "stays": "timezone(getvariable('zone'), entered_at)",
}
"""View -> what dates its rows by the store's calendar; None: it speaks of the period of `since` and `until`."""


@dataclass(frozen=True, slots=True)
class Period:
    """Days of one store, by its own calendar, `first` and `last` included."""

    store_id: str
    first: date
    last: date

    @property
    def until(self) -> date:
        return self.last + timedelta(days=1)

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.until - self.first).days)]


def choose_period(
    connection: duckdb.DuckDBPyConnection, store: str | None = None, first: str | None = None, last: str | None = None
) -> Period:
    """The period that a user asked for.

    Args:
        connection: of `open_dataset`.
        store: its id; None: the only one.
        first, last: local days of the store, as 2026-11-01, cut to those from its first to its last one with data;
            None: its last 30 of these.

    Raises:
        InputError: one line: no such store, several to choose from, not a date, `first` after `last`, or no data.
    """
    since, upto = _date(first, "--from"), _date(last, "--to")
    if since and upto and since > upto:
        raise InputError(f"--from {since} is after --to {upto}; swap them")
    store_id = _store(connection, store)
    seen = _seen(connection, store_id)
    end = upto or max(seen[-1], since or seen[-1])
    start = since or max(end - timedelta(days=DEFAULT_DAYS - 1), min(seen[0], end))
    if not any(start <= day <= end for day in seen):
        raise InputError(f"store {store_id}: no data from {start} to {end}; there is some from {seen[0]} to {seen[-1]}")
    # Days before and after all data say nothing.
    return Period(store_id, max(start, seen[0]), min(end, seen[-1]))


def gather(connection: duckdb.DuckDBPyConnection, period: Period, views: dict[str, str]) -> None:
    """Copy the rows of the period from each view into a table of that name in the schema `report`.

    Args:
        connection: of `open_dataset`.
        period: the store and days.
        views: those to copy -> the columns of them, as SQL.
    """
    connection.execute("CREATE SCHEMA IF NOT EXISTS report")
    connection.execute(f"SET VARIABLE since = DATE '{period.first}'")
    connection.execute(f"SET VARIABLE until = DATE '{period.until}'")
    zone = "(SELECT coalesce(arg_max(timezone, valid_from), 'UTC') FROM store_versions WHERE store_id = $store)"
    connection.execute(f"SET VARIABLE zone = {zone}", {"store": period.store_id})
    for view, columns in views.items():
        when = DATED[view]
        dated = "" if when is None else f" AND {when} >= DATE '{period.first}' AND {when} < DATE '{period.until}'"
        connection.execute(
            f"CREATE OR REPLACE TABLE report.{view} AS SELECT {columns} FROM {view} WHERE store_id = $store{dated}",  # noqa: S608
            {"store": period.store_id},
        )


def _store(connection: duckdb.DuckDBPyConnection, store: str | None) -> str:
    known = [
        row[0]
        for row in connection.execute(
            "SELECT store_id FROM stores UNION SELECT store_id FROM frames ORDER BY store_id"
        ).fetchall()
    ]
    if not known:
        raise InputError("there is no data of any store yet; record some with `risa stream` or `risa batch`")
    if store is None and len(known) > 1:
        raise InputError(f"there are {len(known)} stores; choose one with --store: {', '.join(known)}")
    if store is not None and store not in known:
        raise InputError(f"--store {store}: there is no such store; there is {', '.join(known)}")
    return store or str(known[0])


def _seen(connection: duckdb.DuckDBPyConnection, store_id: str) -> list[date]:
    """The local days with frames, in order."""
    days = connection.execute(
        "SELECT DISTINCT local_date(f.window_start, s.timezone) AS day FROM frames f ASOF LEFT JOIN store_versions s"
        " ON f.store_id = s.store_id AND f.window_start >= s.valid_from WHERE f.store_id = $store ORDER BY day",
        {"store": store_id},
    ).fetchall()
    if not days:
        raise InputError(f"store {store_id}: there is no data yet; record some with `risa stream` or `risa batch`")
    return [day for (day,) in days]


def _date(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a date; write it as 2026-03-01") from None
