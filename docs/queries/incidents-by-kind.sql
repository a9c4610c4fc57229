-- How many incidents were there in the last 30 days, of which kind and cause, and how long did they last?
SELECT
    kind, cause, count() AS incidents, countIf(state = 'open') AS open, uniqExact(cohort) AS cohorts, sum(reopened) AS reopened,
    round(quantileIf(0.5)(dateDiff('second', since, resolved_at), resolved_at IS NOT NULL) / 60, 1) AS median_min,
    round(maxIf(dateDiff('second', since, resolved_at), resolved_at IS NOT NULL) / 60, 1) AS longest_min,
    round(quantileIf(0.5)(dateDiff('second', since, acked_at), acked_at IS NOT NULL) / 60, 1) AS median_to_ack_min
FROM muster.incidents
WHERE since > now64(3) - toIntervalDay(30)
GROUP BY kind, cause
ORDER BY incidents DESC, kind, cause
LIMIT 100
