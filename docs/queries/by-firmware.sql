-- Does a metric differ between firmware versions in the last day?
SELECT
    fw,
    uniqExact(device) AS devices,
    count() AS samples,
    round(avg(value), 3) AS average,
    round(stddevPop(value), 3) AS deviation,
    round(quantile(0.99)(value), 3) AS p99
FROM muster.samples
WHERE metric = 'temp_c' AND ts > now64(3) - INTERVAL 1 DAY
GROUP BY fw
ORDER BY fw
