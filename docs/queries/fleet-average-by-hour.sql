-- How does the fleet's average of one metric go, hour by hour, over the last week?
-- The metric's name stands in a WHERE of its own: only its column is read. For closed hours alone, samples_1h answers at a fraction of the cost.
SELECT
    toStartOfHour(ts) AS hour,
    uniqExact(device) AS devices,
    count() AS samples,
    round(avg(value), 3) AS average,
    min(value) AS lowest,
    max(value) AS highest
FROM muster.samples
WHERE metric = 'temp_c' AND ts > now64(3) - INTERVAL 7 DAY
GROUP BY hour
ORDER BY hour
