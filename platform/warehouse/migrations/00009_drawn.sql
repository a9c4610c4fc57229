-- +goose NO TRANSACTION
-- +goose Up

-- What a verdict says of all devices that were drawn for its stage, and whose health was compared. Rows that were written before have
-- zeros, as their records say nothing of it.
ALTER TABLE ${DB}.verdict_rows
    ADD COLUMN IF NOT EXISTS e_drawn              Float64 CODEC(ZSTD(1)) AFTER e_install,
    ADD COLUMN IF NOT EXISTS e_health             Float64 CODEC(ZSTD(1)) AFTER e_drawn,
    ADD COLUMN IF NOT EXISTS drawn_treated        UInt32 COMMENT 'begun or not, as all drawn_*' CODEC(ZSTD(1)) AFTER failed_control,
    ADD COLUMN IF NOT EXISTS drawn_control        UInt32 CODEC(ZSTD(1)) AFTER drawn_treated,
    ADD COLUMN IF NOT EXISTS drawn_failed_treated UInt32 CODEC(ZSTD(1)) AFTER drawn_control,
    ADD COLUMN IF NOT EXISTS drawn_failed_control UInt32 CODEC(ZSTD(1)) AFTER drawn_failed_treated,
    ADD COLUMN IF NOT EXISTS compared_treated     UInt32 COMMENT 'devices, or whole sites' CODEC(ZSTD(1)) AFTER drawn_failed_control,
    ADD COLUMN IF NOT EXISTS compared_control     UInt32 CODEC(ZSTD(1)) AFTER compared_treated;

CREATE OR REPLACE VIEW ${DB}.verdicts AS
SELECT
    n, rollout, stage, at, verdict, final, effect, low, high, smallest, e_fail, e_pass, e_absolute, e_install, e_drawn, e_health,
    treated, control, failed_treated, failed_control, drawn_treated, drawn_control, drawn_failed_treated, drawn_failed_control,
    compared_treated, compared_control, exposure_ms / 60000 AS exposure_min,
    JSONExtract(r.kinds, 'Array(Tuple(kind String, treated UInt32, control UInt32))') AS kinds,
    arrayMap(d -> d.1, JSONExtract(r.devices, 'Array(Tuple(id String, no UInt32, since Int64, marks UInt8))')) AS devices,
    incident, detector, why, off
FROM (SELECT * FROM ${DB}.verdict_rows FINAL) AS r;

-- +goose Down
CREATE OR REPLACE VIEW ${DB}.verdicts AS
SELECT
    n, rollout, stage, at, verdict, final, effect, low, high, smallest, e_fail, e_pass, e_absolute, e_install,
    treated, control, failed_treated, failed_control, exposure_ms / 60000 AS exposure_min,
    JSONExtract(r.kinds, 'Array(Tuple(kind String, treated UInt32, control UInt32))') AS kinds,
    arrayMap(d -> d.1, JSONExtract(r.devices, 'Array(Tuple(id String, no UInt32, since Int64, marks UInt8))')) AS devices,
    incident, detector, why, off
FROM (SELECT * FROM ${DB}.verdict_rows FINAL) AS r;
ALTER TABLE ${DB}.verdict_rows
    DROP COLUMN IF EXISTS e_drawn, DROP COLUMN IF EXISTS e_health, DROP COLUMN IF EXISTS drawn_treated, DROP COLUMN IF EXISTS drawn_control,
    DROP COLUMN IF EXISTS drawn_failed_treated, DROP COLUMN IF EXISTS drawn_failed_control, DROP COLUMN IF EXISTS compared_treated,
    DROP COLUMN IF EXISTS compared_control;
