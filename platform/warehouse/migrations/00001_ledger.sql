-- +goose NO TRANSACTION
-- +goose Up

-- One row for each record of the telemetry and event topics, whatever became of it. (topic_gen, part, off) is the record; gaps and
-- doubles in off are what the auditor looks for.
-- hash is CRC-32C of the record's value and does not compress; t0 and t1 (first and last reading) are milliseconds relative to got, so
-- that they are small; seq is 2^64-1 where the message had no boot and seq.
CREATE TABLE IF NOT EXISTS ${DB}.ledger (
    topic_gen UInt16 CODEC(ZSTD(1)),
    part      UInt16 CODEC(ZSTD(1)),
    off       UInt64 CODEC(Delta, ZSTD(1)),
    outcome   Enum8('stored' = 1, 'duplicate' = 2, 'conflict' = 3, 'quarantined' = 4, 'control' = 5) CODEC(ZSTD(1)),
    device_no UInt32 CODEC(T64, ZSTD(1)),
    boot      UInt32 CODEC(T64, ZSTD(1)),
    seq       UInt64 CODEC(T64, ZSTD(1)),
    hash      UInt32 CODEC(NONE),
    got       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    t0        Int64 CODEC(T64, ZSTD(1)),
    t1        Int64 CODEC(T64, ZSTD(1)),
    n         UInt32 COMMENT 'values stored, rows in device_events for a record of the event topic' CODEC(T64, ZSTD(1)),
    faults    UInt32 COMMENT 'rows of this record in quarantine' CODEC(T64, ZSTD(1)),
    bytes     UInt32 CODEC(T64, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') COMMENT 'the one column that a rebuild does not repeat' CODEC(Delta, ZSTD(1))
) ENGINE = MergeTree
PARTITION BY toYYYYMM(got)
ORDER BY (topic_gen, part, off)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- What could not be stored, value by value, or a whole message as one row with an empty metric. ts_ms is the device's own word in Unix
-- milliseconds and may be absurd, which is why it is no DateTime64.
CREATE TABLE IF NOT EXISTS ${DB}.quarantine (
    topic_gen UInt16 CODEC(ZSTD(1)),
    part      UInt16 CODEC(ZSTD(1)),
    off       UInt64 CODEC(Delta, ZSTD(1)),
    idx       UInt32 COMMENT 'counts the rows of one record' CODEC(Delta, ZSTD(1)),
    got       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    device_no UInt32 CODEC(ZSTD(1)),
    device    LowCardinality(String) CODEC(ZSTD(1)),
    boot      UInt32 CODEC(ZSTD(1)),
    seq       UInt64 CODEC(ZSTD(1)),
    metric    LowCardinality(String) CODEC(ZSTD(1)),
    ts_ms     Int64 CODEC(ZSTD(1)),
    reason    LowCardinality(String) CODEC(ZSTD(1)),
    detail    String CODEC(ZSTD(1)),
    payload   String CODEC(ZSTD(3))
) ENGINE = MergeTree
PARTITION BY toYYYYMM(got)
ORDER BY (topic_gen, part, off, idx)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- +goose Down
DROP TABLE IF EXISTS ${DB}.quarantine;
DROP TABLE IF EXISTS ${DB}.ledger;
