-- footfall: one row per camera and local hour in which it was watched or anybody came in.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock)
--   footfall                   tracks that came in; NULL for a camera without an entrance zone
--   footfall_per_covered_hour  footfall / coverage: what a full hour would have brought at this rate
--   coverage                   0..1
--   status  ok, no_entrance, suppressed (1 to k - 1 people), low_coverage (below 0.5): figures NULL but for ok
-- Never to be added up over cameras. docs/metrics.md: footfall, coverage, k-floor, time.
CREATE VIEW footfall AS
WITH came AS (
    SELECT e.store_id, e.camera_id, hour_start(e.entered_at, coalesce(s.timezone, 'UTC')) AS hour, count(*) AS tracks
    FROM people.entries e ASOF LEFT JOIN store_versions s ON e.store_id = s.store_id AND e.entered_at >= s.valid_from
    GROUP BY e.store_id, e.camera_id, hour
), doors AS (
    SELECT DISTINCT h.store_id, h.camera_id, h.hour
    FROM camera_hour h JOIN zone_versions z ON h.store_id = z.store_id AND h.camera_id = z.camera_id
        AND h.hour < z.valid_to AND h.hour + INTERVAL 1 HOUR > z.valid_from
    WHERE z.kind = 'entrance' AND z.active
), told AS (
    SELECT store_id, camera_id, hour, coverage, NULL AS tracks, false AS door FROM camera_hour
    UNION ALL SELECT store_id, camera_id, hour, NULL, tracks, true FROM came
    UNION ALL SELECT store_id, camera_id, hour, NULL, NULL, true FROM doors
), cells AS (
    SELECT *, if(has_door, replace(cell_status(n, n, coverage), 'no_mood', 'ok'), 'no_entrance') AS status
    FROM (
        SELECT store_id, camera_id, hour, coalesce(max(tracks), 0) AS n, coalesce(max(told.coverage), 0) AS coverage,
            bool_or(door) AS has_door
        FROM told GROUP BY store_id, camera_id, hour
    )
)
SELECT cells.store_id, camera_id, hour, timezone(coalesce(s.timezone, 'UTC'), hour) AS hour_local,
    if(status = 'ok', n, NULL) AS footfall,
    if(status = 'ok', n / coverage, NULL) AS footfall_per_covered_hour,
    coverage, status
FROM cells ASOF LEFT JOIN store_versions s ON cells.store_id = s.store_id AND cells.hour >= s.valid_from;
