-- The queries of the report's page, over the tables `report.<view>` that hold the period's rows. What stands before the
-- first query are macros, beside those of views/macros.sql.

-- The size that a share's Wilson interval speaks of: Kaplan-Meier's service level keeps it to itself.
CREATE OR REPLACE TEMP MACRO share_size(p, low, high) AS
    3.8414588206941236 * (p * (1 - p) + sqrt((p * (1 - p)) ** 2 + ((high - low) / 2) ** 2 * (1 - 4 * p * (1 - p))))
    / (2 * ((high - low) / 2) ** 2) - 3.8414588206941236;

-- The standard deviation behind a mean's interval of width high - low.
CREATE OR REPLACE TEMP MACRO mean_sd(low, high, n) AS (high - low) / 2 * sqrt(n) / t95(n - 1);

-- query store: what the store is called, and whether any of its cameras is simulated
SELECT arg_max(name, valid_from) AS name, arg_max(timezone, valid_from) AS timezone, getvariable('k') AS k,
    (SELECT coalesce(bool_or(source = 'simulated'), false) FROM camera_versions WHERE store_id = $store) AS simulated
FROM store_versions WHERE store_id = $store;

-- query cameras: as they were described last in the period
SELECT camera_id, coalesce(name, '') AS name, coalesce(width, 16) AS width, coalesce(height, 9) AS height
FROM camera_versions WHERE store_id = $store AND valid_from < timezone(getvariable('zone'), getvariable('until')::TIMESTAMP)
QUALIFY row_number() OVER (PARTITION BY camera_id ORDER BY valid_from DESC) = 1
ORDER BY camera_id;

-- query places: zones as they were described last in the period, those taken out of the config left out
SELECT camera_id, zone_id, coalesce(name, '') AS name, kind, polygon
FROM (
    FROM zone_versions
    WHERE store_id = $store AND valid_from < timezone(getvariable('zone'), getvariable('until')::TIMESTAMP) AND len(polygon) >= 3
    QUALIFY row_number() OVER (PARTITION BY camera_id, zone_id ORDER BY valid_from DESC) = 1
)
WHERE active ORDER BY camera_id, zone_id;

-- query mood: net sentiment by day, by hour of the week, and of all
-- Somebody who stayed in several zones of a camera has a mood in each: as many people count for the interval as had one
-- in the camera's fullest zone, which is never too many.
WITH zones AS (
    SELECT camera_id, zone_id, hour_local::DATE AS day, weekday, hour(hour_local) AS hour, sum(positive) AS p,
        sum(negative) AS q, sum(with_mood) AS n
    FROM report.mood WHERE status = 'ok'
    GROUP BY GROUPING SETS ((camera_id, zone_id, day), (camera_id, zone_id, weekday, hour), (camera_id, zone_id))
), cameras AS (
    SELECT camera_id, day, weekday, hour, sum(p) AS p, sum(q) AS q, sum(n) AS n, max(n) AS people
    FROM zones GROUP BY camera_id, day, weekday, hour
), pooled AS (
    SELECT day, weekday, hour, sum(p) AS p, sum(q) AS q, sum(n) AS n, sum(people)::BIGINT AS people
    FROM cameras GROUP BY day, weekday, hour
)
SELECT day, weekday, hour, people, (p - q) / n AS net_sentiment,
    net_low(p * people / n, q * people / n, people) AS ci_low,
    net_high(p * people / n, q * people / n, people) AS ci_high
FROM pooled ORDER BY day, weekday, hour;

-- query zones: who stayed in each zone, how long, in what mood
WITH stayed AS (
    SELECT camera_id, zone_id, any_value(zone_kind) AS kind, sum(tracks)::BIGINT AS tracks, sum(stays)::BIGINT AS stays,
        sum(dwell_s_total) / nullif(sum(stays), 0) AS dwell_s, count_if(status = 'ok') AS shown, count(*) AS hours,
        count_if(status = 'suppressed') AS suppressed, count_if(status = 'low_coverage') AS low_coverage
    FROM report.zone_hour GROUP BY camera_id, zone_id
), felt AS (
    SELECT camera_id, zone_id, 1 - sum(with_mood) / nullif(sum(tracks), 0) AS unknown_share,
        sum(positive) FILTER (status = 'ok') AS p, sum(negative) FILTER (status = 'ok') AS q,
        sum(with_mood) FILTER (status = 'ok') AS people
    FROM report.mood GROUP BY camera_id, zone_id
)
SELECT camera_id, zone_id, kind, tracks, stays, dwell_s, shown, hours, suppressed, low_coverage, unknown_share,
    people::BIGINT AS n, (p - q) / nullif(people, 0) AS net_sentiment, net_low(p, q, people) AS ci_low,
    net_high(p, q, people) AS ci_high
FROM stayed LEFT JOIN felt USING (camera_id, zone_id) ORDER BY camera_id, zone_id;

-- query footfall_cameras: who came in at each camera with an entrance, and how often tracks look split there
-- Nobody in the hours that are shown, and others left out: that is not nobody.
WITH split AS (
    SELECT camera_id, sum(suspected) / sum(tracks) AS split_share FROM report.track_splits WHERE status = 'ok'
    GROUP BY camera_id
)
SELECT camera_id, if(sum(footfall) > 0 OR bool_and(status = 'ok'), sum(footfall), NULL)::BIGINT AS footfall,
    count_if(status = 'ok') AS shown, count(*) AS hours, count_if(status = 'suppressed') AS suppressed,
    count_if(status = 'low_coverage') AS low_coverage, any_value(split_share) AS split_share
FROM report.footfall LEFT JOIN split USING (camera_id) WHERE status <> 'no_entrance'
GROUP BY camera_id ORDER BY footfall DESC NULLS LAST, camera_id;

-- query footfall_days: of the hours that are shown; withheld: the others
SELECT camera_id, hour_local::DATE AS day,
    if(sum(footfall) > 0 OR bool_and(status = 'ok'), sum(footfall), NULL)::BIGINT AS footfall,
    count_if(status = 'ok') AS shown, count_if(status <> 'ok') AS withheld
FROM report.footfall WHERE status <> 'no_entrance' GROUP BY camera_id, day ORDER BY camera_id, day;

-- query footfall_hours: the mean over the days of what a full hour brought, where most days show the hour
WITH hours AS (
    SELECT camera_id, hour(hour_local) AS hour, avg(footfall_per_covered_hour) AS mean,
        stddev_samp(footfall_per_covered_hour) AS sd, count(footfall_per_covered_hour) AS n,
        count_if(status <> 'ok') AS withheld
    FROM report.footfall WHERE status <> 'no_entrance' GROUP BY camera_id, hour
)
SELECT camera_id, hour, mean AS footfall, greatest(0, mean - mean_half(sd, n)) AS footfall_low,
    mean + mean_half(sd, n) AS footfall_high, n, withheld
FROM hours WHERE n > withheld ORDER BY camera_id, hour;

-- query queues: each camera with a queue
-- Hours are independent, so the share of all waits rests on the sizes of all hours; where nobody waited the queue was 0.
WITH here AS (
    SELECT camera_id FROM report.mood WHERE zone_kind = 'queue'
    UNION SELECT camera_id FROM report.operations WHERE waits > 0
), hours AS (
    SELECT *, if(status = 'no_queue', 0, queue_length_mean) AS queued,
        share_size(service_level, service_level_low, service_level_high) AS size
    FROM report.operations WHERE camera_id IN (FROM here)
), pooled AS (
    SELECT camera_id, sum(waits)::BIGINT AS waits, sum(completed)::BIGINT AS completed, max(target_wait_s) AS target_wait_s,
        sum(waits * service_level) / nullif(sum(waits) FILTER (service_level IS NOT NULL), 0) AS service_level,
        sum(size) AS size, sum(queued * coverage) / nullif(sum(coverage) FILTER (queued IS NOT NULL), 0) AS queue_length,
        max(queue_length_peak) AS queue_length_peak, median(wait_s_median) AS wait_s_median,
        median(wait_s_p95) AS wait_s_p95, count_if(status = 'ok') AS shown, count_if(status = 'no_queue') AS empty,
        count_if(status = 'suppressed') AS suppressed, count_if(status = 'low_coverage') AS low_coverage
    FROM hours GROUP BY camera_id
)
SELECT * EXCLUDE size, wilson_low(service_level * size, size) AS service_level_low,
    wilson_high(service_level * size, size) AS service_level_high
FROM pooled ORDER BY waits DESC NULLS LAST, camera_id;

-- query queue_hours: by hour of the day, over the days; the queue's length where most days show it
WITH here AS (
    SELECT camera_id FROM report.mood WHERE zone_kind = 'queue'
    UNION SELECT camera_id FROM report.operations WHERE waits > 0
), hours AS (
    SELECT *, hour(hour_local) AS clock, if(status = 'no_queue', 0, queue_length_mean) AS queued,
        share_size(service_level, service_level_low, service_level_high) AS size
    FROM report.operations WHERE camera_id IN (FROM here)
), pooled AS (
    SELECT camera_id, clock, sum(waits)::BIGINT AS waits,
        sum(waits * service_level) / nullif(sum(waits) FILTER (service_level IS NOT NULL), 0) AS service_level,
        sum(size) AS size, avg(queued) AS queue_length,
        mean_half(stddev_samp(queued), count(queued)) AS half, count(queued) AS days,
        count(queued) > count(*) - count(queued) AS most
    FROM hours GROUP BY camera_id, clock
)
SELECT camera_id, clock AS hour, waits, service_level, wilson_low(service_level * size, size) AS service_level_low,
    wilson_high(service_level * size, size) AS service_level_high, if(most, queue_length, NULL) AS queue_length,
    if(most, greatest(0, queue_length - half), NULL) AS queue_length_low,
    if(most, queue_length + half, NULL) AS queue_length_high, days
FROM pooled ORDER BY camera_id, hour;

-- query waits: hour by hour where anybody waited
SELECT camera_id, hour_local, waits, wait_s_median, wait_s_median_low, wait_s_median_high, wait_s_p95, wait_s_p95_low,
    wait_s_p95_high, status
FROM report.operations WHERE status <> 'no_queue' AND (status <> 'low_coverage' OR target_wait_s IS NOT NULL)
ORDER BY camera_id, hour_local;

-- query products: each shelf
WITH felt AS (
    SELECT camera_id, zone_id, sum(positive) AS p, sum(negative) AS q, sum(with_mood) AS people
    FROM report.mood WHERE status = 'ok' GROUP BY camera_id, zone_id
), days AS (
    SELECT *, mean_sd(gain_low, gain_high, gain_tracks) AS gain_sd FROM report.product_engagement
), pooled AS (
    SELECT camera_id, zone_id, arg_max(zone_name, day) AS name, arg_max(tags, day) AS tags,
        sum(tracks)::BIGINT AS tracks, sum(engaged)::BIGINT AS engaged, sum(looked)::BIGINT AS looked,
        sum(tracks_with_yaw)::BIGINT AS tracks_with_yaw, sum(dwell_s_total) / nullif(sum(tracks), 0) AS dwell_s,
        sum(gain_tracks) AS gain_n, sum(gain_tracks * valence_gain) / sum(gain_tracks) AS gain,
        sum((gain_tracks - 1) * gain_sd ** 2 + gain_tracks * valence_gain ** 2) AS gain_squares,
        count_if(status <> 'suppressed') AS shown, count_if(status = 'suppressed') AS suppressed
    FROM days GROUP BY camera_id, zone_id
), spread AS (
    -- Exactly the mean and the interval of all tracks of the days that are shown: a day's interval gives its squares.
    SELECT *, mean_half(sqrt(greatest(gain_squares - gain_n * gain ** 2, 0) / (gain_n - 1)), gain_n) AS gain_half
    FROM pooled
)
SELECT camera_id, zone_id, name, tags, tracks AS n, engaged, engaged / tracks AS engaged_share,
    wilson_low(engaged, tracks) AS engaged_share_low, wilson_high(engaged, tracks) AS engaged_share_high,
    tracks_with_yaw, looked / tracks_with_yaw AS looked_share, wilson_low(looked, tracks_with_yaw) AS looked_share_low,
    wilson_high(looked, tracks_with_yaw) AS looked_share_high, dwell_s,
    gain_n::BIGINT AS gain_n, gain, gain - gain_half AS gain_low, gain + gain_half AS gain_high,
    (p - q) / nullif(people, 0) AS net_sentiment, net_low(p, q, people) AS ci_low, net_high(p, q, people) AS ci_high,
    shown, suppressed
FROM spread LEFT JOIN felt USING (camera_id, zone_id)
ORDER BY engaged DESC NULLS LAST, tracks DESC NULLS LAST, camera_id, zone_id;

-- query service: each service zone
-- Days are independent: the variance of their weighted mean is the sum of theirs. Taking 1.96 for every day's quantile of
-- Student's t makes the interval of a change a little too wide. A window's own mean has an interval in no day, so its
-- interval is that of the mean over the days.
WITH days AS (
    SELECT *, (change_during_high - change_during_low) / 2 AS during_half,
        (change_after_high - change_after_low) / 2 AS after_half
    FROM report.service_interactions
), pooled AS (
    SELECT camera_id, zone_id, sum(interactions)::BIGINT AS n, sum(waited)::BIGINT AS waited,
        sum(interactions * length_s_mean) / sum(interactions) FILTER (length_s_mean IS NOT NULL) AS length_s,
        sum(waited * wait_before_s_mean) / sum(waited) FILTER (wait_before_s_mean IS NOT NULL) AS wait_before_s,
        avg(valence_before) AS before, mean_half(stddev_samp(valence_before), count(valence_before)) AS before_half,
        avg(valence_during) AS during, mean_half(stddev_samp(valence_during), count(valence_during)) AS during_level_half,
        avg(valence_after) AS after, mean_half(stddev_samp(valence_after), count(valence_after)) AS after_level_half,
        sum(during_pairs) AS during_n,
        sum(during_pairs * change_during) / during_n AS change_during,
        sqrt(sum((during_pairs * during_half) ** 2)) / during_n AS change_during_half,
        sum(after_pairs) AS after_n,
        sum(after_pairs * change_after) / after_n AS change_after,
        sqrt(sum((after_pairs * after_half) ** 2)) / after_n AS change_after_half,
        sum(interactions * after_share) / sum(interactions) AS after_share
    FROM days GROUP BY camera_id, zone_id
)
SELECT camera_id, zone_id, n, waited, length_s, wait_before_s, after_share,
    before, before - before_half AS before_low, before + before_half AS before_high,
    during, during - during_level_half AS during_low, during + during_level_half AS during_high,
    after, after - after_level_half AS after_low, after + after_level_half AS after_high,
    change_during, change_during - change_during_half AS change_during_low,
    change_during + change_during_half AS change_during_high,
    change_after, change_after - change_after_half AS change_after_low, change_after + change_after_half AS change_after_high
FROM pooled ORDER BY n DESC NULLS LAST, camera_id, zone_id;

-- query content: each screen's contents
SELECT camera_id, zone_id, content_id, tracks AS n, * EXCLUDE (camera_id, zone_id, content_id, tracks)
FROM report.content_response ORDER BY camera_id, zone_id, attention DESC NULLS LAST, content_id;

-- query next_products: the best next shelves
FROM report.next_products ORDER BY lift_low DESC, camera_id, zone_id, next_zone_id;

-- query journey: from the first to the last third of a track
SELECT camera_id, tracks AS n, valence_first, valence_last, change, ci_low, ci_high, status
FROM report.journey ORDER BY camera_id;

-- query ladder: entrance, product, service, checkout
SELECT step_no, step, tracks, with_mood AS n, valence, ci_low, ci_high, status FROM report.journey_ladder ORDER BY step_no;

-- query coverage: by camera and day, of the hours in which any camera of the store was watched
WITH watched AS (
    SELECT hour_local::DATE AS day, count(DISTINCT hour) AS hours FROM report.camera_hour GROUP BY day
), begun AS (
    SELECT camera_id, min(hour_local::DATE) AS first_day FROM report.camera_hour GROUP BY camera_id
), had AS (
    SELECT camera_id, hour_local::DATE AS day, sum(coverage) AS coverage, sum(uptime) AS uptime
    FROM report.camera_hour GROUP BY camera_id, day
)
SELECT camera_id, day, hours, coalesce(coverage, 0) / hours AS coverage, coalesce(uptime, 0) / hours AS uptime
FROM begun JOIN watched ON day >= first_day LEFT JOIN had USING (camera_id, day) ORDER BY camera_id, day;

-- query health: each camera's frames and outages
WITH counted AS (
    SELECT camera_id, window_start, read, state, dropped_overrun, dropped_stale, dropped_decode_error, dropped_poison,
        dropped_lost_in_crash
    FROM frames
    WHERE store_id = $store AND date >= getvariable('since')::DATE - 1 AND date <= getvariable('until')::DATE
        AND window_start >= timezone(getvariable('zone'), getvariable('since')::TIMESTAMP)
        AND window_start < timezone(getvariable('zone'), getvariable('until')::TIMESTAMP)
), empty AS (
    SELECT DISTINCT camera_id, window_start FROM counted c
    -- A live camera may be sampled more seldom than every window.
    WHERE read = 0 AND state <> 'live' AND NOT EXISTS (
        FROM counted o WHERE o.camera_id = c.camera_id AND o.window_start = c.window_start AND o.read > 0
    )
), numbered AS (
    -- Windows in a row have in common what is left when their number in the row is taken from their time.
    SELECT camera_id, epoch(window_start) / 10 - row_number() OVER (PARTITION BY camera_id ORDER BY window_start) AS run
    FROM empty
), outages AS (
    SELECT camera_id, run, 10 * count(*) AS down_s FROM numbered GROUP BY camera_id, run
), down AS (
    SELECT camera_id, count(*) AS outages, sum(down_s) AS down_s, max(down_s) AS longest_s FROM outages GROUP BY camera_id
), split AS (
    SELECT camera_id, sum(suspected) / sum(tracks) AS split_share FROM report.track_splits WHERE status = 'ok'
    GROUP BY camera_id
), cameras AS (
    SELECT camera_id, sum(read)::BIGINT AS frames_read, sum(dropped_overrun)::BIGINT AS overrun,
        sum(dropped_stale)::BIGINT AS stale, sum(dropped_decode_error)::BIGINT AS decode_error,
        sum(dropped_poison)::BIGINT AS poison, sum(dropped_lost_in_crash)::BIGINT AS lost_in_crash
    FROM counted GROUP BY camera_id
)
SELECT cameras.*, coalesce(outages, 0) AS outages, coalesce(down_s, 0)::DOUBLE AS down_s,
    coalesce(longest_s, 0)::DOUBLE AS longest_s, split_share
FROM cameras LEFT JOIN down USING (camera_id) LEFT JOIN split USING (camera_id) ORDER BY camera_id;

-- query statuses: cells of each view by status
SELECT 'mood' AS view, status, count(*) AS cells FROM report.mood GROUP BY status
UNION ALL SELECT 'zone_hour', status, count(*) FROM report.zone_hour GROUP BY status
UNION ALL SELECT 'footfall', status, count(*) FROM report.footfall GROUP BY status
UNION ALL SELECT 'operations', status, count(*) FROM report.operations GROUP BY status
UNION ALL SELECT 'product_engagement', status, count(*) FROM report.product_engagement GROUP BY status
UNION ALL SELECT 'service_interactions', status, count(*) FROM report.service_interactions GROUP BY status
UNION ALL SELECT 'content_response', status, count(*) FROM report.content_response GROUP BY status
UNION ALL SELECT 'track_splits', status, count(*) FROM report.track_splits GROUP BY status;
