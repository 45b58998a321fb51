-- alert_log: one row per alert that fired, and what became of it. Its columns are those of table `alerts`:
--   alert_id, rule_id, figure, value, threshold, direction (above, below), window_s, severity (info, warning, critical),
--   text, fired_at; tracks is NULL where the floor hides it; date: the UTC day of fired_at
--   acknowledged_at, acknowledged_by  when somebody first said that they have seen to it, and who; NULL: nobody yet
--   deliveries     for each channel that it was for: state (pending, delivered, failed), at (NULL while pending), tries
--                  (of the process that delivered it or gave up, 0 while pending), error
-- docs/alerts.md: channels.
CREATE VIEW alert_log AS
WITH acknowledged AS (
    SELECT alert_id, min("at") AS acknowledged_at, arg_min("by", "at") AS acknowledged_by
    FROM alert_events WHERE kind = 'acknowledged' GROUP BY alert_id
), ways AS (
    SELECT alert_id, channel,
        arg_min(e, "at") FILTER (kind = 'delivered') AS delivered,
        arg_min(e, "at") FILTER (kind = 'failed') AS failed
    FROM alert_events e WHERE kind <> 'acknowledged' GROUP BY alert_id, channel
), deliveries AS (
    SELECT alert_id, list({
        'channel': channel,
        'state': CASE WHEN delivered IS NOT NULL THEN 'delivered' WHEN failed IS NOT NULL THEN 'failed'
            ELSE 'pending' END,
        'at': coalesce(delivered, failed)."at",
        'tries': coalesce(coalesce(delivered, failed).tries, 0),
        'error': if(delivered IS NULL, coalesce(failed.note, ''), '')
    } ORDER BY channel) AS deliveries
    FROM ways GROUP BY alert_id
)
SELECT a.*, acknowledged_at, acknowledged_by, coalesce(deliveries, []) AS deliveries
FROM alerts a LEFT JOIN acknowledged USING (alert_id) LEFT JOIN deliveries USING (alert_id);
