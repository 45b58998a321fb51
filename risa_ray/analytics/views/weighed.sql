-- people.weighed: one row per face per analysed frame: the columns of `observations`, and
--   weight_s  seconds that the observation stands for
--   known     whether its expression is not 'unknown'
-- docs/metrics.md: observation weight, known.
CREATE VIEW people.weighed AS
SELECT o.*,
    o.expression <> 'unknown' AS known,
    least(
        greatest(coalesce(lead(o.pts) OVER track - o.pts, 1 / c.sampling_fps, 1), 1e-6),
        greatest(1, coalesce(2 / c.sampling_fps, 1))
    ) AS weight_s
FROM people.observations o
ASOF LEFT JOIN camera_versions c ON o.camera_id = c.camera_id AND o.captured_at >= c.valid_from
WINDOW track AS (PARTITION BY o.session_id, o.track_id ORDER BY o.frame_seq);
