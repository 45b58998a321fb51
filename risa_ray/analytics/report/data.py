"""The figures of a report: the views' rows of the period, pooled where the page shows more than one cell at once.

Pooling adds up counts of cells that are shown, and takes the interval of the sum; intervals are never averaged. A cell
that the k-floor hides stays hidden: no total includes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any

import duckdb

from risa_ray.analytics.report.period import Period, gather

PAGE_COLUMNS = {
    "camera_hour": "camera_id, hour, hour_local, coverage, uptime, frames_read, frames_dropped",
    "mood": "camera_id, zone_id, zone_kind, hour_local, weekday, tracks, with_mood, positive, negative, status",
    "zone_hour": "camera_id, zone_id, zone_kind, hour_local, tracks, stays, dwell_s_total, status",
    "footfall": "camera_id, hour_local, footfall, footfall_per_covered_hour, status",
    "operations": "* EXCLUDE (store_id, hour, footfall)",
    "product_engagement": "* EXCLUDE (store_id, with_mood, net_sentiment, ci_low, ci_high)",
    "service_interactions": "* EXCLUDE (store_id)",
    "journey": "* EXCLUDE (store_id)",
    "journey_ladder": "* EXCLUDE (store_id)",
    "content_response": "* EXCLUDE (store_id)",
    "next_products": "* EXCLUDE (store_id)",
    "track_splits": "camera_id, day, tracks, suspected, status",
}
"""View -> what the page needs of it."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; None where there is none. `n`: people it rests on."""

    value: float | None
    low: float | None
    high: float | None
    n: float = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A zone as it was described last in the period; `polygon` in relative coordinates."""

    camera_id: str
    zone_id: str
    name: str
    kind: str
    polygon: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as it was described last in the period; `width` and `height` of its picture, px."""

    camera_id: str
    name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that the page shows. Rows are mappings by the column names of the query of that name in `queries.sql`.

    Attributes:
        k: the floor that holds; 1: none.
        simulated: some camera's people are invented.
        mood: over the whole period and every zone; `mood_days`, `mood_hours`: by day, by (weekday, hour).
        hidden: view -> status -> cells that are not `ok`, and `ok`.
    """

    period: Period
    store_name: str
    timezone: str
    k: int
    simulated: bool
    cameras: Sequence[Camera]
    places: Sequence[Place]
    mood: Estimate
    mood_days: Mapping[date, Estimate]
    mood_hours: Mapping[tuple[int, int], Estimate]
    zones: Sequence[Row]
    footfall_cameras: Sequence[Row]
    footfall_days: Sequence[Row]
    footfall_hours: Sequence[Row]
    queues: Sequence[Row]
    queue_hours: Sequence[Row]
    waits: Sequence[Row]
    products: Sequence[Row]
    service: Sequence[Row]
    content: Sequence[Row]
    next_products: Sequence[Row]
    journey: Sequence[Row]
    ladder: Sequence[Row]
    coverage: Sequence[Row]
    health: Sequence[Row]
    statuses: Mapping[str, Mapping[str, int]]

    def camera_name(self, camera_id: str) -> str:
        """What to call a camera."""
        return next((c.name for c in self.cameras if c.camera_id == camera_id and c.name), camera_id)

    def zone_name(self, camera_id: str, zone_id: str) -> str:
        """What to call a zone."""
        names = (p.name for p in self.places if (p.camera_id, p.zone_id) == (camera_id, zone_id) and p.name)
        return next(names, zone_id)


def read_report(connection: duckdb.DuckDBPyConnection, period: Period) -> ReportData:
    """Ask every view once, and pool.

    Args:
        connection: of `open_scope`, or `open_dataset`.
        period: as `choose_period` found it.
    """
    gather(connection, period, PAGE_COLUMNS)
    ask = _Queries(connection, period)
    store = ask("store")[0]
    moods = [(row, estimate(row, "net_sentiment", "ci", "people")) for row in ask("mood")]
    statuses: dict[str, dict[str, int]] = {}
    for row in ask("statuses"):
        statuses.setdefault(row["view"], {})[row["status"]] = row["cells"]
    return ReportData(
        period=period,
        store_name=store["name"] or period.store_id,
        timezone=store["timezone"] or "UTC",
        k=store["k"],
        simulated=store["simulated"],
        cameras=[Camera(**row) for row in ask("cameras")],
        places=[
            Place(**{**row, "polygon": [(corner["x"], corner["y"]) for corner in row["polygon"]]})
            for row in ask("places")
        ],
        mood=next((e for r, e in moods if r["day"] is None and r["weekday"] is None), Estimate(None, None, None)),
        mood_days={r["day"]: e for r, e in moods if r["day"] is not None},
        mood_hours={(r["weekday"], r["hour"]): e for r, e in moods if r["weekday"] is not None},
        zones=ask("zones"),
        footfall_cameras=ask("footfall_cameras"),
        footfall_days=ask("footfall_days"),
        footfall_hours=ask("footfall_hours"),
        queues=ask("queues"),
        queue_hours=ask("queue_hours"),
        waits=ask("waits"),
        products=ask("products"),
        service=ask("service"),
        content=ask("content"),
        next_products=ask("next_products"),
        journey=ask("journey"),
        ladder=ask("ladder"),
        coverage=ask("coverage"),
        health=ask("health"),
        statuses=statuses,
    )


def estimate(row: Row, name: str, interval: str | None = None, n: str = "n") -> Estimate:
    """A figure of a row, with its interval.

    Args:
        row: of a query.
        name: the column of the figure.
        interval: the columns of its ends are this and `_low`, `_high`; None: as `name`.
        n: the column of the people it rests on, if there is one.
    """
    ends = interval or name
    return Estimate(row[name], row[f"{ends}_low"], row[f"{ends}_high"], row.get(n) or 0)


class _Queries:
    """The named queries of `queries.sql`, each after a line `-- name: what it gives`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, period: Period) -> None:
        self._connection = connection
        self._store = period.store_id
        text = files("risa_ray.analytics.report").joinpath("queries.sql").read_text(encoding="utf-8")
        macros, *queries = text.split("\n-- query ")
        connection.execute(macros)
        self._queries = {query.split(":", 1)[0]: query.split("\n", 1)[1] for query in queries}

    def __call__(self, name: str) -> list[dict[str, Any]]:
        sql = self._queries[name]
        values = {"store": self._store} if "$store" in sql else {}
        found = self._connection.execute(sql, values)
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
