-- Who revoked, quarantined or replaced what in the last month, and why?
SELECT time, who, type, device, subject, why
FROM muster.audit
WHERE time > now64(3) - INTERVAL 30 DAY
    AND type IN ('device-revoked', 'certificate-revoked', 'cohort-revoked', 'issuer-revoked', 'device-quarantined', 'cohort-quarantined', 'device-replaced')
ORDER BY time DESC
