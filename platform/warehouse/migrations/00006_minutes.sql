-- +goose NO TRANSACTION
-- +goose Up

-- Minutes of the metrics that have many values a minute, computed and replaced with the hours by the retention service. Others are not here:
-- the view samples_1m takes what is stored from here and the rest from the raw samples. Which is which stands in the same partition as the
-- minutes themselves, so that both change at once: a row of no metric says that of the metric that its device names all minutes from its own
-- minute, the start of the day, up to until are stored. A partition is therefore a day of all classes, and the granules are small, since each
-- question reads those rows of each day.
CREATE TABLE IF NOT EXISTS ${DB}.samples_1m_stored (
    class     Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3) DEFAULT 'standard' CODEC(ZSTD(1)),
    metric    LowCardinality(String) CODEC(ZSTD(1)),
    device    LowCardinality(String) CODEC(ZSTD(1)),
    minute    DateTime('UTC') CODEC(Delta, ZSTD(1)),
    n         UInt64 CODEC(ZSTD(1)),
    sum       Float64 CODEC(ZSTD(1)),
    min       Float64 CODEC(ZSTD(1)),
    max       Float64 CODEC(ZSTD(1)),
    last      Float64 CODEC(ZSTD(1)),
    until     DateTime('UTC') COMMENT 'of rows without a metric' CODEC(ZSTD(1)),
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toYYYYMMDD(minute)
ORDER BY (metric, device, minute)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${DB}.samples_1m_staging AS ${DB}.samples_1m_stored;

-- +goose Down
DROP TABLE IF EXISTS ${DB}.samples_1m_staging;
DROP TABLE IF EXISTS ${DB}.samples_1m_stored;
