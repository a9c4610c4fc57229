-- Whose certificates end in the next month, by cohort and issuer, and are their devices still heard?
SELECT
    d.cohort AS cohort,
    d.issuer AS issuer,
    count() AS devices,
    countIf(heard.last > now64(3) - INTERVAL 1 DAY) AS heard_today,
    min(d.not_after) AS first_end,
    argMin(d.device, d.not_after) AS first_device
FROM muster.devices AS d
LEFT ANY JOIN (SELECT device_no, max(got) AS last FROM muster.ledger WHERE got > now64(3) - INTERVAL 2 DAY GROUP BY device_no) AS heard ON heard.device_no = d.no
WHERE NOT d.revoked AND d.not_after < now64(3) + INTERVAL 30 DAY
GROUP BY cohort, issuer
ORDER BY first_end
