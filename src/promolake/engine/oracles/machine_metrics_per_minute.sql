-- Averages and percentiles of each machine and of all together. Averages add with compensation (favg), so that they are nearer the
-- truth than any order of plain additions, and agree with gold to 1e-12 of their size rather than to the bit.
SELECT
  date_trunc('minute', event_time) AS window_start,
  date_trunc('minute', event_time) + INTERVAL 1 MINUTE AS window_end,
  CASE WHEN grouping(host) = 1 THEN '*' ELSE host END AS host,
  count(*) AS sample_count,
  favg(cpu) AS cpu_avg,
  quantile_cont(cpu, 0.75) AS cpu_p75,
  favg(mem) AS mem_avg,
  quantile_cont(mem, 0.75) AS mem_p75,
  favg(io) AS io_avg,
  quantile_cont(io, 0.75) AS io_p75
FROM silver.machine_metrics
GROUP BY GROUPING SETS ((date_trunc('minute', event_time), host), (date_trunc('minute', event_time)))
