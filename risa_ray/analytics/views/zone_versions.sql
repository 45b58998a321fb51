-- zone_versions: one row per zone and period in which its description held (valid_from <= t < valid_to).
-- Columns of `zones`, and valid_to. The first description also holds for all time before. docs/metrics.md: context.
CREATE VIEW zone_versions AS
SELECT * EXCLUDE valid_from,
    if(lag(valid_from) OVER versions IS NULL, '-infinity'::TIMESTAMPTZ, valid_from) AS valid_from,
    coalesce(lead(valid_from) OVER versions, 'infinity'::TIMESTAMPTZ) AS valid_to
FROM zones
WINDOW versions AS (PARTITION BY camera_id, zone_id ORDER BY valid_from);
