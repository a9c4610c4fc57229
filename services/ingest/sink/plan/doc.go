// Package plan is the unit of exactly once: which offsets of one partition are
// stored together, under which schema revision, and under which names the
// store is to remember them.
//
// A plan travels in the metadata of the consumer group's commit. It is written
// before the first row is sent, at the offset where it begins; whoever owns
// the partition next reads it there and can tell what may be half done.
//
// The package is pure: no Kafka, no ClickHouse, no clock.
package plan
