-- Sales since the promotion began, per currency: ordered (placed, paid or not), paid (GMV), and paid less refunds. Most sales first.
SELECT
  currency,
  SUM(ordered_amount) AS ordered_amount,
  SUM(gmv_amount) AS gmv_amount,
  SUM(gmv_amount + refund_amount) AS net_amount,
  CAST(SUM(sale_count) AS BIGINT) AS sale_count
FROM sums.gmv_per_minute
GROUP BY currency
ORDER BY sale_count DESC, currency
