-- What the Top-5 of the whole promotion needs.
SELECT currency, product_id, SUM(sales_amount) AS sales_amount, SUM(unit_count) AS unit_count
FROM file
GROUP BY currency, product_id
