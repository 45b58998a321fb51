"""What the tables say, as the API says it: the last hour, stores, alerts. Each over a connection of the dataset."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import duckdb

from risa_ray.serving import models

MINUTES = 60
WAITED_IN = ("queue", "service", "checkout")
"""The kinds of zones that tell a wait."""


class Place(NamedTuple):
    """A camera (`zone_id` empty), or a zone of it."""

    store_id: str
    camera_id: str
    zone_id: str


class Minutes(NamedTuple):
    """Some minutes of a place, one entry each. `hidden`: why one has no net sentiment; None: it has, or has no row."""

    tracks: list[int | None]
    net_sentiment: list[float | None]
    hidden: list[str | None]

    @classmethod
    def nothing(cls, number: int) -> Minutes:
        """So many minutes of which nothing is known."""
        return cls([None] * number, [None] * number, [None] * number)


def first_minute(now: datetime) -> datetime:
    """When the first of the last 60 whole minutes began."""
    return now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES)


def minutes(connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime) -> dict[Place, Minutes]:
    """The minutes of every camera and zone of which the tables know any.

    Args:
        connection: of `open_recent`, which reads that time.
        since, until: aware whole minutes; those from `since` until before `until`.
    """
    number = (until - since) // timedelta(minutes=1)
    found: dict[Place, Minutes] = {}
    for row in _rows(connection, _MINUTES, since=since, until=until):
        place = Place(row["store_id"], row["camera_id"], row["zone_id"] or "")
        cells = found.setdefault(place, Minutes.nothing(number))
        at, net = row["number"], row["net_sentiment"]
        cells.tracks[at], cells.net_sentiment[at] = row["tracks"], net
        cells.hidden[at] = row["status"] if net is None else None
    return found


_MINUTES = """
SELECT store_id, camera_id, zone_id, date_diff('minute', $since, minute) AS number, tracks,
    round(net_sentiment, 3) AS net_sentiment, status
FROM place_minutes WHERE minute >= $since AND minute < $until
"""


def stores_with_queues(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[str]:
    """The stores that have a queue zone now."""
    return [row["store_id"] for row in _rows(connection, f"{_QUEUES} {_WITH_QUEUES}", now=now)]


def queues(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[models.QueueHour]:
    """The waits of each camera with queues: of the local hour under way, or of the one before where it tells none yet.

    Args:
        connection: of `open_recent`, with what lay in zones of `WAITED_IN` since two hours or more before `now`.
        now: aware.
    """
    return [
        models.QueueHour(
            store_id=row["store_id"],
            camera_id=row["camera_id"],
            zone_id=row["zone_id"],
            hour_local=row["hour"].astimezone(ZoneInfo(row["timezone"])),
            wait_p50_s=row["wait_s_median"],
            wait_p95_s=row["wait_s_p95"],
            service_level=row["service_level"],
            target_wait_s=row["target_wait_s"],
            status=row["status"],
        )
        for row in _rows(connection, f"{_QUEUES} {_WAITS}", now=now)
    ]


_QUEUES = """
WITH queues AS (
    SELECT z.store_id, z.camera_id, if(count(*) = 1, any_value(zone_id), NULL) AS zone_id,
        coalesce(any_value(s.timezone), 'UTC') AS timezone
    FROM zone_versions z LEFT JOIN store_versions s
        ON z.store_id = s.store_id AND s.valid_from <= $now AND $now < s.valid_to
    WHERE kind = 'queue' AND active AND z.valid_from <= $now AND $now < z.valid_to
    GROUP BY z.store_id, z.camera_id
)
"""

_WITH_QUEUES = "SELECT DISTINCT store_id FROM queues ORDER BY store_id"

_WAITS = """
SELECT store_id, camera_id, zone_id, timezone, hour, wait_s_median, wait_s_p95, service_level, target_wait_s, status
FROM queues JOIN operations USING (store_id, camera_id)
WHERE hour > hour_start($now, timezone) - INTERVAL 2 HOUR AND hour <= $now
-- A young hour tells nothing yet: less than half of it is covered, or too few people have waited.
QUALIFY row_number() OVER (
    PARTITION BY store_id, camera_id ORDER BY status IN ('ok', 'no_queue') DESC, hour DESC
) = 1
ORDER BY store_id, camera_id
"""


def stores(connection: duckdb.DuckDBPyConnection) -> list[models.Store]:
    """Every store with its cameras and the zones that it has now, as the context tables describe them."""
    zones: dict[tuple[str, str], list[models.Zone]] = {}
    for row in _rows(connection, _ZONES):
        zones.setdefault((row["store_id"], row["camera_id"]), []).append(_zone(row))
    cameras: dict[str, list[models.Camera]] = {}
    for row in _rows(connection, _CAMERAS):
        store_id, camera_id = row["store_id"], row["camera_id"]
        camera = models.Camera(**(row | {"name": row["name"] or ""}), zones=zones.get((store_id, camera_id), []))
        cameras.setdefault(store_id, []).append(camera)
    found = _rows(connection, _STORES)
    return [
        models.Store(
            store_id=row["store_id"],
            name=row["name"] or "",
            timezone=row["timezone"] or "UTC",
            cameras=cameras.get(row["store_id"], []),
        )
        for row in found
    ]


_STORES = "SELECT store_id, name, timezone FROM store_versions WHERE valid_to = 'infinity' ORDER BY ALL"
_CAMERAS = "SELECT store_id, camera_id, name FROM camera_versions WHERE valid_to = 'infinity' ORDER BY ALL"
_ZONES = """
SELECT * EXCLUDE (valid_from, valid_to) FROM zone_versions WHERE active AND valid_to = 'infinity'
ORDER BY store_id, camera_id, zone_id
"""


def _zone(row: dict[str, Any]) -> models.Zone:
    return models.Zone(
        zone_id=row["zone_id"],
        name=row["name"] or "",
        kind=row["kind"] or "",
        tags=row["tags"] or [],
        polygon=[(point["x"], point["y"]) for point in row["polygon"] or []],
        target_wait_s=row["target_wait_s"] or 180,
    )


def alerts(connection: duckdb.DuckDBPyConnection, since: datetime, limit: int) -> list[models.AlertNow]:
    """Alerts that fired from `since` on, the newest first, with what became of them."""
    rows = _rows(
        connection,
        "SELECT * EXCLUDE date FROM alert_log WHERE fired_at >= $since ORDER BY fired_at DESC, alert_id LIMIT $limit",
        since=since,
        limit=limit,
    )
    return [models.AlertNow(**(row | {"acknowledged_by": row["acknowledged_by"] or ""})) for row in rows]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(sql, params=values or None).to_arrow_table().to_pylist()
    return rows
