-- +goose NO TRANSACTION
-- +goose Up

-- What the registry knows of a device beside its name and place. Rows that were written before have the defaults, and form 0, by which the
-- projection sees that it must write them again. serial, issuer and the times are those of the newest certificate that is not revoked; of
-- an enrolment of before certificates were written down one by one they are not known. attributes is a JSON object; groups are joined by commas, which
-- no name has.
ALTER TABLE ${DB}.device_rows
    ADD COLUMN IF NOT EXISTS form        UInt8 DEFAULT 0,
    ADD COLUMN IF NOT EXISTS method      LowCardinality(String),
    ADD COLUMN IF NOT EXISTS label       LowCardinality(String),
    ADD COLUMN IF NOT EXISTS serial      String CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS issuer      LowCardinality(String),
    ADD COLUMN IF NOT EXISTS not_before  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS not_after   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS quarantined Bool,
    ADD COLUMN IF NOT EXISTS revoked_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS replaces    UInt32 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS replaced_by UInt32 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS attributes  String CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS groups      LowCardinality(String);

-- The registry's log, one row an event: who did what, when and why. It is for questions; what proves itself is `muster audit`. body is a JSON
-- object; events that hold a secret's hash, or certificates, have none here.
CREATE TABLE IF NOT EXISTS ${DB}.registry_events (
    n         UInt64 CODEC(Delta, ZSTD(1)),
    time      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    type      LowCardinality(String),
    who       LowCardinality(String),
    why       String CODEC(ZSTD(1)),
    device    String COMMENT 'that it is about, the old one of two' CODEC(ZSTD(1)),
    subject   String COMMENT 'what else it is about' CODEC(ZSTD(1)),
    body      String CODEC(ZSTD(1)),
    topic_gen UInt16 CODEC(ZSTD(1)),
    part      UInt16 CODEC(ZSTD(1)),
    off       UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_time time TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(off)
ORDER BY n
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW ${DB}.devices AS
SELECT
    d.no AS no, d.device AS device, d.cohort AS cohort, d.class AS class, d.profile AS profile, d.region AS region,
    d.interval_ms AS interval_ms, d.history AS history, d.revoked AS revoked, d.enrolled_at AS enrolled_at,
    d.quarantined AS quarantined,
    if(d.revoked_at = 0, NULL, d.revoked_at) AS revoked_at,
    d.method AS method, d.label AS label, d.serial AS serial, d.issuer AS issuer,
    if(d.not_after = 0, NULL, d.not_before) AS not_before,
    if(d.not_after = 0, NULL, d.not_after) AS not_after,
    old.device AS replaces, new.device AS replaced_by,
    JSONExtract(if(empty(d.attributes), '{}', d.attributes), 'Map(String, String)') AS attributes,
    if(empty(d.groups), [], splitByChar(',', CAST(d.groups, 'String'))) AS groups
FROM (SELECT * FROM ${DB}.device_rows FINAL) AS d
LEFT ANY JOIN (SELECT no, device FROM ${DB}.device_rows WHERE replaced_by != 0) AS old ON d.replaces = old.no
LEFT ANY JOIN (SELECT no, device FROM ${DB}.device_rows WHERE replaces != 0) AS new ON d.replaced_by = new.no;

-- What a device's number stands for, for joins: dictGet('muster.device_names', 'cohort', toUInt64(device_no)). Numbers are dense, so it is an array.
-- It is loaded when it is first asked, and again, at most a minute later, when the registry has said something.
CREATE DICTIONARY IF NOT EXISTS ${DB}.device_names (
    no UInt64, device String, cohort String, class String, profile String, region String, label String, groups String,
    revoked UInt8, quarantined UInt8, enrolled_at DateTime64(3, 'UTC')
)
PRIMARY KEY no
SOURCE(CLICKHOUSE(
    QUERY 'SELECT toUInt64(no), device, cohort, toString(class), profile, region, label, groups, revoked, quarantined, enrolled_at FROM ${DB}.device_rows FINAL'
    INVALIDATE_QUERY 'SELECT max(off), max(form) FROM ${DB}.device_rows'
))
LAYOUT(FLAT(INITIAL_ARRAY_SIZE 1024 MAX_ARRAY_SIZE 50000000))
LIFETIME(MIN 20 MAX 60);

CREATE OR REPLACE VIEW ${DB}.audit AS
SELECT n, time, who, why, replaceRegexpOne(type, '^muster\\.registry\\.(.*)\\.v1$', '\\1') AS type, device, subject, body, off
FROM ${DB}.registry_events FINAL;

-- What an operator may have to act on, one row a device and kind: 1,000 of each kind at most, the oldest first. overdue: the certificate is in the last third of
-- its life, so its device has missed to rotate it; expired: it is over; clone-sign: one identity looked like two in the last 7 days; refused: an attempt
-- was refused in the last 7 days.
CREATE OR REPLACE VIEW ${DB}.security_findings AS
SELECT 'overdue' AS kind, device, cohort, not_after - toIntervalMillisecond(intDiv(toUnixTimestamp64Milli(not_after) - toUnixTimestamp64Milli(not_before), 3)) AS since,
    concat('certificate ', serial, ' ends ', toString(not_after)) AS detail, toUInt64(1) AS times
FROM ${DB}.device_rows FINAL
WHERE NOT revoked AND not_after > now64(3) AND now64(3) >= not_after - toIntervalMillisecond(intDiv(toUnixTimestamp64Milli(not_after) - toUnixTimestamp64Milli(not_before), 3))
ORDER BY since LIMIT 1000
UNION ALL
SELECT 'expired' AS kind, device, cohort, not_after AS since, concat('certificate ', serial) AS detail, toUInt64(1) AS times
FROM ${DB}.device_rows FINAL
WHERE NOT revoked AND not_after != 0 AND not_after <= now64(3)
ORDER BY since LIMIT 1000
UNION ALL
SELECT 'clone-sign' AS kind, e.device AS device, any(d.cohort) AS cohort, min(e.ts) AS since,
    arrayStringConcat(arraySort(groupUniqArray(JSONExtractString(e.fields, 'sign'))), ', ') AS detail, sum(1 + JSONExtractUInt(e.fields, 'more')) AS times
FROM ${DB}.device_events AS e LEFT ANY JOIN (SELECT no, cohort FROM ${DB}.device_rows FINAL) AS d ON e.device_no = d.no
WHERE e.type = 'clone-sign' AND e.ts > now64(3) - toIntervalDay(7)
GROUP BY e.device ORDER BY since LIMIT 1000
UNION ALL
SELECT 'refused' AS kind, device, '' AS cohort, min(time) AS since, subject AS detail, sum(1 + JSONExtractUInt(body, 'more')) AS times
FROM ${DB}.registry_events FINAL
WHERE type = 'muster.registry.attempt-refused.v1' AND time > now64(3) - toIntervalDay(7)
GROUP BY device, subject ORDER BY since LIMIT 1000;

-- One row: how the identities stand now. Shares and ages are of devices that are not revoked and whose certificate is known.
CREATE OR REPLACE VIEW ${DB}.kpi_security AS
SELECT
    d.devices AS devices, d.ended AS revoked, d.held AS quarantined, d.unknown AS certificates_unknown,
    d.ages[1] AS age_p50_d, d.ages[2] AS age_p90_d, d.ages[3] AS age_p99_d, d.oldest AS age_max_d,
    if(d.known = 0, NULL, 1 - (d.overdue + d.expired) / d.known) AS rotated_in_time,
    d.overdue AS overdue, d.expired AS expired, c.devices AS clone_suspects, c.signs AS clone_signs, r.refused AS refused,
    d.overdue + d.expired + c.devices AS open_findings
FROM (
    SELECT
        count() AS devices, countIf(revoked) AS ended, countIf(quarantined AND NOT revoked) AS held,
        countIf(live AND not_after = 0) AS unknown, countIf(live AND not_after != 0) AS known,
        countIf(live AND not_after != 0 AND not_after <= now64(3)) AS expired,
        countIf(live AND not_after > now64(3) AND toUnixTimestamp64Milli(now64(3)) >= toUnixTimestamp64Milli(not_after) - intDiv(toUnixTimestamp64Milli(not_after) - toUnixTimestamp64Milli(not_before), 3)) AS overdue,
        quantilesIf(0.5, 0.9, 0.99)(age, live AND not_after != 0) AS ages, maxIf(age, live AND not_after != 0) AS oldest
    FROM (
        SELECT revoked, quarantined, not_before, not_after, NOT revoked AS live,
            (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(not_before)) / 86400000 AS age
        FROM ${DB}.device_rows FINAL
    )
) AS d
CROSS JOIN (
    SELECT uniqExact(device_no) AS devices, sum(1 + JSONExtractUInt(fields, 'more')) AS signs
    FROM ${DB}.device_events WHERE type = 'clone-sign' AND ts > now64(3) - toIntervalDay(7)
) AS c
CROSS JOIN (
    SELECT sum(1 + JSONExtractUInt(body, 'more')) AS refused
    FROM ${DB}.registry_events FINAL WHERE type = 'muster.registry.attempt-refused.v1' AND time > now64(3) - toIntervalDay(7)
) AS r;

-- Devices by the day and the way of their enrolment, of the last 400 days; before the way was written down it is empty.
CREATE OR REPLACE VIEW ${DB}.kpi_enrolments AS
SELECT toDate(enrolled_at) AS day, method, count() AS devices, countIf(revoked) AS revoked_since
FROM ${DB}.device_rows FINAL
WHERE enrolled_at > now64(3) - toIntervalDay(400)
GROUP BY day, method;

-- +goose Down
DROP VIEW IF EXISTS ${DB}.kpi_enrolments;
DROP VIEW IF EXISTS ${DB}.kpi_security;
DROP VIEW IF EXISTS ${DB}.security_findings;
DROP VIEW IF EXISTS ${DB}.audit;
DROP DICTIONARY IF EXISTS ${DB}.device_names;
DROP VIEW IF EXISTS ${DB}.devices;
DROP TABLE IF EXISTS ${DB}.registry_events;
CREATE OR REPLACE VIEW ${DB}.devices AS
SELECT no, device, cohort, class, profile, region, interval_ms, history, revoked, enrolled_at
FROM ${DB}.device_rows FINAL;
ALTER TABLE ${DB}.device_rows
    DROP COLUMN IF EXISTS form, DROP COLUMN IF EXISTS method, DROP COLUMN IF EXISTS label, DROP COLUMN IF EXISTS serial,
    DROP COLUMN IF EXISTS issuer, DROP COLUMN IF EXISTS not_before, DROP COLUMN IF EXISTS not_after, DROP COLUMN IF EXISTS quarantined,
    DROP COLUMN IF EXISTS revoked_at, DROP COLUMN IF EXISTS replaces, DROP COLUMN IF EXISTS replaced_by,
    DROP COLUMN IF EXISTS attributes, DROP COLUMN IF EXISTS groups;
