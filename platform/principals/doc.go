// Package principals says who may write and who may read the log: one table of users and rights, applied to
// the broker at the start of an installation (Redpanda and Kafka by requests, the embedded broker by its
// configuration). Three rights matter most: muster.registry.v1 is written by the registry alone, what the detectors
// say by them alone, and the sink's consumer group, whose commits carry the plans, is touched by the sink alone.
//
// Who may use the operators' API or ClickHouse is not said here.
package principals
