-- GMV of each minute of the last hour, per currency.
SELECT window_start, currency, SUM(gmv_amount) AS gmv_amount
FROM recent.gmv_per_minute
GROUP BY window_start, currency
ORDER BY window_start, currency
