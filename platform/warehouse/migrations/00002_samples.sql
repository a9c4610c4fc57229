-- +goose NO TRANSACTION
-- +goose Up

-- The narrow overflow: values of metrics that no profile has, or that do not fit the column that the profile gave them. One row a value.
-- The wide tables (w_<profile>, made when a profile is defined) share its first and last columns and its indexes.
-- device is stored beside its number because a name that is looked up when read cannot prune: docs/decisions says how that was measured.
CREATE TABLE IF NOT EXISTS ${DB}.s_other (
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
    INDEX by_off off TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY (class, toYYYYMMDD(ts))
ORDER BY (metric, device_no, ts)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- Hours, computed whole and replaced whole by the retention service: it fills the staging table and replaces one partition. n counts
-- values; text has no hours.
CREATE TABLE IF NOT EXISTS ${DB}.samples_1h (
    class     Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3) DEFAULT 'standard' CODEC(ZSTD(1)),
    metric    LowCardinality(String) CODEC(ZSTD(1)),
    device    LowCardinality(String) CODEC(ZSTD(1)),
    hour      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    n         UInt64 CODEC(ZSTD(1)),
    sum       Float64 CODEC(ZSTD(1)),
    min       Float64 CODEC(ZSTD(1)),
    max       Float64 CODEC(ZSTD(1)),
    last      Float64 CODEC(ZSTD(1)),
    avg       Float64 ALIAS sum / n
) ENGINE = MergeTree
PARTITION BY (class, toYYYYMMDD(hour))
ORDER BY (metric, device, hour)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${DB}.samples_1h_staging AS ${DB}.samples_1h;

-- +goose Down
DROP TABLE IF EXISTS ${DB}.samples_1h_staging;
DROP TABLE IF EXISTS ${DB}.samples_1h;
DROP TABLE IF EXISTS ${DB}.s_other;
