"""What the tables say, as the API says it: the last hour, stores, alerts. Each over a connection of the dataset."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import duckdb

from risa_ray.serving import models

MINUTES = 60
SEVERAL_QUEUES = "several_queues"
"""Status of a queue whose camera has more of them: view `operations` has their waits together."""


def hour(connection: duckdb.DuckDBPyConnection, now: datetime) -> models.HourNow:
    """The last 60 whole minutes of each camera, and the waits of the local hour that is under way.

    Args:
        connection: of `open_dataset`, or of `open_recent` from `now` - 61 minutes on.
        now: aware.
    """
    minute = now.replace(second=0, microsecond=0)
    minutes = _rows(
        connection,
        "SELECT store_id, camera_id, NULL AS zone_id, minute, tracks, net_sentiment, status FROM mood_by_minute "
        "WHERE minute >= $since AND minute < $until ORDER BY store_id, camera_id, minute",
        since=minute - timedelta(minutes=MINUTES),
        until=minute,
    )
    return models.HourNow(
        at=now,
        minutes=[models.MinuteMood(**row) for row in minutes],
        queues=[models.QueueHour(**_told(row)) for row in _rows(connection, _QUEUES, now=now)],
    )


_QUEUES = """
WITH queues AS (
    SELECT z.store_id, z.camera_id, zone_id, hour_start($now, coalesce(s.timezone, 'UTC')) AS hour,
        count(*) OVER (PARTITION BY z.store_id, z.camera_id) > 1 AS several
    FROM zone_versions z LEFT JOIN store_versions s
        ON z.store_id = s.store_id AND s.valid_from <= $now AND $now < s.valid_to
    WHERE kind = 'queue' AND active AND z.valid_from <= $now AND $now < z.valid_to
)
SELECT store_id, camera_id, zone_id, wait_s_median, wait_s_p95, service_level, status, several
FROM queues JOIN operations USING (store_id, camera_id, hour)
WHERE hour > $now - INTERVAL 1 HOUR
ORDER BY ALL
"""


def _told(row: dict[str, Any]) -> dict[str, Any]:
    names = {"wait_p50_s": "wait_s_median", "wait_p95_s": "wait_s_p95", "service_level": "service_level"}
    several = row["several"]
    figures = {name: None if several else row[column] for name, column in names.items()}
    place = {name: row[name] for name in ("store_id", "camera_id", "zone_id")}
    return place | figures | {"status": SEVERAL_QUEUES if several else row["status"]}


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
