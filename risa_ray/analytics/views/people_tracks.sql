-- people.tracks: one row per track, which is one person followed by one camera in one session.
--   first_seen, last_seen (UTC), duration_s, observations, known (count of them)
--   unknown_share  0..1, by weight
--   valence        -1..1, weighted mean of the known observations; NULL below 3
--   mood           positive, neutral, negative, unknown
--   expression     the known one with the most weight, NULL without one
-- docs/metrics.md: track, known, observation weight, valence, net sentiment.
CREATE VIEW people.tracks AS
WITH by_expression AS (
    SELECT store_id, session_id, track_id, expression, sum(weight_s) AS weight_s
    FROM people.weighed WHERE known GROUP BY store_id, session_id, track_id, expression
), most AS (
    SELECT store_id, session_id, track_id, first(expression ORDER BY weight_s DESC, expression) AS expression
    FROM by_expression GROUP BY store_id, session_id, track_id
), summed AS (
    SELECT store_id, camera_id, session_id, track_id,
        min(captured_at) AS first_seen,
        max(captured_at) AS last_seen,
        count(*) AS observations,
        count_if(known)::BIGINT AS known,
        coalesce(sum(weight_s) FILTER (NOT known), 0) / sum(weight_s) AS unknown_share,
        if(count_if(known) >= 3, sum(weight_s * valence) FILTER (known) / sum(weight_s) FILTER (known), NULL) AS valence
    FROM people.weighed GROUP BY store_id, camera_id, session_id, track_id
)
SELECT store_id, camera_id, session_id, track_id, first_seen, last_seen,
    epoch(last_seen - first_seen) AS duration_s,
    observations, known, unknown_share, valence, mood_of(valence) AS mood, most.expression
FROM summed LEFT JOIN most USING (store_id, session_id, track_id);
