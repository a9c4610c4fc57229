-- +goose NO TRANSACTION
-- +goose Up

-- How far the roll-ups have read the ledger, kept by the retention service: a row for each partition of the log, and the row (0, 0), which
-- says who keeps them. off is the first offset that was not read; stored_at is that of the ledger row before it, by which a ledger that was
-- made anew is told from the one that was read. Hours before closed are stored in samples_1h.
CREATE TABLE IF NOT EXISTS ${DB}.rollup_progress (
    topic_gen UInt16,
    part      UInt16,
    off       UInt64,
    stored_at DateTime64(3, 'UTC'),
    closed    DateTime('UTC'),
    owner     String,
    pass      UInt64
) ENGINE = ReplacingMergeTree(pass)
ORDER BY (topic_gen, part)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- +goose Down
DROP TABLE IF EXISTS ${DB}.rollup_progress;
