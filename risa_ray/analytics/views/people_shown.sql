-- people.shown: people.open_shown, and those of days that are closed, with the same columns.
-- docs/metrics.md: content response, closed days.
CREATE VIEW people.shown AS
FROM people.open_shown
UNION ALL BY NAME
SELECT store_id, camera_id, session_id, track_id, zone_id, stay_no, w.content_id, entered_at, w.shown_s, w.looked_s,
    w.known, w.known_s, w.valence_sum
FROM (
    SELECT store_id, camera_id, session_id, track_id, s.zone_id, s.stay_no, s.entered_at, unnest(s.shown) AS w
    FROM (SELECT store_id, camera_id, session_id, track_id, unnest(stays) AS s FROM people.closed_tracks)
);
