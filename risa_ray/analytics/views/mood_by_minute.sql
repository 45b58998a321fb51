-- mood_by_minute: one row per camera and minute in which the camera was watched or anybody was seen.
--   minute (UTC), minute_local (the store's wall clock)
--   tracks         people seen; with_mood: those with at least 3 known observations in the minute
--   positive, neutral, negative  tracks by mood
--   net_sentiment  -1..1, ci_low and ci_high: its 95 % interval (sampling only, not the model's error)
--   unknown_share  0..1, tracks without a mood
--   coverage       0..1, part of the minute with analysed frames
--   status         ok; no_mood (nobody has one); mood_suppressed (fewer than k have one: positive to ci_high are NULL);
--                  suppressed (fewer than k tracks); low_coverage (below 0.5)
-- Figures are NULL when suppressed or low_coverage. There are no rows of totals.
-- docs/metrics.md: net sentiment, coverage, k-floor, time.
CREATE VIEW mood_by_minute AS
WITH moods AS (
    SELECT store_id, camera_id, minute, mood_of(if(known >= 3, valence_sum / known_s, NULL)) AS mood FROM people.minutes
), seen AS (
    SELECT store_id, camera_id, minute, count(*) AS tracks,
        count_if(mood <> 'unknown')::BIGINT AS with_mood, count_if(mood = 'positive')::BIGINT AS positive,
        count_if(mood = 'neutral')::BIGINT AS neutral, count_if(mood = 'negative')::BIGINT AS negative
    FROM moods GROUP BY store_id, camera_id, minute
), watched AS (
    -- A bit for each window of the minute: however many sessions have rows of it, it counts once.
    SELECT store_id, camera_id, make_timestamptz(epoch_us(window_start) // 60_000_000 * 60_000_000) AS minute,
        bit_count(bit_or(if(analysed > 0, 1 << (epoch_us(window_start) // 10_000_000 % 6)::INTEGER, 0))) / 6 AS coverage
    FROM frames GROUP BY store_id, camera_id, minute
), cells AS (
    SELECT store_id, camera_id, minute, coalesce(coverage, 0) AS coverage,
        cell_status(coalesce(tracks, 0), coalesce(with_mood, 0), coalesce(coverage, 0)) AS status,
        status IN ('ok', 'no_mood', 'mood_suppressed') AS shown,
        status IN ('ok', 'no_mood') AS mood_shown,
        if(shown, coalesce(tracks, 0), NULL) AS tracks,
        if(shown, coalesce(with_mood, 0), NULL) AS with_mood,
        if(mood_shown, coalesce(positive, 0), NULL) AS positive,
        if(mood_shown, coalesce(neutral, 0), NULL) AS neutral,
        if(mood_shown, coalesce(negative, 0), NULL) AS negative
    FROM (
        SELECT store_id, camera_id, minute, max(coverage) AS coverage, max(tracks) AS tracks, max(with_mood) AS with_mood,
            max(positive) AS positive, max(neutral) AS neutral, max(negative) AS negative
        FROM (FROM seen UNION ALL BY NAME FROM watched) GROUP BY store_id, camera_id, minute
    )
)
SELECT cells.store_id, camera_id, minute, timezone(coalesce(s.timezone, 'UTC'), minute) AS minute_local,
    tracks, with_mood, positive, neutral, negative,
    (positive - negative) / nullif(with_mood, 0) AS net_sentiment,
    if(status = 'ok', greatest(-1, (positive - negative) / (with_mood + 2) - net_half(positive, negative, with_mood)), NULL)
        AS ci_low,
    if(status = 'ok', least(1, (positive - negative) / (with_mood + 2) + net_half(positive, negative, with_mood)), NULL)
        AS ci_high,
    1 - with_mood / nullif(tracks, 0) AS unknown_share,
    coverage, status
FROM cells ASOF LEFT JOIN store_versions s ON cells.store_id = s.store_id AND cells.minute >= s.valid_from;
