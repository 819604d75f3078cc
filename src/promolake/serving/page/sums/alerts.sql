-- The alerts themselves: there are few.
SELECT alert_id, fingerprint, alert, status, labels, annotations, value, starts_at, ends_at, ingested_at
FROM file
