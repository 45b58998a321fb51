-- people.open_shown: one row per stay at a screen and content that ran on it meanwhile.
--   shown_s    seconds of the stay while the content ran; looked_s: of them with the face towards the screen, NULL
--              without yaw or look_yaw
--   known, known_s, valence_sum  as in people.tracks, while the content ran
-- docs/metrics.md: content response, looked.
CREATE VIEW people.open_shown AS
SELECT s.store_id, s.camera_id, s.session_id, s.track_id, s.zone_id, s.stay_no, c.content_id,
    any_value(s.entered_at) AS entered_at,
    sum(o.weight_s) AS shown_s,
    sum(if(abs(o.yaw_deg - z.look_yaw) <= 25, o.weight_s, 0)) FILTER (o.yaw_deg IS NOT NULL AND z.look_yaw IS NOT NULL)
        AS looked_s,
    count_if(o.known)::BIGINT AS known,
    coalesce(sum(o.weight_s) FILTER (o.known), 0) AS known_s,
    coalesce(sum(o.weight_s * o.valence) FILTER (o.known), 0) AS valence_sum
FROM people.open_stays s
JOIN people.stay_observations o USING (store_id, session_id, track_id, zone_id, stay_no)
JOIN content_versions c ON c.store_id = s.store_id AND c.camera_id = s.camera_id AND c.zone_id = s.zone_id
    AND c.active AND s.entered_at >= c.valid_from AND s.entered_at < c.valid_to
    AND o.captured_at >= c.starts_at AND o.captured_at < c.ends_at
JOIN zone_versions z ON z.store_id = s.store_id AND z.camera_id = s.camera_id AND z.zone_id = s.zone_id
    AND s.entered_at >= z.valid_from AND s.entered_at < z.valid_to
WHERE s.zone_kind = 'screen'
GROUP BY s.store_id, s.camera_id, s.session_id, s.track_id, s.zone_id, s.stay_no, c.content_id;
