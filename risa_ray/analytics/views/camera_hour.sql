-- camera_hour: one row per camera and local hour of which `frames` tells anything.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock)
--   coverage  0..1, part of the hour with analysed frames; uptime: 0..1, part in which it delivered frames at all
--   frames_read, frames_analysed, frames_dropped
-- docs/metrics.md: coverage, uptime, frames accounting, time.
CREATE VIEW camera_hour AS
WITH windows AS (
    SELECT f.store_id, f.camera_id, f.window_start, f.read, f.analysed, coalesce(s.timezone, 'UTC') AS zone,
        hour_start(f.window_start, zone) AS hour
    FROM frames f ASOF LEFT JOIN store_versions s ON f.store_id = s.store_id AND f.window_start >= s.valid_from
)
SELECT store_id, camera_id, hour, timezone(any_value(zone), hour) AS hour_local,
    count(DISTINCT window_start) FILTER (analysed > 0) / 360 AS coverage,
    count(DISTINCT window_start) FILTER (read > 0) / 360 AS uptime,
    sum(read)::BIGINT AS frames_read,
    sum(analysed)::BIGINT AS frames_analysed,
    sum(read - analysed)::BIGINT AS frames_dropped
FROM windows GROUP BY store_id, camera_id, hour;
