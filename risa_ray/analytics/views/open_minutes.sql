-- people.open_minutes: one row per track and minute (UTC) in which it was seen.
--   known, known_s, valence_sum  as in people.tracks, of the minute
-- docs/metrics.md: observation weight, known.
CREATE VIEW people.open_minutes AS
SELECT store_id, camera_id, session_id, track_id, time_bucket(INTERVAL 1 MINUTE, captured_at) AS minute,
    count_if(known)::BIGINT AS known,
    coalesce(sum(weight_s) FILTER (known), 0) AS known_s,
    coalesce(sum(weight_s * valence) FILTER (known), 0) AS valence_sum
FROM people.weighed GROUP BY store_id, camera_id, minute, session_id, track_id;
