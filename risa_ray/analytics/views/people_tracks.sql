-- people.tracks: people.open_tracks, and those of days that are closed, with the same columns.
-- docs/metrics.md: track, closed days.
CREATE VIEW people.tracks AS
FROM people.open_tracks
UNION ALL BY NAME
SELECT store_id, camera_id, session_id, track_id, first_seen, last_seen, epoch(last_seen - first_seen) AS duration_s,
    observations, known, unknown_share, if(known >= 3, valence_sum / known_s, NULL) AS valence,
    mood_of(if(known >= 3, valence_sum / known_s, NULL)) AS mood, expression,
    known_s, valence_sum, valence_first, valence_last, first_x, first_y, last_x, last_y, face_px
FROM people.closed_tracks WHERE track_id IS NOT NULL;
