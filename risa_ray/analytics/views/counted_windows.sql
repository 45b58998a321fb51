-- people.counted_windows: one row per camera and 10 s window with analysed frames: which run counts in it.
--   run_id      the run of those with frames there that was started last; NULL where no run is known
--   counts_from from when on: where its recording starts within the window, what others saw before still counts
-- docs/metrics.md: footage run again.
CREATE VIEW people.counted_windows AS
WITH opened AS (
    SELECT run_id, min("at") AS opened_at FROM runs GROUP BY run_id
), begun AS (
    SELECT s.session_id, min(s.started_at) AS started_at
    FROM (SELECT unnest(sessions) AS s FROM runs) GROUP BY s.session_id
), of_run AS (
    SELECT store_id, camera_id, window_start, run_id, any_value(opened_at) AS opened_at,
        min(coalesce(started_at, window_start)) AS counts_from
    FROM people.open_frames LEFT JOIN opened USING (run_id) LEFT JOIN begun USING (session_id)
    WHERE analysed > 0
    GROUP BY store_id, camera_id, window_start, run_id
)
SELECT store_id, camera_id, window_start, run_id, counts_from
FROM of_run
QUALIFY row_number() OVER (
    PARTITION BY store_id, camera_id, window_start ORDER BY opened_at DESC NULLS LAST, run_id DESC NULLS LAST
) = 1;
