-- people.open_tracks: one row per track, which is one person followed by one camera in one session.
--   first_seen, last_seen (UTC), duration_s, observations, known (count of them)
--   unknown_share  0..1, by weight
--   valence        -1..1, weighted mean of the known observations; NULL below 3
--   mood           positive, neutral, negative, unknown
--   expression     the known one with the most weight, NULL without one
--   known_s, valence_sum  seconds of the known observations, and valence times seconds over them
--   valence_first, valence_last  -1..1, in the first and the last third of its time; NULL below 3 known there
--   first_x, first_y, last_x, last_y  centre of the first and the last box, source px; face_px: mean shorter side
-- docs/metrics.md: track, known, observation weight, valence, net sentiment, journey.
CREATE VIEW people.open_tracks AS
WITH by_expression AS (
    SELECT store_id, session_id, track_id, expression, sum(weight_s) AS weight_s
    FROM people.weighed WHERE known GROUP BY store_id, session_id, track_id, expression
), most AS (
    SELECT store_id, session_id, track_id, first(expression ORDER BY weight_s DESC, expression) AS expression
    FROM by_expression GROUP BY store_id, session_id, track_id
), summed AS (
    SELECT store_id, camera_id, session_id, track_id,
        any_value(began) AS first_seen,
        any_value(ended) AS last_seen,
        count(*) AS observations,
        count_if(known)::BIGINT AS known,
        coalesce(sum(weight_s) FILTER (known), 0) AS known_s,
        coalesce(sum(weight_s * valence) FILTER (known), 0) AS valence_sum,
        coalesce(sum(weight_s) FILTER (NOT known), 0) / sum(weight_s) AS unknown_share,
        if(count_if(known AND captured_at < began + (ended - began) / 3) >= 3,
            sum(weight_s * valence) FILTER (known AND captured_at < began + (ended - began) / 3)
            / sum(weight_s) FILTER (known AND captured_at < began + (ended - began) / 3), NULL) AS valence_first,
        if(count_if(known AND captured_at > ended - (ended - began) / 3) >= 3,
            sum(weight_s * valence) FILTER (known AND captured_at > ended - (ended - began) / 3)
            / sum(weight_s) FILTER (known AND captured_at > ended - (ended - began) / 3), NULL) AS valence_last,
        arg_min((x1 + x2) / 2, frame_seq) AS first_x, arg_min((y1 + y2) / 2, frame_seq) AS first_y,
        arg_max((x1 + x2) / 2, frame_seq) AS last_x, arg_max((y1 + y2) / 2, frame_seq) AS last_y,
        avg(face_px) AS face_px
    FROM people.weighed GROUP BY store_id, camera_id, session_id, track_id
)
SELECT store_id, camera_id, session_id, track_id, first_seen, last_seen,
    epoch(last_seen - first_seen) AS duration_s,
    observations, known, unknown_share, if(known >= 3, valence_sum / known_s, NULL) AS valence,
    mood_of(if(known >= 3, valence_sum / known_s, NULL)) AS mood, most.expression,
    known_s, valence_sum, valence_first, valence_last, first_x, first_y, last_x, last_y, face_px
FROM summed LEFT JOIN most USING (store_id, session_id, track_id);
