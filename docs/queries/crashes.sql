-- Which devices crashed in the last week, how often, and under which firmware?
SELECT device, fw, count() AS crashes, max(ts) AS latest, argMax(fields['reason'], ts) AS latest_reason
FROM muster.events
WHERE type = 'crash' AND ts > now64(3) - INTERVAL 7 DAY
GROUP BY device, fw
ORDER BY crashes DESC, device
