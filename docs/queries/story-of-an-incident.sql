-- What happened in the latest incident, step by step, and where in the log is the evidence?
SELECT h.n AS n, h.at AS at, h.state AS state, h.severity AS severity, h.affected AS affected, h.acked_by AS acked_by, h.numbers AS numbers, e.evidence AS evidence
FROM muster.incident_history AS h
LEFT JOIN (
    SELECT n, groupArray(concat(topic, '/', toString(part), ' [', toString(from_off), ', ', toString(to_off), ')')) AS evidence
    FROM (SELECT * FROM muster.evidence ORDER BY n, idx)
    GROUP BY n
) AS e ON h.n = e.n
WHERE h.id = (SELECT id FROM muster.incidents ORDER BY since DESC, n DESC LIMIT 1)
ORDER BY n
