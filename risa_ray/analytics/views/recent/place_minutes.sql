-- place_minutes: one row per camera (zone_id NULL) and minute as mood_by_minute has it, and one per zone of it that is
-- looked at. Everybody whose face lay in the zone counts there, however briefly, as in live figures.
--   tracks, net_sentiment, status  as in mood_by_minute; a zone is also suppressed (mood_suppressed) where the camera's
--                                  people (with a mood) without those of the shown zones would be 1 to k - 1, or
--                                  where it lies within a zone that has 1 to k - 1 more
-- Only of what `open_recent` reads: nothing of it is kept of closed days. docs/metrics.md: live figures, k-floor.
CREATE VIEW place_minutes AS
WITH cameras AS (
    SELECT store_id, camera_id, minute, tracks, net_sentiment, coverage, status FROM mood_by_minute
), placed AS (
    SELECT store_id, camera_id, session_id, track_id, unnest(zone_ids) AS zone_id,
        time_bucket(INTERVAL 1 MINUTE, captured_at) AS minute, known, weight_s, valence
    FROM people.weighed
), visits AS (
    SELECT store_id, camera_id, minute, zone_id, session_id, track_id,
        if(count_if(known) >= 3, sum(weight_s * valence) FILTER (known) / sum(weight_s) FILTER (known), NULL) AS valence
    FROM placed GROUP BY store_id, camera_id, minute, zone_id, session_id, track_id
), watched AS (
    -- With those in which nobody was.
    SELECT c.store_id, c.camera_id, c.minute, c.coverage, z.zone_id
    FROM cameras c JOIN zone_versions z
        ON c.store_id = z.store_id AND c.camera_id = z.camera_id AND c.minute >= z.valid_from AND c.minute < z.valid_to
    WHERE z.active AND z.kind NOT IN ('staff', 'mask')
), everybody AS (
    SELECT store_id, camera_id, minute, count(*) AS everybody, count_if(known >= 3) AS everybody_felt
    FROM people.minutes GROUP BY store_id, camera_id, minute
), cells AS (
    SELECT store_id, camera_id, minute, zone_id, any_value(coverage) AS coverage, count(track_id) AS n,
        count(valence) AS moods, count_if(valence >= 0.2) AS p, count_if(valence <= -0.2) AS q,
        coalesce(any_value(everybody), 0) AS everybody, coalesce(any_value(everybody_felt), 0) AS everybody_felt
    FROM watched LEFT JOIN visits USING (store_id, camera_id, minute, zone_id)
        LEFT JOIN everybody USING (store_id, camera_id, minute)
    GROUP BY store_id, camera_id, minute, zone_id
), pairs AS (
    -- How many of a zone were in another one, too.
    SELECT v.store_id, v.camera_id, v.minute, v.zone_id, o.zone_id AS other_id, count(*) AS n,
        count_if(v.valence IS NOT NULL AND o.valence IS NOT NULL) AS moods
    FROM visits v JOIN visits o USING (store_id, camera_id, minute, session_id, track_id)
    WHERE v.zone_id <> o.zone_id
    GROUP BY v.store_id, v.camera_id, v.minute, v.zone_id, o.zone_id
), sized AS (
    SELECT *, n = 0 OR n < getvariable('k') OR everybody - n BETWEEN 1 AND getvariable('k') - 1 AS few FROM cells
), within AS (
    -- Zones that lie in a larger one, which would tell of those beside them.
    SELECT DISTINCT z.store_id, z.camera_id, z.minute, z.zone_id
    FROM sized z JOIN pairs p USING (store_id, camera_id, minute, zone_id, n)
        JOIN sized o ON z.store_id = o.store_id AND z.camera_id = o.camera_id AND z.minute = o.minute
            AND p.other_id = o.zone_id
    WHERE NOT o.few AND o.n - z.n BETWEEN 1 AND getvariable('k') - 1
), ranked AS (
    SELECT * REPLACE (few OR hidden AS few),
        row_number() OVER (PARTITION BY store_id, camera_id, minute, few OR hidden ORDER BY n DESC, zone_id) AS place
    FROM (SELECT sized.*, w.zone_id IS NOT NULL AS hidden
        FROM sized LEFT JOIN within w USING (store_id, camera_id, minute, zone_id))
), first_seen AS (
    SELECT store_id, camera_id, minute, place, count(*) AS fresh
    FROM (
        SELECT store_id, camera_id, minute, min(place) AS place
        FROM visits JOIN ranked USING (store_id, camera_id, minute, zone_id)
        WHERE NOT few GROUP BY store_id, camera_id, minute, session_id, track_id
    ) GROUP BY store_id, camera_id, minute, place
), left_over AS (
    SELECT r.*, everybody - sum(coalesce(fresh, 0)) OVER upto AS rest
    FROM ranked r LEFT JOIN first_seen f
        ON NOT few AND r.store_id = f.store_id AND r.camera_id = f.camera_id AND r.minute = f.minute AND r.place = f.place
    WINDOW upto AS (PARTITION BY r.store_id, r.camera_id, r.minute, few ORDER BY r.place)
), told AS (
    -- From the fullest zone on, as far as those who are left over then are nobody, or k and more.
    SELECT * EXCLUDE (few, hidden, place, rest),
        NOT few AND coalesce(place <= max(place) FILTER (NOT few AND rest NOT BETWEEN 1 AND getvariable('k') - 1)
            OVER (PARTITION BY store_id, camera_id, minute), false) AS told
    FROM left_over
), felt_sized AS (
    -- The same of those with a mood, in the zones that are left.
    SELECT *, NOT told OR moods = 0 OR moods < getvariable('k')
            OR everybody_felt - moods BETWEEN 1 AND getvariable('k') - 1 AS few
    FROM told
), felt_within AS (
    SELECT DISTINCT z.store_id, z.camera_id, z.minute, z.zone_id
    FROM felt_sized z JOIN pairs p USING (store_id, camera_id, minute, zone_id, moods)
        JOIN felt_sized o ON z.store_id = o.store_id AND z.camera_id = o.camera_id AND z.minute = o.minute
            AND p.other_id = o.zone_id
    WHERE NOT o.few AND o.moods - z.moods BETWEEN 1 AND getvariable('k') - 1
), felt_ranked AS (
    SELECT * REPLACE (few OR hidden AS few),
        row_number() OVER (PARTITION BY store_id, camera_id, minute, few OR hidden ORDER BY moods DESC, zone_id)
            AS place
    FROM (SELECT felt_sized.*, w.zone_id IS NOT NULL AS hidden
        FROM felt_sized LEFT JOIN felt_within w USING (store_id, camera_id, minute, zone_id))
), felt_first AS (
    SELECT store_id, camera_id, minute, place, count(*) AS fresh
    FROM (
        SELECT store_id, camera_id, minute, min(place) AS place
        FROM visits JOIN felt_ranked USING (store_id, camera_id, minute, zone_id)
        WHERE NOT few AND valence IS NOT NULL GROUP BY store_id, camera_id, minute, session_id, track_id
    ) GROUP BY store_id, camera_id, minute, place
), felt_left AS (
    SELECT r.*, everybody_felt - sum(coalesce(fresh, 0)) OVER upto AS rest
    FROM felt_ranked r LEFT JOIN felt_first f
        ON NOT few AND r.store_id = f.store_id AND r.camera_id = f.camera_id AND r.minute = f.minute AND r.place = f.place
    WINDOW upto AS (PARTITION BY r.store_id, r.camera_id, r.minute, few ORDER BY r.place)
), felt AS (
    SELECT * EXCLUDE (few, hidden, place, rest),
        NOT few AND coalesce(place <= max(place) FILTER (NOT few AND rest NOT BETWEEN 1 AND getvariable('k') - 1)
            OVER (PARTITION BY store_id, camera_id, minute), false) AS felt_told
    FROM felt_left
), judged AS (
    SELECT *, CASE
            WHEN NOT told AND (n > 0 OR everybody BETWEEN 1 AND getvariable('k') - 1) THEN 'suppressed'
            WHEN coverage < 0.5 THEN 'low_coverage'
            WHEN felt_told THEN 'ok'
            WHEN moods > 0 OR everybody_felt BETWEEN 1 AND getvariable('k') - 1 THEN 'mood_suppressed'
            ELSE 'no_mood' END AS status
    FROM felt
)
SELECT store_id, camera_id, NULL AS zone_id, minute, tracks, net_sentiment, status FROM cameras
UNION ALL
SELECT store_id, camera_id, zone_id, minute,
    if(status IN ('ok', 'no_mood', 'mood_suppressed'), n, NULL) AS tracks,
    if(status = 'ok', (p - q) / moods, NULL) AS net_sentiment,
    status
FROM judged;
