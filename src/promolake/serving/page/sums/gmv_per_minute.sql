-- What the running totals of a currency need.
SELECT
  currency,
  SUM(ordered_amount) AS ordered_amount,
  SUM(gmv_amount) AS gmv_amount,
  SUM(refund_amount) AS refund_amount,
  SUM(sale_count) AS sale_count
FROM file
GROUP BY currency
