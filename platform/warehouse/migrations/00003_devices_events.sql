-- +goose NO TRANSACTION
-- +goose Up

-- What the registry's log says of each device, one row a change; off is the log's offset, and the latest one holds. Read the view
-- devices instead.
CREATE TABLE IF NOT EXISTS ${DB}.device_rows (
    no          UInt32,
    device      String CODEC(ZSTD(1)),
    cohort      LowCardinality(String),
    class       Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3) DEFAULT 'standard',
    profile     LowCardinality(String),
    region      LowCardinality(String),
    interval_ms UInt32,
    history     Bool,
    revoked     Bool,
    enrolled_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    topic_gen   UInt16,
    part        UInt16,
    off         UInt64
) ENGINE = ReplacingMergeTree(off)
ORDER BY no
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row a device event; fields is a JSON object.
CREATE TABLE IF NOT EXISTS ${DB}.device_events (
    device_no UInt32 CODEC(Delta, ZSTD(1)),
    device    LowCardinality(String) CODEC(ZSTD(1)),
    ts        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    type      LowCardinality(String) CODEC(ZSTD(1)),
    boot      UInt32 CODEC(ZSTD(1)),
    seq       UInt64 CODEC(ZSTD(1)),
    idx       UInt16 CODEC(ZSTD(1)),
    fw        LowCardinality(String) CODEC(ZSTD(1)),
    fields    String CODEC(ZSTD(1)),
    topic_gen UInt16 CODEC(ZSTD(1)),
    part      UInt16 CODEC(ZSTD(1)),
    off       UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_off off TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (device_no, ts)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- +goose Down
DROP TABLE IF EXISTS ${DB}.device_events;
DROP TABLE IF EXISTS ${DB}.device_rows;
