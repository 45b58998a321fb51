-- people.entries: one row per track that came in: it was first seen in an entrance zone, stayed there for at least 1 s,
-- and was seen outside it afterwards.
--   entered_at  UTC
-- docs/metrics.md: footfall.
CREATE VIEW people.entries AS
SELECT t.store_id, t.camera_id, t.session_id, t.track_id, min(s.entered_at) AS entered_at
FROM people.tracks t JOIN people.stays s USING (store_id, session_id, track_id)
WHERE s.zone_kind = 'entrance' AND s.entered_at <= t.first_seen + INTERVAL 2 SECOND AND t.last_seen > s.left_at
GROUP BY t.store_id, t.camera_id, t.session_id, t.track_id;
