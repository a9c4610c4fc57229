-- Which devices need somebody to look at their identity, worst first?
SELECT device, cohort, groupUniqArray(kind) AS kinds, min(since) AS first_seen, sum(times) AS times, groupArray(detail) AS details
FROM muster.security_findings
GROUP BY device, cohort
ORDER BY has(kinds, 'clone-sign') DESC, has(kinds, 'refused') DESC, first_seen
