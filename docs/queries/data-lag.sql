-- How long after the gateway took them were messages there to be read, minute by minute in the last hour?
SELECT minute, messages, round(p50_s, 2) AS p50_s, round(p99_s, 2) AS p99_s, round(max_s, 2) AS max_s
FROM muster.kpi_data_lag
WHERE minute > now() - INTERVAL 1 HOUR
ORDER BY minute
