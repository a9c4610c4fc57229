-- What could not be stored in the last day, why, and whose was it?
SELECT
    reason,
    metric,
    count() AS values,
    uniqExact(device) AS devices,
    any(device) AS for_instance,
    any(detail) AS saying
FROM muster.quarantine
WHERE got > now64(3) - INTERVAL 1 DAY
GROUP BY reason, metric
ORDER BY values DESC
