-- people.open_stays: one row per stay of a track in a zone, of at least 1 s.
--   zone_kind            NULL where the context does not know the zone
--   entered_at, left_at  UTC; dwell_s is the time between
--   valence, mood        of the known observations of the stay, as in people.tracks
--   censored             the end may not be the person's leaving: before a gap could have told (2 s, or
--                        2 / sampling_fps) the session ended or its frames stopped coming, or the last box lay
--                        within 1 % of the picture's edge
--   looked_s             seconds with the face within 25 degrees of the zone's look_yaw; NULL without yaw or look_yaw
--   valence_before, valence_after  -1..1, of the track's 30 s before and after a service stay of at least 10 s; NULL
--                        below 3 known observations there, and for every other stay
--   stay_no, observations, known, and known_s, valence_sum as in people.tracks
-- docs/metrics.md: stay, looked, service interaction.
CREATE VIEW people.open_stays AS
WITH spans AS (
    SELECT store_id, camera_id, session_id, zone_id, track_id, stay_no,
        min(captured_at) AS entered_at,
        max(captured_at) AS left_at,
        max(frame_seq) AS last_seq,
        max(bridge_s) AS bridge_s,
        max(frame_seq) - min(frame_seq) AS frames,
        count(*) AS observations,
        count_if(known)::BIGINT AS known,
        coalesce(sum(weight_s) FILTER (known), 0) AS known_s,
        coalesce(sum(weight_s * valence) FILTER (known), 0) AS valence_sum,
        arg_max(x1, frame_seq) AS x1, arg_max(y1, frame_seq) AS y1,
        arg_max(x2, frame_seq) AS x2, arg_max(y2, frame_seq) AS y2
    FROM people.stay_observations
    GROUP BY store_id, camera_id, session_id, zone_id, track_id, stay_no
    HAVING max(captured_at) - min(captured_at) >= INTERVAL 1 SECOND
), zoned AS (
    SELECT spans.*, epoch(left_at - entered_at) AS dwell_s, z.kind AS zone_kind, z.look_yaw
    FROM spans ASOF LEFT JOIN zone_versions z
        ON spans.store_id = z.store_id AND spans.camera_id = z.camera_id AND spans.zone_id = z.zone_id
        AND spans.entered_at >= z.valid_from
), pictured AS (
    SELECT zoned.*,
        x1 <= coalesce(0.01 * c.width, 0) OR y1 <= coalesce(0.01 * c.height, 0)
        OR coalesce(x2 >= 0.99 * c.width, false) OR coalesce(y2 >= 0.99 * c.height, false) AS at_edge
    FROM zoned ASOF LEFT JOIN camera_versions c
        ON zoned.store_id = c.store_id AND zoned.camera_id = c.camera_id AND zoned.left_at >= c.valid_from
), looked AS (
    SELECT o.store_id, o.session_id, o.track_id, o.zone_id, o.stay_no,
        sum(if(abs(o.yaw_deg - z.look_yaw) <= 25, o.weight_s, 0)) FILTER (o.yaw_deg IS NOT NULL) AS looked_s
    FROM people.stay_observations o JOIN zoned z USING (store_id, session_id, track_id, zone_id, stay_no)
    WHERE z.look_yaw IS NOT NULL
    GROUP BY o.store_id, o.session_id, o.track_id, o.zone_id, o.stay_no
), around AS (
    SELECT z.store_id, z.session_id, z.track_id, z.zone_id, z.stay_no,
        o.captured_at < z.entered_at AS before, sum(o.weight_s * o.valence) / sum(o.weight_s) AS valence
    FROM zoned z JOIN people.weighed o USING (store_id, session_id, track_id)
    WHERE z.zone_kind = 'service' AND z.dwell_s >= 10 AND o.known
        AND (o.captured_at >= z.entered_at - INTERVAL 30 SECOND AND o.captured_at < z.entered_at
            OR o.captured_at > z.left_at AND o.captured_at <= z.left_at + INTERVAL 30 SECOND)
    GROUP BY z.store_id, z.session_id, z.track_id, z.zone_id, z.stay_no, before
    HAVING count(*) >= 3
), served AS (
    SELECT store_id, session_id, track_id, zone_id, stay_no,
        any_value(valence) FILTER (before) AS valence_before, any_value(valence) FILTER (NOT before) AS valence_after
    FROM around GROUP BY store_id, session_id, track_id, zone_id, stay_no
), sessions AS (
    SELECT store_id, session_id, max(last_seq) AS session_last FROM people.open_frames
    WHERE session_id IS NOT NULL GROUP BY store_id, session_id
), delivering AS (
    SELECT DISTINCT store_id, session_id, window_start FROM people.open_frames WHERE analysed > 0
)
SELECT pictured.store_id, camera_id, pictured.session_id, pictured.zone_id, zone_kind, pictured.track_id, entered_at, left_at,
    dwell_s, if(known >= 3, valence_sum / known_s, NULL) AS valence,
    mood_of(if(known >= 3, valence_sum / known_s, NULL)) AS mood,
    -- Frames after the last one, at the pace of the stay's own frames, in seconds.
    coalesce((session_last - last_seq) * dwell_s / frames < bridge_s, true)
        OR delivering.session_id IS NULL OR at_edge AS censored,
    looked_s, valence_before, valence_after, pictured.stay_no, observations, known, known_s, valence_sum
FROM pictured
LEFT JOIN looked ON looked.store_id = pictured.store_id AND looked.session_id = pictured.session_id
    AND looked.track_id = pictured.track_id AND looked.zone_id = pictured.zone_id AND looked.stay_no = pictured.stay_no
LEFT JOIN served ON served.store_id = pictured.store_id AND served.session_id = pictured.session_id
    AND served.track_id = pictured.track_id AND served.zone_id = pictured.zone_id AND served.stay_no = pictured.stay_no
LEFT JOIN sessions ON sessions.store_id = pictured.store_id AND sessions.session_id = pictured.session_id
LEFT JOIN delivering ON delivering.store_id = pictured.store_id AND delivering.session_id = pictured.session_id
    AND delivering.window_start = time_bucket(INTERVAL 10 SECOND, left_at + to_microseconds((bridge_s * 1e6)::BIGINT));
