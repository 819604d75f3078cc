-- Requests, page views (PV) and distinct addresses (UV, an estimate of 1.6 % standard error) of the newest UTC day.
SELECT
  day,
  CAST(SUM(request_count) AS BIGINT) AS request_count,
  CAST(SUM(page_view_count) AS BIGINT) AS page_view_count,
  HLL_SKETCH_ESTIMATE(HLL_UNION_AGG(visitor_sketch)) AS visitor_count
FROM sums.traffic_per_minute
WHERE day = (SELECT MAX(day) FROM sums.traffic_per_minute)
GROUP BY day
