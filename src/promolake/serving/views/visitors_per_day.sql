-- How many distinct visitors (IP addresses) does the site have each UTC day?
-- One row per day with a request. visitor_count is an estimate from the minutes' united sketches: exact to about 190, then
-- with a standard error of 1.6 %. For another span, write the same two functions over other minutes; days do not add up.
--   day: The UTC day.
--   request_count: Requests.
--   page_view_count: Requests for a page.
--   visitor_count: Distinct IP addresses, estimated.
SELECT
  CAST(window_start AS DATE) AS day,
  CAST(SUM(request_count) AS BIGINT) AS request_count,
  CAST(SUM(page_view_count) AS BIGINT) AS page_view_count,
  HLL_SKETCH_ESTIMATE(HLL_UNION_AGG(visitor_sketch)) AS visitor_count
FROM gold.traffic_per_minute
GROUP BY CAST(window_start AS DATE)
