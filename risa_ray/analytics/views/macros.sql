-- What the views share. docs/metrics.md: net sentiment, known, time, k-floor.

-- Mood of a mean valence; NULL (fewer than 3 known observations) is 'unknown'.
CREATE MACRO mood_of(valence) AS
    CASE WHEN valence IS NULL THEN 'unknown' WHEN valence >= 0.2 THEN 'positive'
         WHEN valence <= -0.2 THEN 'negative' ELSE 'neutral' END;

-- Half the 95 % interval of (positive - negative) / total after Agresti and Min (2005); its centre is
-- (positive - negative) / (total + 2).
CREATE MACRO net_half(positive, negative, total) AS
    1.959963984540054 * sqrt(((positive + negative + 1) / (total + 2) - ((positive - negative) / (total + 2)) ** 2) / (total + 2));

-- The instant at which the local hour of an instant began.
CREATE MACRO hour_start(instant, zone) AS
    instant - (timezone(zone, instant) - date_trunc('hour', timezone(zone, instant)));

-- Why a cell's figures are NULL, or that they are not. A cell without anybody hides nobody.
CREATE MACRO cell_status(tracks, with_mood, coverage) AS
    CASE WHEN tracks > 0 AND tracks < getvariable('k') THEN 'suppressed'
         WHEN coverage < 0.5 THEN 'low_coverage'
         WHEN with_mood = 0 THEN 'no_mood'
         WHEN with_mood < getvariable('k') THEN 'mood_suppressed' ELSE 'ok' END;

-- The guard of the views whose rows are single people.
CREATE MACRO single_people(name) AS
    CASE WHEN getvariable('k') > 1
         THEN error(name || ' holds single people; use --raw (raw=True), or a view such as mood_by_minute') ELSE true END;

-- 95 % quantile (two-sided) of Student's t with nu degrees of freedom: Abramowitz and Stegun 26.7.5, to the third order.
CREATE MACRO t95(nu) AS
    1.959963984540054 + 2.372271 / nu + 2.822499 / nu ** 2 + 2.555852 / nu ** 3 + 1.589536 / nu ** 4;

-- Half the 95 % interval of a mean of n values with standard deviation sd; NULL below two values.
CREATE MACRO mean_half(sd, n) AS if(n >= 2, t95(greatest(n - 1, 1)) * sd / sqrt(greatest(n, 1)), NULL);

-- The 95 % interval of a share x / n after Wilson (1927); n need not be whole.
CREATE MACRO wilson_centre(x, n) AS (x + 1.9207294103470617) / (n + 3.8414588206941236);
CREATE MACRO wilson_half(x, n) AS
    1.959963984540054 * sqrt(greatest(x * (n - x) / nullif(n, 0), 0) + 0.9603647051735309) / (n + 3.8414588206941236);
CREATE MACRO wilson_low(x, n) AS if(n > 0, greatest(0, wilson_centre(x, n) - wilson_half(x, n)), NULL);
CREATE MACRO wilson_high(x, n) AS if(n > 0, least(1, wilson_centre(x, n) + wilson_half(x, n)), NULL);

-- The 95 % interval of net sentiment from counts, and its centre.
CREATE MACRO net_centre(positive, negative, total) AS (positive - negative) / (total + 2);
CREATE MACRO net_low(positive, negative, total) AS
    if(total > 0, greatest(-1, net_centre(positive, negative, total) - net_half(positive, negative, total)), NULL);
CREATE MACRO net_high(positive, negative, total) AS
    if(total > 0, least(1, net_centre(positive, negative, total) + net_half(positive, negative, total)), NULL);

-- The store's date of an instant, and whether that lies in the period that the variables `since` and `until` name.
CREATE MACRO local_date(instant, zone) AS timezone(coalesce(zone, 'UTC'), instant)::DATE;
CREATE MACRO in_period(day) AS
    coalesce(day >= getvariable('since')::DATE, true) AND coalesce(day < getvariable('until')::DATE, true);

-- Whether a local time lies in the hour of the day (0 to 23) that the variable `hour` names, on a weekday (1 Monday) that
-- the variable `weekday` names.
CREATE MACRO in_hour(local) AS
    coalesce(hour(local) = getvariable('hour'), true) AND coalesce(isodow(local) = getvariable('weekday'), true);
