-- next_products: one row per camera and ordered pair of its product zones that at least k tracks stayed in.
--   zone_id, next_zone_id; next_name, next_tags: of the second
--   tracks       people with a stay at both; of them those who stayed at the first: zone_tracks
--   support      0..1, tracks / all tracks of the camera with a product stay
--   confidence   0..1, tracks / zone_tracks, with its 95 % interval (_low, _high)
--   lift         confidence / share of all who stayed at the second; lift_low, lift_high: its 95 % interval (delta
--                method on the logarithm)
--   rank         1 is the best of its zone: by lift_low
-- Over the period of the variables `since` and `until`, as in journey. Pairs below k are left out; shelves side by side
-- co-occur by geometry. docs/metrics.md: next products, k-floor.
CREATE VIEW next_products AS
WITH dated AS (
    SELECT p.*, local_date(p.entered_at, s.timezone) AS day
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
    WHERE p.zone_kind = 'product'
), visited AS (
    SELECT store_id, camera_id, session_id, track_id, zone_id, max(entered_at) AS entered_at
    FROM dated WHERE in_period(day) GROUP BY store_id, camera_id, session_id, track_id, zone_id
), all_tracks AS (
    SELECT store_id, camera_id, count(DISTINCT (session_id, track_id)) AS everybody
    FROM visited GROUP BY store_id, camera_id
), single AS (
    SELECT store_id, camera_id, zone_id, count(*) AS n, max(entered_at) AS last_entered
    FROM visited GROUP BY store_id, camera_id, zone_id
), pairs AS (
    SELECT a.store_id, a.camera_id, a.zone_id, b.zone_id AS next_zone_id, count(*) AS shared
    FROM visited a JOIN visited b USING (store_id, camera_id, session_id, track_id)
    WHERE a.zone_id <> b.zone_id GROUP BY a.store_id, a.camera_id, a.zone_id, b.zone_id
    HAVING count(*) >= getvariable('k')
), figured AS (
    SELECT p.store_id, p.camera_id, p.zone_id, p.next_zone_id, p.shared, a.n AS zone_tracks, b.n AS next_tracks,
        everybody, b.last_entered, p.shared * everybody / (a.n * b.n) AS lift,
        sqrt(greatest(1 / p.shared - 1 / a.n - 1 / b.n + 1 / everybody, 0)) AS log_se
    FROM pairs p
    JOIN single a ON a.store_id = p.store_id AND a.camera_id = p.camera_id AND a.zone_id = p.zone_id
    JOIN single b ON b.store_id = p.store_id AND b.camera_id = p.camera_id AND b.zone_id = p.next_zone_id
    JOIN all_tracks t ON t.store_id = p.store_id AND t.camera_id = p.camera_id
)
SELECT f.store_id, f.camera_id, f.zone_id, next_zone_id, z.name AS next_name, z.tags AS next_tags,
    shared AS tracks, zone_tracks, shared / everybody AS support,
    shared / zone_tracks AS confidence,
    wilson_low(shared, zone_tracks) AS confidence_low,
    wilson_high(shared, zone_tracks) AS confidence_high,
    lift,
    lift * exp(-1.959963984540054 * log_se) AS lift_low,
    lift * exp(1.959963984540054 * log_se) AS lift_high,
    rank() OVER (
        PARTITION BY f.store_id, f.camera_id, f.zone_id ORDER BY lift * exp(-1.959963984540054 * log_se) DESC
    ) AS rank
FROM figured f ASOF LEFT JOIN zone_versions z
    ON f.store_id = z.store_id AND f.camera_id = z.camera_id AND f.next_zone_id = z.zone_id
    AND f.last_entered >= z.valid_from;
