-- How do the stages of rollouts do, by their latest verdicts?
SELECT
    rollout, stage, verdict, final, at, round(effect, 2) AS odds_ratio, round(low, 2) AS from_ratio, round(high, 2) AS to_ratio,
    failed_treated, treated, failed_control, control, round(exposure_min) AS exposure_min, incident, why
FROM muster.verdicts
ORDER BY n DESC
LIMIT 1 BY rollout, stage
LIMIT 100
