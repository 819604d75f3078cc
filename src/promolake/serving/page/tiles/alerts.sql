-- The last ten alerts that began to fire or were resolved, newest first.
SELECT alert, status, labels, annotations, value, starts_at, ends_at, ingested_at
FROM sums.alerts
ORDER BY ingested_at DESC, alert_id
LIMIT 10
