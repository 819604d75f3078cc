-- What a day's PV and UV need.
SELECT
  CAST(window_start AS DATE) AS day,
  SUM(request_count) AS request_count,
  SUM(page_view_count) AS page_view_count,
  HLL_UNION_AGG(visitor_sketch) AS visitor_sketch
FROM file
GROUP BY CAST(window_start AS DATE)
