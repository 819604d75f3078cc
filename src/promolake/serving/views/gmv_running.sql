-- How much has been sold, refunded and kept since the promotion began?
-- One row per minute and currency with an order line; a minute without one has none, and the row before it still holds.
-- Amounts are running totals in `currency` from the first minute to window_end; refund_amount is negative, net_amount is their sum.
--   window_start: First instant of the newest minute in the total, UTC.
--   window_end: First instant after it, UTC.
--   currency: ISO 4217 code.
--   gmv_amount: Paid so far, in `currency`.
--   refund_amount: Cancelled and refunded so far, negative, in `currency`.
--   net_amount: What is left: their sum, in `currency`.
SELECT
  window_start,
  window_end,
  currency,
  CAST(SUM(minute_gmv_amount) OVER so_far AS DECIMAL(28, 4)) AS gmv_amount,
  CAST(SUM(minute_refund_amount) OVER so_far AS DECIMAL(28, 4)) AS refund_amount,
  CAST(SUM(minute_gmv_amount + minute_refund_amount) OVER so_far AS DECIMAL(28, 4)) AS net_amount
FROM (
  SELECT
    window_start,
    window_end,
    currency,
    CAST(SUM(gmv_amount) AS DECIMAL(28, 4)) AS minute_gmv_amount,
    CAST(SUM(refund_amount) AS DECIMAL(28, 4)) AS minute_refund_amount
  FROM gold.gmv_per_minute
  GROUP BY window_start, window_end, currency
) AS minutes
WINDOW so_far AS (PARTITION BY currency ORDER BY window_start ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
