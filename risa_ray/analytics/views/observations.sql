-- observations: one row per face per analysed frame; refuses while k > 1, since its rows are single people.
-- x1 y1 x2 y2, face_px: source px; yaw_deg: degrees; p_<expression>: calibrated, sum 1; valence: -1..1; pts: s.
-- docs/metrics.md: valence, k-floor.
CREATE VIEW observations AS SELECT * FROM people.observations WHERE single_people('observations');
