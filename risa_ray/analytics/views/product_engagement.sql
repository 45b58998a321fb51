-- product_engagement: one row per product zone and local day on which anybody stayed there.
--   day (the store's date), zone_name, tags (of the zone, as of the day's end)
--   tracks    people with a stay; engaged: with one of at least 3 s; looked: who faced the shelf for at least 1 s, of
--             tracks_with_yaw
--   engaged_share, looked_share  0..1, each with its 95 % interval (_low, _high)
--   dwell_s_median, dwell_s_total  seconds
--   with_mood, positive, neutral, negative, net_sentiment, ci_low, ci_high  as in mood_by_minute; moods from the stays
--   valence_gain  mean over tracks of valence inside the zone minus outside it; gain_low, gain_high: 95 % interval;
--                 gain_tracks: those with at least 3 known observations on either side; NULL below k of them
--   covered_hours hours of the day in which the camera delivered analysed frames: what is missing was not seen
--   status  ok, no_mood, mood_suppressed, suppressed. docs/metrics.md: engaged / looked, baseline, k-floor.
CREATE VIEW product_engagement AS
WITH visits AS (
    SELECT p.store_id, p.camera_id, p.zone_id, local_date(p.entered_at, s.timezone) AS day, p.session_id, p.track_id,
        max(p.dwell_s) >= 3 AS engaged, max(p.looked_s) AS looked_s, sum(p.dwell_s) AS dwell_s,
        max(p.entered_at) AS last_entered,
        sum(p.known) AS known, sum(p.known_s) AS known_s, sum(p.valence_sum) AS valence_sum
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
    WHERE p.zone_kind = 'product'
    GROUP BY p.store_id, p.camera_id, p.zone_id, day, p.session_id, p.track_id
), felt AS (
    SELECT v.*, if(v.known >= 3, v.valence_sum / v.known_s, NULL) AS inside,
        if(t.known - v.known >= 3, (t.valence_sum - v.valence_sum) / (t.known_s - v.known_s), NULL) AS outside
    FROM visits v JOIN people.tracks t USING (store_id, session_id, track_id)
), cells AS (
    SELECT store_id, camera_id, zone_id, day, max(last_entered) AS last_entered, count(*) AS n,
        count_if(engaged) AS e, count_if(looked_s >= 1) AS l, count(looked_s) AS y,
        median(dwell_s) AS dwell_median, sum(dwell_s) AS dwell_total, count(inside) AS moods,
        count_if(inside >= 0.2) AS p, count_if(inside <= -0.2) AS q,
        avg(inside - outside) AS gain, stddev_samp(inside - outside) AS gain_sd, count(inside - outside) AS pairs,
        cell_status(count(*), count(inside), 1) AS status
    FROM felt GROUP BY store_id, camera_id, zone_id, day
), covered AS (
    SELECT store_id, camera_id, hour_local::DATE AS day, sum(coverage) AS covered_hours
    FROM camera_hour GROUP BY store_id, camera_id, day
), judged AS (
    SELECT *, status <> 'suppressed' AS shown, status = 'ok' AS mood_shown,
        status <> 'suppressed' AND y >= getvariable('k') AS yaw_shown,
        status <> 'suppressed' AND pairs >= greatest(getvariable('k'), 2) AS gain_shown
    FROM cells
)
SELECT judged.store_id, judged.camera_id, judged.zone_id, z.name AS zone_name, z.tags, day,
    if(shown, n, NULL) AS tracks,
    if(shown, e, NULL) AS engaged,
    if(shown, e / n, NULL) AS engaged_share,
    if(shown, wilson_low(e, n), NULL) AS engaged_share_low,
    if(shown, wilson_high(e, n), NULL) AS engaged_share_high,
    if(yaw_shown, y, NULL) AS tracks_with_yaw,
    if(yaw_shown, l, NULL) AS looked,
    if(yaw_shown, l / y, NULL) AS looked_share,
    if(yaw_shown, wilson_low(l, y), NULL) AS looked_share_low,
    if(yaw_shown, wilson_high(l, y), NULL) AS looked_share_high,
    if(shown, dwell_median, NULL) AS dwell_s_median,
    if(shown, dwell_total, NULL) AS dwell_s_total,
    if(mood_shown, moods, NULL) AS with_mood,
    if(mood_shown, p, NULL) AS positive,
    if(mood_shown, moods - p - q, NULL) AS neutral,
    if(mood_shown, q, NULL) AS negative,
    if(mood_shown, (p - q) / moods, NULL) AS net_sentiment,
    if(mood_shown, net_low(p, q, moods), NULL) AS ci_low,
    if(mood_shown, net_high(p, q, moods), NULL) AS ci_high,
    if(gain_shown, pairs, NULL) AS gain_tracks,
    if(gain_shown, gain, NULL) AS valence_gain,
    if(gain_shown, gain - mean_half(gain_sd, pairs), NULL) AS gain_low,
    if(gain_shown, gain + mean_half(gain_sd, pairs), NULL) AS gain_high,
    coalesce(covered_hours, 0) AS covered_hours,
    status
FROM judged LEFT JOIN covered USING (store_id, camera_id, day) ASOF LEFT JOIN zone_versions z
    ON judged.store_id = z.store_id AND judged.camera_id = z.camera_id AND judged.zone_id = z.zone_id
    AND judged.last_entered >= z.valid_from;
