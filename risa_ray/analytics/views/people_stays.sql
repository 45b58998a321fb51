-- people.stays: one row per stay of a track in a zone, of at least 1 s.
--   zone_kind            NULL where the context does not know the zone
--   entered_at, left_at  UTC; dwell_s is the time between
--   valence, mood        of the known observations of the stay, as in people.tracks
--   censored             the end may not be the person's leaving: before a gap could have told (2 s, or
--                        2 / sampling_fps) the session ended or its frames stopped coming, or the last box lay
--                        within 1 % of the picture's edge
--   stay_no, observations, known
-- docs/metrics.md: stay.
CREATE VIEW people.stays AS
WITH spans AS (
    SELECT store_id, camera_id, session_id, zone_id, track_id, stay_no,
        min(captured_at) AS entered_at,
        max(captured_at) AS left_at,
        max(frame_seq) AS last_seq,
        max(bridge_s) AS bridge_s,
        max(frame_seq) - min(frame_seq) AS frames,
        count(*) AS observations,
        count_if(known)::BIGINT AS known,
        if(count_if(known) >= 3, sum(weight_s * valence) FILTER (known) / sum(weight_s) FILTER (known), NULL) AS valence,
        arg_max(x1, frame_seq) AS x1, arg_max(y1, frame_seq) AS y1,
        arg_max(x2, frame_seq) AS x2, arg_max(y2, frame_seq) AS y2
    FROM people.stay_observations
    GROUP BY store_id, camera_id, session_id, zone_id, track_id, stay_no
    HAVING max(captured_at) - min(captured_at) >= INTERVAL 1 SECOND
), zoned AS (
    SELECT spans.*, epoch(left_at - entered_at) AS dwell_s, z.kind AS zone_kind
    FROM spans ASOF LEFT JOIN zone_versions z
        ON spans.store_id = z.store_id AND spans.camera_id = z.camera_id AND spans.zone_id = z.zone_id
        AND spans.entered_at >= z.valid_from
), pictured AS (
    SELECT zoned.*,
        x1 <= coalesce(0.01 * c.width, 0) OR y1 <= coalesce(0.01 * c.height, 0)
        OR coalesce(x2 >= 0.99 * c.width, false) OR coalesce(y2 >= 0.99 * c.height, false) AS at_edge
    FROM zoned ASOF LEFT JOIN camera_versions c
        ON zoned.store_id = c.store_id AND zoned.camera_id = c.camera_id AND zoned.left_at >= c.valid_from
), sessions AS (
    SELECT store_id, session_id, max(last_seq) AS session_last FROM frames
    WHERE session_id IS NOT NULL GROUP BY store_id, session_id
), delivering AS (
    SELECT DISTINCT store_id, session_id, window_start FROM frames WHERE analysed > 0
)
SELECT pictured.store_id, camera_id, pictured.session_id, zone_id, zone_kind, track_id, entered_at, left_at, dwell_s,
    valence, mood_of(valence) AS mood,
    -- Frames after the last one, at the pace of the stay's own frames, in seconds.
    coalesce((session_last - last_seq) * dwell_s / frames < bridge_s, true)
        OR delivering.session_id IS NULL OR at_edge AS censored,
    stay_no, observations, known
FROM pictured
LEFT JOIN sessions ON sessions.store_id = pictured.store_id AND sessions.session_id = pictured.session_id
LEFT JOIN delivering ON delivering.store_id = pictured.store_id AND delivering.session_id = pictured.session_id
    AND delivering.window_start = time_bucket(INTERVAL 10 SECOND, left_at + to_microseconds((bridge_s * 1e6)::BIGINT));
