-- journey: one row per camera: how apparent valence changes from the first to the last third of a track.
--   tracks         those with at least 3 known observations in either third
--   valence_first, valence_last  -1..1, means over them
--   change         their difference; ci_low, ci_high: its 95 % interval, over tracks
--   status         ok, suppressed (1 to k - 1 tracks), no_mood (none)
-- Over the local dates from the variable `since` until before `until`; all there is while they are not set.
-- docs/metrics.md: journey, period, k-floor.
CREATE VIEW journey AS
WITH dated AS (
    SELECT t.*, t.valence_last - t.valence_first AS change, local_date(t.first_seen, s.timezone) AS day
    FROM people.tracks t ASOF LEFT JOIN store_versions s ON t.store_id = s.store_id AND t.first_seen >= s.valid_from
), cells AS (
    SELECT store_id, camera_id, count(change) AS n, avg(valence_first) FILTER (change IS NOT NULL) AS first,
        avg(valence_last) FILTER (change IS NOT NULL) AS last, avg(change) AS mean, stddev_samp(change) AS sd,
        CASE WHEN count(change) = 0 THEN 'no_mood' WHEN count(change) < getvariable('k') THEN 'suppressed' ELSE 'ok' END
            AS status
    FROM dated WHERE in_period(day) GROUP BY store_id, camera_id
)
SELECT store_id, camera_id,
    if(status = 'suppressed', NULL, n) AS tracks,
    if(status = 'ok', first, NULL) AS valence_first,
    if(status = 'ok', last, NULL) AS valence_last,
    if(status = 'ok', mean, NULL) AS change,
    if(status = 'ok', mean - mean_half(sd, n), NULL) AS ci_low,
    if(status = 'ok', mean + mean_half(sd, n), NULL) AS ci_high,
    status
FROM cells;
