-- people.waits: one row per stay in a queue.
--   completed  the track was at a service or checkout zone of the camera at the latest 10 s after it left the queue
--   wait_s     seconds from entering the queue to being served; not completed: to leaving the queue, a lower bound
--   served_at  UTC, NULL when not completed; target_wait_s: of the queue's zone
-- docs/metrics.md: wait.
CREATE VIEW people.waits AS
WITH waited AS (
    SELECT q.store_id, q.camera_id, q.session_id, q.track_id, q.zone_id, q.stay_no, q.entered_at,
        any_value(q.left_at) AS left_at, min(t.entered_at) AS served_at
    FROM people.stays q LEFT JOIN people.stays t
        ON q.store_id = t.store_id AND q.session_id = t.session_id AND q.track_id = t.track_id
        AND t.zone_kind IN ('service', 'checkout')
        AND t.entered_at >= q.entered_at AND t.entered_at <= q.left_at + INTERVAL 10 SECOND
    WHERE q.zone_kind = 'queue'
    GROUP BY q.store_id, q.camera_id, q.session_id, q.track_id, q.zone_id, q.stay_no, q.entered_at
)
SELECT waited.store_id, waited.camera_id, session_id, track_id, waited.zone_id, stay_no, entered_at, left_at, served_at,
    served_at IS NOT NULL AS completed,
    epoch(coalesce(served_at, left_at) - entered_at) AS wait_s,
    coalesce(z.target_wait_s, 180) AS target_wait_s
FROM waited ASOF LEFT JOIN zone_versions z
    ON waited.store_id = z.store_id AND waited.camera_id = z.camera_id AND waited.zone_id = z.zone_id
    AND waited.entered_at >= z.valid_from;
