-- +goose NO TRANSACTION
-- +goose Up

CREATE OR REPLACE VIEW ${DB}.devices AS
SELECT no, device, cohort, class, profile, region, interval_ms, history, revoked, enrolled_at
FROM ${DB}.device_rows FINAL;

-- The stored messages, with names. boot and seq are NULL where the message had none.
CREATE OR REPLACE VIEW ${DB}.messages AS
SELECT
    d.device AS device,
    l.device_no AS device_no,
    if(l.seq = 18446744073709551615, NULL, l.boot) AS boot,
    if(l.seq = 18446744073709551615, NULL, l.seq) AS seq,
    l.got AS got,
    l.got + toIntervalMillisecond(l.t0) AS first_ts,
    l.got + toIntervalMillisecond(l.t1) AS last_ts,
    l.n AS n,
    l.faults AS faults,
    l.bytes AS bytes,
    l.stored_at AS stored_at,
    l.topic_gen AS topic_gen,
    l.part AS part,
    l.off AS off
FROM ${DB}.ledger AS l
LEFT ANY JOIN ${DB}.device_rows AS d ON l.device_no = d.no
WHERE l.outcome = 'stored';

CREATE OR REPLACE VIEW ${DB}.events AS
SELECT
    device, ts, type,
    if(seq = 18446744073709551615, NULL, boot) AS boot,
    if(seq = 18446744073709551615, NULL, seq) AS seq,
    idx, fw,
    JSONExtract(fields, 'Map(String, String)') AS fields,
    topic_gen, part, off
FROM ${DB}.device_events;

-- Seconds from the gateway's acceptance to the instant at which the sink wrote the row, by the minute of acceptance.
CREATE OR REPLACE VIEW ${DB}.kpi_data_lag AS
SELECT
    toStartOfMinute(got) AS minute,
    count() AS messages,
    quantile(0.5)(lag) AS p50_s,
    quantile(0.95)(lag) AS p95_s,
    quantile(0.99)(lag) AS p99_s,
    max(lag) AS max_s
FROM (
    SELECT got, (toUnixTimestamp64Milli(stored_at) - toUnixTimestamp64Milli(got)) / 1000 AS lag
    FROM ${DB}.ledger WHERE outcome = 'stored'
)
GROUP BY minute;

-- +goose Down
DROP VIEW IF EXISTS ${DB}.kpi_data_lag;
DROP VIEW IF EXISTS ${DB}.events;
DROP VIEW IF EXISTS ${DB}.messages;
DROP VIEW IF EXISTS ${DB}.devices;
