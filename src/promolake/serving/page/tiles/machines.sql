-- 75th percentile of CPU, memory and I/O over all hosts, each minute of the last hour, percent.
SELECT window_start, cpu_p75, mem_p75, io_p75
FROM recent.machine_metrics_per_minute
WHERE host = '*'
ORDER BY window_start
