-- Requests of the site, by way of the distinct addresses of a minute. In the place of the sketch stands the number it estimates.
WITH per_address AS (
  SELECT
    date_trunc('minute', event_time) AS minute,
    ip,
    count(*) AS requests,
    sum(CASE WHEN is_page_view THEN 1 ELSE 0 END) AS page_views,
    sum(CASE WHEN status BETWEEN 400 AND 599 THEN 1 ELSE 0 END) AS failures,
    sum(bytes) AS sent
  FROM silver.requests
  GROUP BY date_trunc('minute', event_time), ip
)
SELECT
  minute AS window_start,
  minute + INTERVAL 1 MINUTE AS window_end,
  CAST(sum(requests) AS BIGINT) AS request_count,
  CAST(sum(page_views) AS BIGINT) AS page_view_count,
  count(ip) AS visitor_count,
  CAST(sum(failures) AS BIGINT) AS failed_count,
  CAST(sum(sent) AS BIGINT) AS byte_count,
  count(ip) AS visitor_sketch
FROM per_address
GROUP BY minute
