-- The addresses with most requests in the newest UTC hour; equals in the order of gold.top_ips.
SELECT
  ip,
  CAST(SUM(request_count) AS BIGINT) AS request_count,
  CAST(SUM(failed_count) AS BIGINT) AS failed_count
FROM recent.requests_per_ip_per_minute
WHERE window_start >= (SELECT DATE_TRUNC('hour', MAX(window_start)) FROM recent.requests_per_ip_per_minute)
GROUP BY ip
ORDER BY request_count DESC, ip
LIMIT 5
