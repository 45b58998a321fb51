-- store_versions: one row per store and period in which its description held (valid_from <= t < valid_to).
-- Columns of `stores`, and valid_to. The first description also holds for all time before. docs/metrics.md: context.
CREATE VIEW store_versions AS
SELECT * EXCLUDE valid_from,
    if(lag(valid_from) OVER versions IS NULL, '-infinity'::TIMESTAMPTZ, valid_from) AS valid_from,
    coalesce(lead(valid_from) OVER versions, 'infinity'::TIMESTAMPTZ) AS valid_to
FROM stores
WINDOW versions AS (PARTITION BY store_id ORDER BY valid_from);
