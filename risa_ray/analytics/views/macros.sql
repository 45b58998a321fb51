-- What the views share. docs/metrics.md: net sentiment, known, time, k-floor.

-- Mood of a mean valence; NULL (fewer than 3 known observations) is 'unknown'.
CREATE MACRO mood_of(valence) AS
    CASE WHEN valence IS NULL THEN 'unknown' WHEN valence >= 0.2 THEN 'positive'
         WHEN valence <= -0.2 THEN 'negative' ELSE 'neutral' END;

-- Half the 95 % interval of (positive - negative) / total after Bonett and Price (2012); its centre is
-- (positive - negative) / (total + 2).
CREATE MACRO net_half(positive, negative, total) AS
    1.959963984540054 * sqrt(((positive + negative + 2) / (total + 2) - ((positive - negative) / (total + 2)) ** 2) / (total + 2));

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
