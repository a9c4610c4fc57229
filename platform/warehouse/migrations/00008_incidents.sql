-- +goose NO TRANSACTION
-- +goose Up

-- What the detector's log says, one row a record: n counts all of its records, incidents' and verdicts' together, so that a record that was
-- written twice is one row. Read the views instead. devices is a JSON array, numbers, thresholds and units are JSON objects.
CREATE TABLE IF NOT EXISTS ${DB}.incident_rows (
    n           UInt64 CODEC(Delta, ZSTD(1)),
    id          String CODEC(ZSTD(1)),
    at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    state       LowCardinality(String),
    kind        LowCardinality(String),
    cause       LowCardinality(String),
    severity    LowCardinality(String),
    title       String CODEC(ZSTD(1)),
    why         String CODEC(ZSTD(1)),
    cohort      LowCardinality(String),
    region      LowCardinality(String),
    gateway     LowCardinality(String),
    rollout     LowCardinality(String),
    metric      LowCardinality(String),
    device      String CODEC(ZSTD(1)),
    since       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    resolved_at DateTime64(3, 'UTC') COMMENT '0: it is open' CODEC(Delta, ZSTD(1)),
    revision    UInt32 CODEC(ZSTD(1)),
    reopened    UInt32 CODEC(ZSTD(1)),
    affected    UInt32 COMMENT 'devices; the column devices may name fewer' CODEC(ZSTD(1)),
    devices     String CODEC(ZSTD(1)),
    numbers     String CODEC(ZSTD(1)),
    thresholds  String CODEC(ZSTD(1)),
    units       String CODEC(ZSTD(1)),
    acked_by    LowCardinality(String),
    acked_at    DateTime64(3, 'UTC') COMMENT '0: nobody has' CODEC(Delta, ZSTD(1)),
    detector    LowCardinality(String),
    runbook     LowCardinality(String),
    off         UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_at at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(off)
ORDER BY n
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${DB}.verdict_rows (
    n              UInt64 CODEC(Delta, ZSTD(1)),
    rollout        LowCardinality(String),
    stage          UInt8,
    at             DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    verdict        LowCardinality(String),
    final          Bool,
    effect         Float64 CODEC(ZSTD(1)),
    low            Float64 CODEC(ZSTD(1)),
    high           Float64 CODEC(ZSTD(1)),
    smallest       Float64 CODEC(ZSTD(1)),
    e_fail         Float64 CODEC(ZSTD(1)),
    e_pass         Float64 CODEC(ZSTD(1)),
    e_absolute     Float64 CODEC(ZSTD(1)),
    e_install      Float64 CODEC(ZSTD(1)),
    treated        UInt32 CODEC(ZSTD(1)),
    control        UInt32 CODEC(ZSTD(1)),
    failed_treated UInt32 CODEC(ZSTD(1)),
    failed_control UInt32 CODEC(ZSTD(1)),
    exposure_ms    Int64 CODEC(ZSTD(1)),
    kinds          String COMMENT 'a JSON array' CODEC(ZSTD(1)),
    devices        String COMMENT 'a JSON array' CODEC(ZSTD(1)),
    incident       String CODEC(ZSTD(1)),
    detector       LowCardinality(String),
    why            String CODEC(ZSTD(1)),
    off            UInt64 CODEC(Delta, ZSTD(1))
) ENGINE = ReplacingMergeTree(off)
ORDER BY n
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The stretches of the log that a record of either kind stands on.
CREATE TABLE IF NOT EXISTS ${DB}.evidence_rows (
    n        UInt64 CODEC(Delta, ZSTD(1)),
    idx      UInt32 CODEC(ZSTD(1)),
    incident String CODEC(ZSTD(1)),
    rollout  LowCardinality(String),
    topic    LowCardinality(String),
    part     Int32 CODEC(ZSTD(1)),
    from_off Int64 CODEC(ZSTD(1)),
    to_off   Int64 COMMENT 'exclusive' CODEC(ZSTD(1)),
    off      UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_incident incident TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree(off)
ORDER BY (n, idx)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- What held for an incident, and when: one row a record.
CREATE OR REPLACE VIEW ${DB}.incident_history AS
SELECT
    n, id, at, revision, state, kind, cause, severity, title, why, cohort, region, gateway, rollout, metric, device, since,
    if(resolved_at = 0, NULL, resolved_at) AS resolved_at, reopened, affected,
    arrayMap(d -> CAST((d.1, d.2, fromUnixTimestamp64Milli(d.3, 'UTC'), arrayMap(b -> ['power', 'radio', 'updated', 'never'][b + 1], bitPositionsToArray(d.4))),
        'Tuple(device String, no UInt32, since DateTime64(3, \'UTC\'), marks Array(String))'),
        JSONExtract(r.devices, 'Array(Tuple(id String, no UInt32, since Int64, marks UInt8))')) AS devices,
    JSONExtract(r.numbers, 'Map(String, Float64)') AS numbers,
    JSONExtract(r.thresholds, 'Map(String, Float64)') AS thresholds,
    JSONExtract(r.units, 'Map(String, String)') AS units,
    acked_by, if(acked_at = 0, NULL, acked_at) AS acked_at, detector, runbook, off
FROM (SELECT * FROM ${DB}.incident_rows FINAL) AS r;

-- Each incident as it stands: one row an incident.
CREATE OR REPLACE VIEW ${DB}.incidents AS
SELECT
    id, state, kind, cause, severity, title, why, cohort, region, gateway, rollout, metric, device, since, at AS updated_at,
    if(resolved_at = 0, NULL, resolved_at) AS resolved_at, revision, reopened, affected,
    arrayMap(d -> CAST((d.1, d.2, fromUnixTimestamp64Milli(d.3, 'UTC'), arrayMap(b -> ['power', 'radio', 'updated', 'never'][b + 1], bitPositionsToArray(d.4))),
        'Tuple(device String, no UInt32, since DateTime64(3, \'UTC\'), marks Array(String))'),
        JSONExtract(r.devices, 'Array(Tuple(id String, no UInt32, since Int64, marks UInt8))')) AS devices,
    JSONExtract(r.numbers, 'Map(String, Float64)') AS numbers,
    JSONExtract(r.thresholds, 'Map(String, Float64)') AS thresholds,
    JSONExtract(r.units, 'Map(String, String)') AS units,
    acked_by, if(acked_at = 0, NULL, acked_at) AS acked_at, detector, runbook, n
FROM (SELECT * FROM ${DB}.incident_rows FINAL WHERE n IN (SELECT max(n) FROM ${DB}.incident_rows GROUP BY id)) AS r;

-- How the stages of rollouts did: one row a verdict. effect and its interval are odds ratios, e_* are log10 of e-values.
CREATE OR REPLACE VIEW ${DB}.verdicts AS
SELECT
    n, rollout, stage, at, verdict, final, effect, low, high, smallest, e_fail, e_pass, e_absolute, e_install,
    treated, control, failed_treated, failed_control, exposure_ms / 60000 AS exposure_min,
    JSONExtract(r.kinds, 'Array(Tuple(kind String, treated UInt32, control UInt32))') AS kinds,
    arrayMap(d -> d.1, JSONExtract(r.devices, 'Array(Tuple(id String, no UInt32, since Int64, marks UInt8))')) AS devices,
    incident, detector, why, off
FROM (SELECT * FROM ${DB}.verdict_rows FINAL) AS r;

CREATE OR REPLACE VIEW ${DB}.evidence AS
SELECT n, idx, incident, rollout, topic, part, from_off, to_off
FROM ${DB}.evidence_rows FINAL;

-- +goose Down
DROP VIEW IF EXISTS ${DB}.evidence;
DROP VIEW IF EXISTS ${DB}.verdicts;
DROP VIEW IF EXISTS ${DB}.incidents;
DROP VIEW IF EXISTS ${DB}.incident_history;
DROP TABLE IF EXISTS ${DB}.evidence_rows;
DROP TABLE IF EXISTS ${DB}.verdict_rows;
DROP TABLE IF EXISTS ${DB}.incident_rows;
