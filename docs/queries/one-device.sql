-- What did one device measure in the last day, minute by minute?
-- device = '…' is found by an index, whatever the size of the fleet.
SELECT metric, minute, n, round(avg, 3) AS average, min, max, last
FROM muster.samples_1m
WHERE device = 'sim-00001' AND minute > now() - INTERVAL 1 DAY
ORDER BY metric, minute
