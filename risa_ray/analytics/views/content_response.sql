-- content_response: one row per screen and content (content_id) that ran on it while anybody stayed there.
--   tracks         people for whom it ran; attention: 0..1, share of tracks_with_yaw who looked for at least 1 s,
--                  attention_low, attention_high: its 95 % interval
--   with_mood, valence  mean over tracks of valence while it ran; valence_low, valence_high: its 95 % interval
--   attention_difference, valence_difference  against the screen's other contents in the same local hours of the week,
--                  each with its 95 % interval (_low, _high); matched_tracks: those of this content in such hours
--   attention_verdict, valence_verdict  best (the interval lies above 0), worse (below), no clear winner
--   status         ok, suppressed (fewer than k people)
-- Over the period of the variables `since` and `until`, as in journey. docs/metrics.md: content response, k-floor.
CREATE VIEW content_response AS
WITH dated AS (
    SELECT h.*, timezone(coalesce(s.timezone, 'UTC'), h.entered_at) AS local
    FROM people.shown h ASOF LEFT JOIN store_versions s ON h.store_id = s.store_id AND h.entered_at >= s.valid_from
), met AS (
    SELECT store_id, camera_id, zone_id, content_id, 24 * isodow(min(local)) + hour(min(local)) AS week_hour,
        if(count(looked_s) = 0, NULL, (sum(looked_s) >= 1)::INTEGER) AS looked,
        if(sum(known) >= 3, sum(valence_sum) / sum(known_s), NULL) AS valence
    FROM dated WHERE in_period(local::DATE)
    GROUP BY store_id, camera_id, zone_id, content_id, session_id, track_id
), hours AS (
    SELECT store_id, camera_id, zone_id, content_id, week_hour,
        count(looked) AS an, avg(looked) AS am,
        count(valence) AS vn, avg(valence) AS vm, var_samp(valence) AS vv
    FROM met GROUP BY store_id, camera_id, zone_id, content_id, week_hour
), others AS (
    SELECT c.store_id, c.camera_id, c.zone_id, c.content_id, c.week_hour, count(o.looked) AS an, avg(o.looked) AS am,
        count(o.valence) AS vn, avg(o.valence) AS vm, var_samp(o.valence) AS vv
    FROM hours c JOIN met o USING (store_id, camera_id, zone_id, week_hour)
    WHERE o.content_id <> c.content_id
    GROUP BY c.store_id, c.camera_id, c.zone_id, c.content_id, c.week_hour
), matched AS (
    SELECT store_id, camera_id, zone_id, content_id,
        c.an, c.am, c.vn, c.vm, c.vv, o.an AS oan, o.am AS oam, o.vn AS ovn, o.vm AS ovm, o.vv AS ovv,
        (c.an * c.am + o.an * o.am) / (c.an + o.an) AS pooled,
        c.an * o.an / (c.an + o.an) AS aw, c.vn * o.vn / (c.vn + o.vn) AS vw
    FROM hours c JOIN others o USING (store_id, camera_id, zone_id, content_id, week_hour)
), attended AS (
    -- Two people on either side tell something of an hour, and each hour weighs as much as it tells. A share's variance
    -- is that of both sides together: a few people who agree would seem to have none.
    SELECT store_id, camera_id, zone_id, content_id, sum(an)::BIGINT AS matched, sum(oan) AS others, sum(aw * (am - oam)) / sum(aw) AS mean,
        sqrt(sum(aw * aw * pooled * (1 - pooled) * (1 / (an - 1) + 1 / (oan - 1)))) / sum(aw) AS se
    FROM matched WHERE an >= 2 AND oan >= 2 GROUP BY store_id, camera_id, zone_id, content_id
), felt AS (
    SELECT store_id, camera_id, zone_id, content_id, sum(vn)::BIGINT AS matched, sum(ovn) AS others, sum(vw * (vm - ovm)) / sum(vw) AS mean,
        sqrt(sum(vw * vw * (vv / vn + ovv / ovn))) / sum(vw) AS se, sum(vn + ovn - 2) AS freedom
    FROM matched WHERE vn >= 2 AND ovn >= 2 GROUP BY store_id, camera_id, zone_id, content_id
), cells AS (
    SELECT store_id, camera_id, zone_id, content_id, count(*) AS n, count(looked) AS y, count_if(looked = 1) AS l,
        count(valence) AS moods, avg(valence) AS mean, stddev_samp(valence) AS sd, getvariable('k') AS k
    FROM met GROUP BY store_id, camera_id, zone_id, content_id
)
SELECT store_id, camera_id, zone_id, content_id,
    if(n >= k, n, NULL) AS tracks,
    if(y >= k, y, NULL) AS tracks_with_yaw,
    if(y >= k, l / y, NULL) AS attention,
    if(y >= k, wilson_low(l, y), NULL) AS attention_low,
    if(y >= k, wilson_high(l, y), NULL) AS attention_high,
    if(moods >= k, moods, NULL) AS with_mood,
    if(moods >= k, cells.mean, NULL) AS valence,
    if(moods >= k, cells.mean - mean_half(sd, moods), NULL) AS valence_low,
    if(moods >= k, cells.mean + mean_half(sd, moods), NULL) AS valence_high,
    if(least(a.matched, a.others) >= k, a.matched, NULL) AS matched_tracks,
    if(least(a.matched, a.others) >= k, a.mean, NULL) AS attention_difference,
    if(least(a.matched, a.others) >= k, a.mean - 1.959963984540054 * a.se, NULL) AS attention_difference_low,
    if(least(a.matched, a.others) >= k, a.mean + 1.959963984540054 * a.se, NULL) AS attention_difference_high,
    CASE WHEN least(a.matched, a.others) >= k AND a.mean - 1.959963984540054 * a.se > 0 THEN 'best'
         WHEN least(a.matched, a.others) >= k AND a.mean + 1.959963984540054 * a.se < 0 THEN 'worse'
         ELSE 'no clear winner' END AS attention_verdict,
    if(least(f.matched, f.others) >= k, f.mean, NULL) AS valence_difference,
    if(least(f.matched, f.others) >= k, f.mean - t95(f.freedom) * f.se, NULL) AS valence_difference_low,
    if(least(f.matched, f.others) >= k, f.mean + t95(f.freedom) * f.se, NULL) AS valence_difference_high,
    CASE WHEN least(f.matched, f.others) >= k AND f.mean - t95(f.freedom) * f.se > 0 THEN 'best'
         WHEN least(f.matched, f.others) >= k AND f.mean + t95(f.freedom) * f.se < 0 THEN 'worse'
         ELSE 'no clear winner' END AS valence_verdict,
    if(n >= k, 'ok', 'suppressed') AS status
FROM cells
LEFT JOIN attended a USING (store_id, camera_id, zone_id, content_id)
LEFT JOIN felt f USING (store_id, camera_id, zone_id, content_id);
