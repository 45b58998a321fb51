-- next_products: one row per camera and ordered pair of its product zones that at least k tracks stayed in.
--   zone_id, next_zone_id; next_name, next_tags: of the second
--   tracks       people with a stay at both; of them those who stayed at the first: zone_tracks
--   support      0..1, tracks / all tracks of the camera with a product stay
--   confidence   0..1, tracks / zone_tracks, with its 95 % interval (_low, _high)
--   lift         confidence / share of all who stayed at the second; lift_low, lift_high: its 95 % interval (delta
--                method on the logarithm, for counts of one sample). Of pairs that are barely k it is too high: those
--                that happen to fall below are left out
--   rank         1 is the best of its zone: by lift_low
-- Over the period of the variables `since` and `until`, as in journey; and only of people whose first product stay in it
-- began in the local hour of the variables `hour` and `weekday`, where these are set. Pairs below k are left out; shelves
-- side by side co-occur by geometry. docs/metrics.md: next products, period, k-floor.
CREATE VIEW next_products AS
WITH dated AS (
    SELECT p.*, timezone(coalesce(s.timezone, 'UTC'), p.entered_at) AS local
    FROM people.stays p ASOF LEFT JOIN store_versions s ON p.store_id = s.store_id AND p.entered_at >= s.valid_from
    WHERE p.zone_kind = 'product'
), visited AS (
    SELECT store_id, camera_id, session_id, track_id, zone_id, max(entered_at) AS entered_at, min(local) AS local
    FROM dated WHERE in_period(local::DATE) GROUP BY store_id, camera_id, session_id, track_id, zone_id
), tracks AS (
    SELECT store_id, camera_id, list({zone_id: zone_id, entered_at: entered_at}) AS zones
    FROM visited GROUP BY store_id, camera_id, session_id, track_id HAVING in_hour(min(local))
), crossed AS (
    -- Each track's zones with each other: one with itself counts the zone's tracks, the one without a name all tracks.
    SELECT store_id, camera_id, one, unnest(zones) AS other
    FROM (
        SELECT store_id, camera_id, zones, unnest(zones) AS one
        FROM (SELECT store_id, camera_id, list_append(zones, {zone_id: '', entered_at: NULL}) AS zones FROM tracks)
    )
), pairs AS (
    SELECT store_id, camera_id, one.zone_id AS zone_id, other.zone_id AS next_zone_id, count(*) AS shared,
        max(other.entered_at) AS entered_at
    FROM crossed GROUP BY store_id, camera_id, one.zone_id, other.zone_id
), counted AS (
    SELECT *,
        max(shared) FILTER (zone_id = next_zone_id) OVER (PARTITION BY store_id, camera_id, zone_id) AS zone_tracks,
        max(shared) FILTER (zone_id = next_zone_id) OVER (PARTITION BY store_id, camera_id, next_zone_id) AS next_tracks,
        max(entered_at) OVER (PARTITION BY store_id, camera_id, next_zone_id) AS last_entered,
        max(shared) OVER (PARTITION BY store_id, camera_id) AS everybody
    FROM pairs
), figured AS (
    SELECT *, shared * everybody / (zone_tracks * next_tracks) AS lift,
        sqrt(greatest(1 / shared - 1 / zone_tracks - 1 / next_tracks + (2 * lift - 1) / everybody, 0)) AS log_se
    FROM counted WHERE zone_id <> next_zone_id AND '' NOT IN (zone_id, next_zone_id) AND shared >= getvariable('k')
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
