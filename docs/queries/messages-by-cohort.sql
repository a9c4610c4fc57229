-- How much does each cohort say, and how much of it was refused a place in the tables, in the last hour?
SELECT
    dictGet('muster.device_names', 'cohort', toUInt64(device_no)) AS cohort,
    uniqExact(device_no) AS devices,
    count() AS messages,
    sum(n) AS values,
    sum(faults) AS quarantined_values,
    countIf(outcome = 'conflict') AS conflicts
FROM muster.ledger
WHERE got > now64(3) - INTERVAL 1 HOUR AND outcome != 'control'
GROUP BY cohort
ORDER BY messages DESC, cohort
