-- people.stay_observations: one row per observation and zone that it lies in: the columns of people.weighed, and
--   zone_id
--   stay_no  number of the stay among those of the track in the zone; a gap above bridge_s starts the next
-- docs/metrics.md: stay.
CREATE VIEW people.stay_observations AS
WITH placed AS (
    SELECT * EXCLUDE zone_ids, unnest(zone_ids) AS zone_id FROM people.weighed
), marked AS (
    SELECT *, coalesce(
        -- Capture times are whole microseconds, and a gap of exactly 2 / sampling_fps is bridged.
        epoch(captured_at - lag(captured_at) OVER in_zone) > bridge_s + 1e-5, true) AS starts
    FROM placed
    WINDOW in_zone AS (PARTITION BY store_id, session_id, track_id, zone_id ORDER BY frame_seq)
)
SELECT * EXCLUDE starts, (sum(starts::INTEGER) OVER in_zone)::BIGINT AS stay_no
FROM marked
WINDOW in_zone AS (PARTITION BY store_id, session_id, track_id, zone_id ORDER BY frame_seq);
