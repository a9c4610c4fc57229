-- Which devices were silent for longer than three of their intervals in the last day, when, and for how long?
-- A gap of our own would show for every device at once: compare with data-lag.sql.
SELECT device, gap_began, gap_ended, dateDiff('second', gap_began, gap_ended) AS seconds
FROM (
    SELECT
        device,
        last_ts AS gap_began,
        leadInFrame(first_ts, 1, now64(3)) OVER (PARTITION BY device ORDER BY last_ts ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS gap_ended
    FROM muster.messages
    WHERE got > now64(3) - INTERVAL 1 DAY
) AS g
INNER JOIN (SELECT device, interval_ms FROM muster.devices WHERE NOT revoked) AS d USING (device)
WHERE toUnixTimestamp64Milli(gap_ended) - toUnixTimestamp64Milli(gap_began) > 3 * greatest(interval_ms, 1000)
ORDER BY seconds DESC
LIMIT 100
