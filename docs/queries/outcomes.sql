-- What became of every record of the last day: stored, known already, in conflict, quarantined, or our own?
SELECT
    outcome,
    count() AS records,
    uniqExact(device_no) AS devices,
    sum(n) AS values,
    sum(faults) AS faults,
    formatReadableSize(sum(bytes)) AS received
FROM muster.ledger
WHERE got > now64(3) - INTERVAL 1 DAY
GROUP BY outcome
ORDER BY outcome
