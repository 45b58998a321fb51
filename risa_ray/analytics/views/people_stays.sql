-- people.stays: people.open_stays, and those of days that are closed, with the same columns.
-- docs/metrics.md: stay, closed days.
CREATE VIEW people.stays AS
FROM people.open_stays
UNION ALL BY NAME
SELECT store_id, camera_id, session_id, track_id, s.zone_id, s.zone_kind, s.entered_at, s.left_at, s.dwell_s,
    if(s.known >= 3, s.valence_sum / s.known_s, NULL) AS valence,
    mood_of(if(s.known >= 3, s.valence_sum / s.known_s, NULL)) AS mood, s.censored, s.looked_s, s.valence_before,
    s.valence_after, s.stay_no, s.observations, s.known, s.known_s, s.valence_sum
FROM (SELECT store_id, camera_id, session_id, track_id, unnest(stays) AS s FROM people.closed_tracks);
