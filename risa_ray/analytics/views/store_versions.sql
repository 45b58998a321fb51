-- store_versions: one row per store and period in which its description held (valid_from <= t < valid_to).
-- Columns of `stores`, and valid_to. The first description also holds for all time before. Descriptions that start in
-- the same millisecond belong to runs of the same footage: the last one holds. docs/metrics.md: context.
CREATE VIEW store_versions AS
WITH latest AS (
    SELECT * REPLACE (date_trunc('millisecond', valid_from) AS valid_from)
    FROM stores
    QUALIFY row_number() OVER (
        PARTITION BY store_id, date_trunc('millisecond', valid_from) ORDER BY stores.valid_from DESC
    ) = 1
)
SELECT * EXCLUDE valid_from,
    if(lag(valid_from) OVER versions IS NULL, '-infinity'::TIMESTAMPTZ, valid_from) AS valid_from,
    coalesce(lead(valid_from) OVER versions, 'infinity'::TIMESTAMPTZ) AS valid_to
FROM latest
WINDOW versions AS (PARTITION BY store_id ORDER BY valid_from);
