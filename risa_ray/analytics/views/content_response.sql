-- content_response: one row per screen and content (content_id) that ran on it while anybody stayed there, all its
-- showings together.
--   tracks         people for whom it ran; attention: 0..1, share of tracks_with_yaw who looked for at least 1 s,
--                  attention_low, attention_high: its 95 % interval
--   with_mood, valence  mean over tracks of valence while it ran; valence_low, valence_high: its 95 % interval
--   attention_difference, valence_difference  against the screen's other contents in the same local hours of the week,
--                  each with its 95 % interval (_low, _high); matched_tracks: those of this content in such hours
--   attention_compared, valence_compared  people behind that difference: of this content or of the others in such hours,
--                  whichever are fewer
--   attention_verdict, valence_verdict  best (the interval lies above 0), worse (below), no clear winner
--   status         ok, suppressed (fewer than k people)
-- Over the period of the variables `since` and `until`, as in journey; and only of people who first met the content in
-- the local hour of the variables `hour` and `weekday`, where these are set. docs/metrics.md: content response, period,
-- k-floor.
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
    HAVING in_hour(min(local))
), hours AS (
    SELECT store_id, camera_id, zone_id, content_id, week_hour, count(*) AS n,
        count(looked) AS an, coalesce(sum(looked), 0) AS al,
        count(valence) AS vn, coalesce(sum(valence), 0) AS vs, coalesce(sum(valence * valence), 0) AS vq
    FROM met GROUP BY store_id, camera_id, zone_id, content_id, week_hour
), beside AS (
    -- The screen's other contents in the hour: all of them but this.
    SELECT *, sum(an) OVER screen - an AS oan, sum(al) OVER screen - al AS oal,
        sum(vn) OVER screen - vn AS ovn, sum(vs) OVER screen - vs AS ovs, sum(vq) OVER screen - vq AS ovq
    FROM hours
    WINDOW screen AS (PARTITION BY store_id, camera_id, zone_id, week_hour)
), matched AS (
    -- Two people on either side tell something of an hour, and each hour weighs as much as it tells.
    SELECT *, an >= 2 AND oan >= 2 AS a, if(a, an * oan / (an + oan), NULL) AS aw, (al + oal) / (an + oan) AS pooled,
        vn >= 2 AND ovn >= 2 AS v, if(v, vn * ovn / (vn + ovn), NULL) AS vw,
        greatest(vq - vs * vs / vn, 0) / (vn - 1) AS vv, greatest(ovq - ovs * ovs / ovn, 0) / (ovn - 1) AS ovv
    FROM beside
), cells AS (
    SELECT store_id, camera_id, zone_id, content_id, sum(n)::BIGINT AS n, sum(an)::BIGINT AS y, sum(al)::BIGINT AS l,
        sum(vn)::BIGINT AS moods, sum(vs) / sum(vn) AS mean,
        sqrt(greatest(sum(vq) - sum(vs) ** 2 / sum(vn), 0) / (sum(vn) - 1)) AS sd,
        sum(an) FILTER (a)::BIGINT AS a_matched, least(a_matched, sum(oan) FILTER (a))::BIGINT AS a_people,
        sum(aw * (al / an - oal / oan)) / sum(aw) AS a_mean,
        -- A share's variance is that of both sides together: a few people who agree would seem to have none.
        sqrt(sum(aw * aw * pooled * (1 - pooled) * (1 / (an - 1) + 1 / (oan - 1)))) / sum(aw) AS a_se,
        least(sum(vn) FILTER (v), sum(ovn) FILTER (v))::BIGINT AS v_people,
        sum(vw * (vs / vn - ovs / ovn)) / sum(vw) AS v_mean,
        sqrt(sum(vw * vw * (vv / vn + ovv / ovn))) / sum(vw) AS v_se,
        sum(vn + ovn - 2) FILTER (v) AS freedom,
        getvariable('k') AS k
    FROM matched GROUP BY store_id, camera_id, zone_id, content_id
), judged AS (
    SELECT *, a_people >= k AS a_shown, a_mean - 1.959963984540054 * a_se AS a_low,
        a_mean + 1.959963984540054 * a_se AS a_high,
        v_people >= k AS v_shown, v_mean - t95(freedom) * v_se AS v_low, v_mean + t95(freedom) * v_se AS v_high
    FROM cells
)
SELECT store_id, camera_id, zone_id, content_id,
    if(n >= k, n, NULL) AS tracks,
    if(y >= k, y, NULL) AS tracks_with_yaw,
    if(y >= k, l / y, NULL) AS attention,
    if(y >= k, wilson_low(l, y), NULL) AS attention_low,
    if(y >= k, wilson_high(l, y), NULL) AS attention_high,
    if(moods >= k, moods, NULL) AS with_mood,
    if(moods >= k, mean, NULL) AS valence,
    if(moods >= k, mean - mean_half(sd, moods), NULL) AS valence_low,
    if(moods >= k, mean + mean_half(sd, moods), NULL) AS valence_high,
    if(a_shown, a_matched, NULL) AS matched_tracks,
    if(a_shown, a_people, NULL) AS attention_compared,
    if(a_shown, a_mean, NULL) AS attention_difference,
    if(a_shown, a_low, NULL) AS attention_difference_low,
    if(a_shown, a_high, NULL) AS attention_difference_high,
    CASE WHEN a_shown AND a_low > 0 THEN 'best' WHEN a_shown AND a_high < 0 THEN 'worse' ELSE 'no clear winner' END
        AS attention_verdict,
    if(v_shown, v_people, NULL) AS valence_compared,
    if(v_shown, v_mean, NULL) AS valence_difference,
    if(v_shown, v_low, NULL) AS valence_difference_low,
    if(v_shown, v_high, NULL) AS valence_difference_high,
    CASE WHEN v_shown AND v_low > 0 THEN 'best' WHEN v_shown AND v_high < 0 THEN 'worse' ELSE 'no clear winner' END
        AS valence_verdict,
    if(n >= k, 'ok', 'suppressed') AS status
FROM judged;
