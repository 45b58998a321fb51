-- content_versions: one row per showing of a content on a screen (starts_at <= t < ends_at) and period in which the
-- content's schedule had it (valid_from <= t < valid_to): a schedule is all rows of a content of one valid_from.
-- Columns of `content`, and valid_to. The first schedule also holds for all time before. Descriptions that start in
-- the same millisecond belong to runs of the same footage: the last one holds. docs/metrics.md: context.
CREATE VIEW content_versions AS
WITH latest AS (
    SELECT * REPLACE (date_trunc('millisecond', valid_from) AS valid_from)
    FROM content
    QUALIFY rank() OVER (
        PARTITION BY store_id, camera_id, zone_id, content_id, date_trunc('millisecond', valid_from)
        ORDER BY content.valid_from DESC
    ) = 1
)
SELECT * EXCLUDE valid_from,
    if(valid_from = min(valid_from) OVER schedules, '-infinity'::TIMESTAMPTZ, valid_from) AS valid_from,
    coalesce(min(valid_from) OVER later, 'infinity'::TIMESTAMPTZ) AS valid_to
FROM latest
WINDOW schedules AS (PARTITION BY store_id, camera_id, zone_id, content_id),
    later AS (schedules ORDER BY valid_from GROUPS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING);
