-- zone_hour: one row per zone and local hour in which its camera was watched or anybody stayed.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock)
--   tracks, stays  people with a stay that was entered in the hour, and those stays
--   dwell_s_mean, dwell_s_median, dwell_s_total  seconds, over the stays, censored ones included
--   net_sentiment, ci_low, ci_high, unknown_share, coverage, status  as in mood_by_minute; moods from the stays alone
-- docs/metrics.md: stay, net sentiment, coverage, k-floor, time.
CREATE VIEW zone_hour AS
WITH entered AS (
    SELECT p.*, hour_start(p.entered_at, coalesce(s.timezone, 'UTC')) AS hour
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
), dwelt AS (
    SELECT store_id, camera_id, zone_id, hour, any_value(zone_kind) AS zone_kind,
        count(DISTINCT (session_id, track_id)) AS tracks, count(*) AS stays,
        avg(dwell_s) AS dwell_s_mean, median(dwell_s) AS dwell_s_median, sum(dwell_s) AS dwell_s_total
    FROM entered GROUP BY store_id, camera_id, zone_id, hour
), moods AS (
    SELECT e.store_id, e.camera_id, e.zone_id, e.hour,
        mood_of(if(count_if(o.known) >= 3,
            sum(o.weight_s * o.valence) FILTER (o.known) / sum(o.weight_s) FILTER (o.known), NULL)) AS mood
    FROM entered e JOIN people.stay_observations o USING (store_id, session_id, track_id, zone_id, stay_no)
    GROUP BY e.store_id, e.camera_id, e.zone_id, e.hour, e.session_id, e.track_id
), felt AS (
    SELECT store_id, camera_id, zone_id, hour, count_if(mood <> 'unknown')::BIGINT AS with_mood,
        count_if(mood = 'positive')::BIGINT AS positive, count_if(mood = 'negative')::BIGINT AS negative
    FROM moods GROUP BY store_id, camera_id, zone_id, hour
), hours AS (
    SELECT f.store_id, f.camera_id, hour_start(f.window_start, coalesce(s.timezone, 'UTC')) AS hour,
        count(DISTINCT f.window_start) FILTER (f.analysed > 0) / 360 AS coverage
    FROM frames f ASOF LEFT JOIN store_versions s ON f.store_id = s.store_id AND f.window_start >= s.valid_from
    GROUP BY f.store_id, f.camera_id, hour
), watched AS (
    SELECT h.store_id, h.camera_id, z.zone_id, z.kind, h.hour
    FROM hours h JOIN zone_versions z
        ON h.store_id = z.store_id AND h.camera_id = z.camera_id AND h.hour >= z.valid_from AND h.hour < z.valid_to
    WHERE z.active AND z.kind NOT IN ('staff', 'mask')
), joined AS (
    SELECT store_id, camera_id, zone_id, hour, coalesce(zone_kind, watched.kind) AS zone_kind,
        coalesce(tracks, 0) AS n, coalesce(stays, 0) AS all_stays, coalesce(with_mood, 0) AS moods,
        coalesce(positive, 0) AS p, coalesce(negative, 0) AS q, coalesce(coverage, 0) AS coverage,
        dwell_s_mean AS mean_s, dwell_s_median AS median_s, coalesce(dwell_s_total, 0) AS total_s,
        cell_status(n, moods, coalesce(coverage, 0)) AS status,
        status IN ('ok', 'no_mood', 'mood_suppressed') AS shown,
        status = 'ok' AS mood_shown
    FROM dwelt FULL JOIN watched USING (store_id, camera_id, zone_id, hour)
    LEFT JOIN felt USING (store_id, camera_id, zone_id, hour)
    LEFT JOIN hours USING (store_id, camera_id, hour)
)
SELECT joined.store_id, camera_id, zone_id, zone_kind, hour,
    timezone(coalesce(s.timezone, 'UTC'), hour) AS hour_local,
    if(shown, n, NULL) AS tracks,
    if(shown, all_stays, NULL) AS stays,
    if(shown, mean_s, NULL) AS dwell_s_mean,
    if(shown, median_s, NULL) AS dwell_s_median,
    if(shown, total_s, NULL) AS dwell_s_total,
    if(mood_shown, (p - q) / moods, NULL) AS net_sentiment,
    if(mood_shown, greatest(-1, (p - q) / (moods + 2) - net_half(p, q, moods)), NULL) AS ci_low,
    if(mood_shown, least(1, (p - q) / (moods + 2) + net_half(p, q, moods)), NULL) AS ci_high,
    if(shown, 1 - moods / nullif(n, 0), NULL) AS unknown_share,
    coverage, status
FROM joined ASOF LEFT JOIN store_versions s ON joined.store_id = s.store_id AND joined.hour >= s.valid_from;
