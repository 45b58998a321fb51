-- service_interactions: one row per service zone and local day with an interaction: a service stay of at least 10 s.
--   day (the store's date), tracks, interactions
--   length_s_median, length_s_mean  seconds, of interactions that are not censored where there are any, else of all
--   waited, wait_before_s_mean      interactions that came from a queue of the camera, and their wait before, seconds
--   valence_before, valence_during, valence_after  -1..1, means over the interactions that have the window (30 s before,
--                  during, 30 s after, at least 3 known observations in it); NULL below k of them
--   change_during  mean of during minus before over the during_pairs interactions with both, change_during_low, _high
--                  its 95 % interval; change_after: mean of after minus before over after_pairs, likewise
--   after_share    0..1, interactions that have an "after"
--   covered_hours  hours of the day in which the camera delivered analysed frames: what is missing was not seen
--   status         ok, suppressed (fewer than k people)
-- That somebody serves is assumed; talking moves the mouth. docs/metrics.md: service interaction, k-floor.
CREATE VIEW service_interactions AS
WITH led AS (
    SELECT store_id, session_id, track_id, served_at, max(wait_s) AS wait_s
    FROM people.waits WHERE completed GROUP BY store_id, session_id, track_id, served_at
), met AS (
    SELECT p.*, local_date(p.entered_at, s.timezone) AS day, led.wait_s
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
    LEFT JOIN led ON led.store_id = p.store_id AND led.session_id = p.session_id AND led.track_id = p.track_id
        AND led.served_at = p.entered_at
    WHERE p.zone_kind = 'service' AND p.dwell_s >= 10
), cells AS (
    SELECT store_id, camera_id, zone_id, day, count(DISTINCT (session_id, track_id)) AS people, count(*) AS n,
        coalesce(median(dwell_s) FILTER (NOT censored), median(dwell_s)) AS length_median,
        coalesce(avg(dwell_s) FILTER (NOT censored), avg(dwell_s)) AS length_mean,
        count(wait_s) AS waited, avg(wait_s) AS wait_mean,
        avg(valence_before) AS before, count(valence_before) AS before_n,
        avg(valence) AS during, count(valence) AS during_n,
        avg(valence_after) AS after, count(valence_after) AS after_n,
        avg(valence - valence_before) AS change_during, stddev_samp(valence - valence_before) AS during_sd,
        count(valence - valence_before) AS during_pairs,
        avg(valence_after - valence_before) AS change_after, stddev_samp(valence_after - valence_before) AS after_sd,
        count(valence_after - valence_before) AS after_pairs,
        getvariable('k') AS k, greatest(k, 2) AS pairs_k
    FROM met GROUP BY store_id, camera_id, zone_id, day
), covered AS (
    SELECT store_id, camera_id, hour_local::DATE AS day, sum(coverage) AS covered_hours
    FROM camera_hour GROUP BY store_id, camera_id, day
)
SELECT store_id, camera_id, zone_id, day,
    if(people >= k, people, NULL) AS tracks,
    if(people >= k, n, NULL) AS interactions,
    if(people >= k, length_median, NULL) AS length_s_median,
    if(people >= k, length_mean, NULL) AS length_s_mean,
    if(people >= k, waited, NULL) AS waited,
    if(people >= k AND waited >= k, wait_mean, NULL) AS wait_before_s_mean,
    if(people >= k AND before_n >= k, before, NULL) AS valence_before,
    if(people >= k AND during_n >= k, during, NULL) AS valence_during,
    if(people >= k AND after_n >= k, after, NULL) AS valence_after,
    if(people >= k AND cells.during_pairs >= pairs_k, cells.during_pairs, NULL) AS during_pairs,
    if(people >= k AND cells.during_pairs >= pairs_k, change_during, NULL) AS change_during,
    if(people >= k AND cells.during_pairs >= pairs_k, change_during - mean_half(during_sd, during_pairs), NULL) AS change_during_low,
    if(people >= k AND cells.during_pairs >= pairs_k, change_during + mean_half(during_sd, during_pairs), NULL) AS change_during_high,
    if(people >= k AND cells.after_pairs >= pairs_k, cells.after_pairs, NULL) AS after_pairs,
    if(people >= k AND cells.after_pairs >= pairs_k, change_after, NULL) AS change_after,
    if(people >= k AND cells.after_pairs >= pairs_k, change_after - mean_half(after_sd, after_pairs), NULL) AS change_after_low,
    if(people >= k AND cells.after_pairs >= pairs_k, change_after + mean_half(after_sd, after_pairs), NULL) AS change_after_high,
    if(people >= k, after_n / n, NULL) AS after_share,
    coalesce(covered_hours, 0) AS covered_hours,
    if(people >= k, 'ok', 'suppressed') AS status
FROM cells LEFT JOIN covered USING (store_id, camera_id, day);
