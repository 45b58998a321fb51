-- people.minutes: people.open_minutes, and those of days that are closed, with the same columns.
-- docs/metrics.md: observation weight, closed days.
CREATE VIEW people.minutes AS
FROM people.open_minutes
UNION ALL BY NAME
SELECT store_id, camera_id, session_id, track_id, m.minute, m.known, m.known_s, m.valence_sum
FROM (SELECT store_id, camera_id, session_id, track_id, unnest(minutes) AS m FROM people.closed_tracks);
