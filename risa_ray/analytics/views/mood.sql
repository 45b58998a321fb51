-- mood: one row per zone and local hour in which its camera was watched or anybody stayed.
--   hour (UTC instant at which the local hour began), hour_local (the store's wall clock), weekday (1 Monday)
--   tracks, with_mood, positive, neutral, negative  people with a stay that was entered in the hour, by the mood of their
--                    stays there
--   net_sentiment    -1..1, ci_low, ci_high: its 95 % interval; unknown_share: 0..1, tracks without a mood
--   valence_gain     mean over tracks of valence inside the zone minus outside it, gain_low, gain_high: its 95 % interval;
--                    gain_tracks: those with at least 3 known observations on either side; NULL below k of them. Outside
--                    is the rest of the camera's picture, other zones included
--   baseline_weeks, baseline_net_sentiment  the same zone in the same hour of the week, all earlier weeks that are
--                    shown (status ok) together
--   change           net_sentiment minus the baseline's; change_low, change_high: its 95 % interval
--   coverage, status as in mood_by_minute
-- docs/metrics.md: net sentiment, baseline, coverage, k-floor, time.
CREATE VIEW mood AS
WITH entered AS (
    SELECT p.*, hour_start(p.entered_at, coalesce(s.timezone, 'UTC')) AS hour
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
), visits AS (
    SELECT store_id, camera_id, zone_id, hour, session_id, track_id, any_value(zone_kind) AS zone_kind,
        sum(known) AS known, sum(known_s) AS known_s, sum(valence_sum) AS valence_sum
    FROM entered GROUP BY store_id, camera_id, zone_id, hour, session_id, track_id
), felt AS (
    SELECT v.*, if(v.known >= 3, v.valence_sum / v.known_s, NULL) AS inside,
        if(t.known - v.known >= 3, (t.valence_sum - v.valence_sum) / (t.known_s - v.known_s), NULL) AS outside
    FROM visits v JOIN people.tracks t USING (store_id, session_id, track_id)
), counted AS (
    SELECT store_id, camera_id, zone_id, hour, any_value(zone_kind) AS zone_kind, count(*) AS n, count(inside) AS moods,
        count_if(inside >= 0.2) AS p, count_if(inside <= -0.2) AS q, avg(inside - outside) AS gain,
        stddev_samp(inside - outside) AS gain_sd, count(inside - outside) AS pairs
    FROM felt GROUP BY store_id, camera_id, zone_id, hour
), watched AS (
    SELECT h.store_id, h.camera_id, z.zone_id, z.kind, h.hour
    FROM camera_hour h JOIN zone_versions z
        ON h.store_id = z.store_id AND h.camera_id = z.camera_id AND h.hour >= z.valid_from AND h.hour < z.valid_to
    WHERE z.active AND z.kind NOT IN ('staff', 'mask')
), cells AS (
    SELECT store_id, camera_id, zone_id, hour, coalesce(max(zone_kind) FILTER (n > 0), max(zone_kind)) AS zone_kind,
        coalesce(max(c.n), 0) AS n, coalesce(max(moods), 0) AS moods, coalesce(max(p), 0) AS p,
        coalesce(max(q), 0) AS q, max(gain) AS gain, max(gain_sd) AS gain_sd, coalesce(max(pairs), 0) AS pairs
    FROM (FROM counted UNION ALL BY NAME SELECT store_id, camera_id, zone_id, hour, kind AS zone_kind FROM watched) c
    GROUP BY store_id, camera_id, zone_id, hour
), joined AS (
    SELECT cells.*, coalesce(h.coverage, 0) AS coverage, cell_status(n, moods, coalesce(h.coverage, 0)) AS known_status
    FROM cells LEFT JOIN camera_hour h USING (store_id, camera_id, hour)
), timed AS (
    SELECT joined.*, timezone(coalesce(s.timezone, 'UTC'), hour) AS hour_local
    FROM joined ASOF LEFT JOIN store_versions s ON joined.store_id = s.store_id AND joined.hour >= s.valid_from
), guarded AS (
    -- As in zone_hour; and of moods likewise.
    SELECT *, known_status NOT IN ('suppressed', 'low_coverage') AND n >= getvariable('k') AS told,
        coalesce(sum(n) FILTER (known_status IN ('suppressed', 'low_coverage')) OVER day, 0) AS hidden,
        row_number() OVER (
            PARTITION BY store_id, camera_id, zone_id, hour_local::DATE, told ORDER BY n, hour
        ) AS place,
        if(zone_kind = 'product' AND told AND place = 1 AND hidden BETWEEN 1 AND getvariable('k') - 1,
            'suppressed', known_status) AS shown_status
    FROM timed
    WINDOW day AS (PARTITION BY store_id, camera_id, zone_id, hour_local::DATE)
), told AS (
    SELECT *, coalesce(sum(moods) FILTER (shown_status NOT IN ('ok', 'no_mood')) OVER day, 0) AS hidden_moods,
        row_number() OVER (
            PARTITION BY store_id, camera_id, zone_id, hour_local::DATE, shown_status = 'ok' ORDER BY moods, hour
        ) AS mood_place,
        if(zone_kind = 'product' AND shown_status = 'ok' AND mood_place = 1
            AND hidden_moods BETWEEN 1 AND getvariable('k') - 1, 'mood_suppressed', shown_status) AS status
    FROM guarded
    WINDOW day AS (PARTITION BY store_id, camera_id, zone_id, hour_local::DATE)
), based AS (
    -- Of cells that are shown: week by week, the baseline would tell the others.
    SELECT *, count_if(status = 'ok') OVER earlier AS weeks, sum(if(status = 'ok', moods, 0)) OVER earlier AS base_n,
        sum(if(status = 'ok', p, 0)) OVER earlier AS base_p, sum(if(status = 'ok', q, 0)) OVER earlier AS base_q
    FROM told
    WINDOW earlier AS (
        PARTITION BY store_id, camera_id, zone_id, isodow(hour_local), hour(hour_local) ORDER BY hour_local
        RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
), judged AS (
    SELECT *, status IN ('ok', 'no_mood', 'mood_suppressed') AS shown, status = 'ok' AS mood_shown,
        status = 'ok' AND pairs >= greatest(getvariable('k'), 2) AS gain_shown,
        status = 'ok' AND base_n >= getvariable('k') AS change_shown,
        sqrt(net_half(p, q, moods) ** 2 + net_half(base_p, base_q, base_n) ** 2) AS change_half
    FROM based
)
SELECT store_id, camera_id, zone_id, zone_kind, hour, hour_local, isodow(hour_local) AS weekday,
    if(shown, n, NULL) AS tracks,
    if(shown, moods, NULL) AS with_mood,
    if(mood_shown, p, NULL) AS positive,
    if(mood_shown, moods - p - q, NULL) AS neutral,
    if(mood_shown, q, NULL) AS negative,
    if(mood_shown, (p - q) / moods, NULL) AS net_sentiment,
    if(mood_shown, net_low(p, q, moods), NULL) AS ci_low,
    if(mood_shown, net_high(p, q, moods), NULL) AS ci_high,
    if(shown, 1 - moods / nullif(n, 0), NULL) AS unknown_share,
    if(gain_shown, pairs, NULL) AS gain_tracks,
    if(gain_shown, gain, NULL) AS valence_gain,
    if(gain_shown, gain - mean_half(gain_sd, pairs), NULL) AS gain_low,
    if(gain_shown, gain + mean_half(gain_sd, pairs), NULL) AS gain_high,
    if(change_shown, weeks, NULL) AS baseline_weeks,
    if(change_shown, (base_p - base_q) / base_n, NULL) AS baseline_net_sentiment,
    if(change_shown, (p - q) / moods - (base_p - base_q) / base_n, NULL) AS change,
    if(change_shown, net_centre(p, q, moods) - net_centre(base_p, base_q, base_n) - change_half, NULL) AS change_low,
    if(change_shown, net_centre(p, q, moods) - net_centre(base_p, base_q, base_n) + change_half, NULL) AS change_high,
    coverage, status
FROM judged;
