-- +goose NO TRANSACTION
-- +goose Up

-- Readings older than 30 days at the time of their record, which only devices enrolled with --history can send: all of them, whether
-- or not their profile has a column for the metric. One row a value, as in s_other, but a partition a year: a message of a thousand days
-- is then a part or a few here, and not a thousand in the tables that are kept by day.
CREATE TABLE IF NOT EXISTS ${DB}.s_old (
    class     Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3) DEFAULT 'standard' CODEC(ZSTD(1)),
    metric    LowCardinality(String) CODEC(ZSTD(1)),
    device_no UInt32 CODEC(Delta, ZSTD(1)),
    device    LowCardinality(String) CODEC(ZSTD(1)),
    ts        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    value     Float64 COMMENT 'NaN where the value is a text' CODEC(ZSTD(1)),
    int       Nullable(Int64) COMMENT 'the exact integer where scale is 0' CODEC(ZSTD(1)),
    text      String CODEC(ZSTD(1)),
    scale     Int8 COMMENT '0..9 integer scaled by 10^-scale, -1 float, -2 bool, -3 text' CODEC(ZSTD(1)),
    fw        LowCardinality(String) CODEC(ZSTD(1)),
    topic_gen UInt16 CODEC(ZSTD(1)),
    part      UInt16 CODEC(ZSTD(1)),
    off       UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_off off TYPE minmax GRANULARITY 1,
    INDEX by_ts ts TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY (class, toYear(ts))
ORDER BY (metric, device_no, ts)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- +goose Down
DROP TABLE IF EXISTS ${DB}.s_old;
