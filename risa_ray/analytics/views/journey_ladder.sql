-- journey_ladder: one row per store and step of its ladder: entrance, product, service, checkout.
--   step_no, step  the kind of zone
--   tracks         people with a stay in such a zone of any camera: a cohort, not the same people from step to step
--   with_mood, valence  mean over the tracks' mean valence in the step's zones; ci_low, ci_high: its 95 % interval
--   status         ok, no_mood, mood_suppressed, suppressed
-- Over the period of the variables `since` and `until`, as in journey. docs/metrics.md: journey, k-floor.
CREATE VIEW journey_ladder AS
WITH dated AS (
    SELECT p.*, local_date(p.entered_at, s.timezone) AS day
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
    WHERE p.zone_kind IN ('entrance', 'product', 'service', 'checkout')
), felt AS (
    SELECT store_id, zone_kind, session_id, track_id,
        if(sum(known) >= 3, sum(valence_sum) / sum(known_s), NULL) AS valence
    FROM dated WHERE in_period(day) GROUP BY store_id, zone_kind, session_id, track_id
), cells AS (
    SELECT store_id, zone_kind AS step, count(*) AS n, count(valence) AS moods, avg(valence) AS mean,
        stddev_samp(valence) AS sd, cell_status(count(*), count(valence), 1) AS status
    FROM felt GROUP BY store_id, zone_kind
)
SELECT store_id, list_position(['entrance', 'product', 'service', 'checkout'], step) AS step_no, step,
    if(status = 'suppressed', NULL, n) AS tracks,
    if(status = 'suppressed', NULL, moods) AS with_mood,
    if(status = 'ok', mean, NULL) AS valence,
    if(status = 'ok', mean - mean_half(sd, moods), NULL) AS ci_low,
    if(status = 'ok', mean + mean_half(sd, moods), NULL) AS ci_high,
    status
FROM cells;
