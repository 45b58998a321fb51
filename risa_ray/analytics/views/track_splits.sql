-- track_splits: one row per camera and local day: how many tracks look like the second half of another.
--   tracks      of the day; suspected: those that begin within 5 s after the end of another track of the session, at most
--               two face sizes from where that one ended; split_share: suspected / tracks
--   status      ok, suppressed (fewer than k tracks)
-- Counts of tracks are too high by about split_share / (1 - split_share). Footfall is too low instead: who is split in
-- the entrance, before leaving it, is not seen to come in.
-- docs/metrics.md: split tracks, k-floor.
CREATE VIEW track_splits AS
WITH dated AS (
    SELECT t.*, local_date(t.first_seen, s.timezone) AS day
    FROM people.tracks t ASOF LEFT JOIN store_versions s ON t.store_id = s.store_id AND t.first_seen >= s.valid_from
), followed AS (
    SELECT DISTINCT b.store_id, b.session_id, b.track_id
    FROM dated a JOIN dated b ON a.store_id = b.store_id AND a.session_id = b.session_id AND a.track_id <> b.track_id
        AND b.first_seen > a.last_seen AND b.first_seen <= a.last_seen + INTERVAL 5 SECOND
    WHERE sqrt((b.first_x - a.last_x) ** 2 + (b.first_y - a.last_y) ** 2) <= 2 * a.face_px
), cells AS (
    SELECT dated.store_id, dated.camera_id, day, count(*) AS n, count(followed.track_id) AS s
    FROM dated LEFT JOIN followed USING (store_id, session_id, track_id)
    GROUP BY dated.store_id, dated.camera_id, day
)
SELECT store_id, camera_id, day,
    if(n >= getvariable('k'), n, NULL) AS tracks,
    if(n >= getvariable('k'), s, NULL) AS suspected,
    if(n >= getvariable('k'), s / n, NULL) AS split_share,
    if(n >= getvariable('k'), 'ok', 'suppressed') AS status
FROM cells;
