-- Which incidents are open, the worst first, and who is at them?
SELECT id, severity, kind, cause, cohort, title, since, affected, arraySlice(devices.device, 1, 5) AS first_devices, acked_by
FROM muster.incidents
WHERE state = 'open'
ORDER BY indexOf(['critical', 'warning', 'info'], severity), since
LIMIT 100
