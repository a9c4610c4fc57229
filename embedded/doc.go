// Package embedded holds the two engines of the local stack: a Kafka broker and a ClickHouse, each run as a
// process of its own by cmd/muster and in tests. No service imports it outside of tests: purego makes a
// binary dynamic, and the services' images are built from scratch.
package embedded
