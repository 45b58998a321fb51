-- operations: one row per camera and local hour in which it was watched.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock)
--   coverage, uptime  0..1, as in camera_hour
--   footfall          as in view footfall
--   queue_length_mean people in the camera's queue zones at a time, over covered time; queue_length_peak: the fullest
--                     minute's, of minutes at least half covered
--   waits             stays in a queue that began in the hour; completed: those that ended at a service or checkout zone
--   wait_s_median, wait_s_p95  seconds, by Kaplan-Meier, each with its 95 % interval (_low, _high); NULL where too many
--                     left unserved for the quantile to be reached
--   target_wait_s     seconds, the largest of the queues'; service_level: 0..1, share of waits that end within it, by
--                     Kaplan-Meier, with its 95 % interval (_low, _high)
--   status            ok, no_queue (nobody waited, or no queue zone), suppressed (waits of fewer than k people),
--                     low_coverage: figures of queues and waits are NULL but for ok
-- docs/metrics.md: queue length, wait, service level, coverage, uptime, k-floor.
CREATE VIEW operations AS
WITH queued AS (
    SELECT w.*, hour_start(w.entered_at, coalesce(s.timezone, 'UTC')) AS hour
    FROM people.waits w ASOF LEFT JOIN store_versions s ON w.store_id = s.store_id AND w.entered_at >= s.valid_from
), steps AS (
    SELECT store_id, camera_id, hour, wait_s, count_if(completed) AS served, count(*) AS ended
    FROM queued GROUP BY store_id, camera_id, hour, wait_s
), risk AS (
    SELECT *, (sum(ended) OVER (PARTITION BY store_id, camera_id, hour ORDER BY wait_s DESC))::DOUBLE AS at_risk
    FROM steps
), curve AS (
    SELECT *, product(1 - served / at_risk) OVER upto AS waiting,
        sum(served / nullif(at_risk * (at_risk - served), 0)) OVER upto AS greenwood
    FROM risk
    WINDOW upto AS (PARTITION BY store_id, camera_id, hour ORDER BY wait_s)
), banded AS (
    -- The effective sample size of Cutler and Ederer (1958): that of a share with Greenwood's variance. Where the curve
    -- has come to 0 it has none, and keeps the last: the one who still waits does not tell how many there were.
    SELECT *, coalesce(last_value(if(waiting > 0 AND waiting < 1, (1 - waiting) / (waiting * greenwood), NULL)
        IGNORE NULLS) OVER upto, at_risk) AS size
    FROM curve
    WINDOW upto AS (PARTITION BY store_id, camera_id, hour ORDER BY wait_s)
), totals AS (
    SELECT store_id, camera_id, hour, count(*) AS waits, count_if(completed) AS completed,
        count(DISTINCT (session_id, track_id)) AS people, max(target_wait_s) AS target_wait_s
    FROM queued GROUP BY store_id, camera_id, hour
), waited AS (
    SELECT t.store_id, t.camera_id, t.hour, t.waits, t.completed, t.people, t.target_wait_s,
        min(b.wait_s) FILTER (b.waiting <= 0.5) AS p50,
        min(b.wait_s) FILTER (wilson_low(b.size * b.waiting, b.size) <= 0.5) AS p50_low,
        min(b.wait_s) FILTER (wilson_high(b.size * b.waiting, b.size) <= 0.5) AS p50_high,
        min(b.wait_s) FILTER (b.waiting <= 0.05) AS p95,
        min(b.wait_s) FILTER (wilson_low(b.size * b.waiting, b.size) <= 0.05) AS p95_low,
        min(b.wait_s) FILTER (wilson_high(b.size * b.waiting, b.size) <= 0.05) AS p95_high,
        coalesce(arg_max(b.waiting, b.wait_s) FILTER (b.wait_s <= t.target_wait_s), 1) AS still,
        coalesce(arg_max(b.size, b.wait_s) FILTER (b.wait_s <= t.target_wait_s), t.waits) AS still_size
    FROM totals t JOIN banded b USING (store_id, camera_id, hour)
    GROUP BY t.store_id, t.camera_id, t.hour, t.waits, t.completed, t.people, t.target_wait_s
), spread AS (
    SELECT store_id, camera_id, entered_at, left_at,
        unnest(generate_series(time_bucket(INTERVAL 1 MINUTE, entered_at), left_at, INTERVAL 1 MINUTE)) AS minute
    FROM people.stays WHERE zone_kind = 'queue'
), filled AS (
    SELECT store_id, camera_id, minute,
        sum(epoch(least(left_at, minute + INTERVAL 1 MINUTE) - greatest(entered_at, minute))) AS person_s
    FROM spread GROUP BY store_id, camera_id, minute
), covered AS (
    -- A bit for each window of the minute: however many sessions have rows of it, it counts once.
    SELECT store_id, camera_id, make_timestamptz(epoch_us(window_start) // 60_000_000 * 60_000_000) AS minute,
        10 * bit_count(bit_or(1 << (epoch_us(window_start) // 10_000_000 % 6)::INTEGER)) AS covered_s
    FROM frames SEMI JOIN (FROM zones WHERE kind = 'queue') USING (store_id, camera_id)
    WHERE analysed > 0 GROUP BY store_id, camera_id, minute
), lengths AS (
    SELECT c.store_id, c.camera_id, hour_start(c.minute, coalesce(s.timezone, 'UTC')) AS hour,
        sum(coalesce(person_s, 0)) / sum(covered_s) AS mean,
        max(coalesce(person_s, 0) / covered_s) FILTER (covered_s >= 30) AS peak
    FROM covered c LEFT JOIN filled USING (store_id, camera_id, minute)
    ASOF LEFT JOIN store_versions s ON c.store_id = s.store_id AND c.minute >= s.valid_from
    GROUP BY c.store_id, c.camera_id, hour
), cells AS (
    SELECT h.store_id, h.camera_id, h.hour, h.hour_local, h.coverage, h.uptime, f.footfall, l.mean, l.peak,
        waited.* EXCLUDE (store_id, camera_id, hour),
        CASE WHEN people IS NULL AND coalesce(l.mean, 0) = 0
                 THEN if(h.coverage < 0.5, 'low_coverage', 'no_queue')
             WHEN coalesce(people, 1) < getvariable('k') THEN 'suppressed'
             WHEN h.coverage < 0.5 THEN 'low_coverage' ELSE 'ok' END AS status
    FROM camera_hour h
    LEFT JOIN footfall f USING (store_id, camera_id, hour)
    LEFT JOIN lengths l USING (store_id, camera_id, hour)
    LEFT JOIN waited USING (store_id, camera_id, hour)
)
SELECT store_id, camera_id, hour, hour_local, coverage, uptime, footfall,
    if(status = 'ok', mean, NULL) AS queue_length_mean,
    if(status = 'ok', peak, NULL) AS queue_length_peak,
    if(status = 'ok', waits, NULL) AS waits,
    if(status = 'ok', completed, NULL) AS completed,
    if(status = 'ok', p50, NULL) AS wait_s_median,
    if(status = 'ok', p50_low, NULL) AS wait_s_median_low,
    if(status = 'ok', p50_high, NULL) AS wait_s_median_high,
    if(status = 'ok', p95, NULL) AS wait_s_p95,
    if(status = 'ok', p95_low, NULL) AS wait_s_p95_low,
    if(status = 'ok', p95_high, NULL) AS wait_s_p95_high,
    target_wait_s,
    if(status = 'ok', 1 - still, NULL) AS service_level,
    if(status = 'ok', 1 - wilson_high(still * still_size, still_size), NULL) AS service_level_low,
    if(status = 'ok', 1 - wilson_low(still * still_size, still_size), NULL) AS service_level_high,
    status
FROM cells;
