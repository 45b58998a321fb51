-- zone_hour: one row per zone and local hour in which its camera was watched or anybody stayed.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock)
--   tracks, stays  people with a stay that was entered in the hour, and those stays
--   dwell_s_mean, dwell_s_median, dwell_s_total  seconds, over the stays, censored ones included
--   coverage  0..1; status: ok, suppressed (1 to k - 1 people), low_coverage (below 0.5): figures NULL but for ok
-- How people felt there: view mood. docs/metrics.md: stay, coverage, k-floor, time.
CREATE VIEW zone_hour AS
WITH entered AS (
    SELECT p.*, hour_start(p.entered_at, coalesce(s.timezone, 'UTC')) AS hour
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
), dwelt AS (
    SELECT store_id, camera_id, zone_id, hour, any_value(zone_kind) AS zone_kind,
        count(DISTINCT (session_id, track_id)) AS tracks, count(*) AS stays,
        avg(dwell_s) AS dwell_s_mean, median(dwell_s) AS dwell_s_median, sum(dwell_s) AS dwell_s_total
    FROM entered GROUP BY store_id, camera_id, zone_id, hour
), watched AS (
    SELECT h.store_id, h.camera_id, z.zone_id, z.kind, h.hour
    FROM camera_hour h JOIN zone_versions z
        ON h.store_id = z.store_id AND h.camera_id = z.camera_id AND h.hour >= z.valid_from AND h.hour < z.valid_to
    WHERE z.active AND z.kind NOT IN ('staff', 'mask')
), cells AS (
    SELECT store_id, camera_id, zone_id, hour, coalesce(max(zone_kind) FILTER (tracks > 0), max(zone_kind)) AS zone_kind,
        coalesce(max(d.tracks), 0) AS n, coalesce(max(d.stays), 0) AS all_stays, max(dwell_s_mean) AS mean_s,
        max(dwell_s_median) AS median_s, coalesce(max(d.dwell_s_total), 0) AS total_s
    FROM (FROM dwelt UNION ALL BY NAME SELECT store_id, camera_id, zone_id, hour, kind AS zone_kind FROM watched) d
    GROUP BY store_id, camera_id, zone_id, hour
), joined AS (
    SELECT cells.*, coalesce(h.coverage, 0) AS coverage,
        replace(cell_status(n, n, coalesce(h.coverage, 0)), 'no_mood', 'ok') AS known_status
    FROM cells LEFT JOIN camera_hour h USING (store_id, camera_id, hour)
), timed AS (
    SELECT joined.*, timezone(coalesce(s.timezone, 'UTC'), hour) AS hour_local
    FROM joined ASOF LEFT JOIN store_versions s ON joined.store_id = s.store_id AND joined.hour >= s.valid_from
), guarded AS (
    -- `product_engagement` has the day: the smallest hour goes with hidden ones of few people, which the rest would tell.
    SELECT *, coalesce(sum(n) FILTER (known_status <> 'ok') OVER day, 0) AS hidden,
        row_number() OVER (day_and_shown ORDER BY n, hour) AS place,
        if(zone_kind = 'product' AND known_status = 'ok' AND n >= getvariable('k') AND place = 1
            AND hidden BETWEEN 1 AND getvariable('k') - 1, 'suppressed', known_status) AS status,
        status = 'ok' AS shown
    FROM timed
    WINDOW day AS (PARTITION BY store_id, camera_id, zone_id, hour_local::DATE),
        day_and_shown AS (
            PARTITION BY store_id, camera_id, zone_id, hour_local::DATE, known_status = 'ok' AND n >= getvariable('k')
        )
)
SELECT store_id, camera_id, zone_id, zone_kind, hour, hour_local,
    if(shown, n, NULL) AS tracks,
    if(shown, all_stays, NULL) AS stays,
    if(shown, mean_s, NULL) AS dwell_s_mean,
    if(shown, median_s, NULL) AS dwell_s_median,
    if(shown, total_s, NULL) AS dwell_s_total,
    coverage, status
FROM guarded;
