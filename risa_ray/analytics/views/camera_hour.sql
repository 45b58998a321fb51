-- camera_hour: one row per camera and local hour of which `frames` tells anything.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock)
--   coverage  0..1, part of the hour with analysed frames; uptime: 0..1, part in which it delivered frames at all
--   frames_read, frames_analysed, frames_dropped
-- docs/metrics.md: coverage, uptime, frames accounting, time.
CREATE VIEW camera_hour AS
WITH windows AS (
    -- A bit for each window of a quarter: however many sessions have rows of it, it counts once.
    SELECT store_id, camera_id, read, analysed, epoch_us(window_start) // 900_000_000 AS quarter,
        1::HUGEINT << (epoch_us(window_start) // 10_000_000 % 90)::INTEGER AS bit
    FROM frames
), quarters AS (
    -- In every time zone hours begin with a quarter.
    SELECT store_id, camera_id, make_timestamptz(quarter * 900_000_000) AS began,
        bit_count(bit_or(bit) FILTER (analysed > 0)) AS covered, bit_count(bit_or(bit) FILTER (read > 0)) AS delivered,
        sum(read) AS read, sum(analysed) AS analysed
    FROM windows GROUP BY store_id, camera_id, quarter
), timed AS (
    SELECT q.*, coalesce(s.timezone, 'UTC') AS zone, hour_start(q.began, zone) AS hour
    FROM quarters q ASOF LEFT JOIN store_versions s ON q.store_id = s.store_id AND q.began >= s.valid_from
)
SELECT store_id, camera_id, hour, timezone(any_value(zone), hour) AS hour_local,
    coalesce(sum(covered), 0) / 360 AS coverage,
    coalesce(sum(delivered), 0) / 360 AS uptime,
    sum(read)::BIGINT AS frames_read,
    sum(analysed)::BIGINT AS frames_analysed,
    sum(read - analysed)::BIGINT AS frames_dropped
FROM timed GROUP BY store_id, camera_id, hour;
