-- content_versions: one row per content of a screen and period in which its schedule held (valid_from <= t < valid_to).
-- Columns of `content`, and valid_to. The first description also holds for all time before. Descriptions that start in
-- the same millisecond belong to runs of the same footage: the last one holds. docs/metrics.md: context.
CREATE VIEW content_versions AS
WITH latest AS (
    SELECT * REPLACE (date_trunc('millisecond', valid_from) AS valid_from)
    FROM content
    QUALIFY row_number() OVER (
        PARTITION BY store_id, camera_id, zone_id, content_id, date_trunc('millisecond', valid_from)
        ORDER BY content.valid_from DESC
    ) = 1
)
SELECT * EXCLUDE valid_from,
    if(lag(valid_from) OVER versions IS NULL, '-infinity'::TIMESTAMPTZ, valid_from) AS valid_from,
    coalesce(lead(valid_from) OVER versions, 'infinity'::TIMESTAMPTZ) AS valid_to
FROM latest
WINDOW versions AS (PARTITION BY store_id, camera_id, zone_id, content_id ORDER BY valid_from);
