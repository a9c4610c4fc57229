-- How do the stages of rollouts do, by their latest verdicts, and what became of all who were drawn?
SELECT
    rollout, stage, verdict, final, at, round(effect, 2) AS odds_ratio, round(low, 2) AS from_ratio, round(high, 2) AS to_ratio,
    failed_treated, treated, failed_control, control, -- from when a device began the update
    drawn_failed_treated, drawn_treated, drawn_failed_control, drawn_control, -- from the stage's start, begun or not
    compared_treated, compared_control, -- devices, or whole sites, whose health was compared
    round(exposure_min) AS exposure_min, incident, why
FROM muster.verdicts
ORDER BY n DESC
LIMIT 1 BY rollout, stage
LIMIT 100
