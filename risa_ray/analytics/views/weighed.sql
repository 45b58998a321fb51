-- people.weighed: one row per face per analysed frame, each moment of a camera from one run: the columns of
-- `observations`, and
--   weight_s  seconds that the observation stands for
--   known     whether its expression is not 'unknown'
--   bridge_s  seconds: the longest gap within a stay
--   began, ended  UTC: of the track
-- docs/metrics.md: observation weight, known, stay, footage run again.
CREATE VIEW people.weighed AS
WITH run_of AS (
    SELECT store_id, session_id, max(run_id) AS run_id FROM people.open_frames
    WHERE session_id IS NOT NULL GROUP BY store_id, session_id
), counted AS (
    SELECT o.*
    FROM people.open_observations o
    LEFT JOIN run_of USING (store_id, session_id)
    LEFT JOIN people.counted_windows w
        ON o.store_id = w.store_id AND o.camera_id = w.camera_id
        AND time_bucket(INTERVAL 10 SECOND, o.captured_at) = w.window_start
    -- A session whose first window is not written yet has no run so far.
    WHERE (coalesce(run_of.run_id = w.run_id, true) OR o.captured_at < w.counts_from)
        -- A day that is read for the sake of another holds tracks that are closed already.
        AND NOT EXISTS (
            FROM people.crossing_tracks t
            WHERE t.store_id = o.store_id AND t.session_id = o.session_id AND t.track_id = o.track_id
                AND (t.last_seen::DATE > t.date OR list_contains(getvariable('read_again'), t.date))
        )
)
SELECT o.*,
    o.expression <> 'unknown' AS known,
    least(
        greatest(coalesce(lead(o.pts) OVER track - o.pts, 1 / c.sampling_fps, 1), 1e-6),
        greatest(1, coalesce(2 / c.sampling_fps, 1))
    ) AS weight_s,
    greatest(2, coalesce(2 / c.sampling_fps, 2)) AS bridge_s,
    min(captured_at) OVER whole AS began, max(captured_at) OVER whole AS ended
FROM counted o
LEFT JOIN camera_versions c
    ON o.store_id = c.store_id AND o.camera_id = c.camera_id
    AND o.captured_at >= c.valid_from AND o.captured_at < c.valid_to
WINDOW
    track AS (PARTITION BY o.store_id, o.session_id, o.track_id ORDER BY o.frame_seq),
    whole AS (
        PARTITION BY o.store_id, o.session_id, o.track_id ORDER BY o.frame_seq
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    );
