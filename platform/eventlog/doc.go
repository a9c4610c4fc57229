// Package eventlog is Kafka as Muster uses it: how a client connects (Config), how records are published by many
// requests at once (Producer), how a single writer appends for good (Writer), which topics there are (Topics,
// EnsureTopics) and how a person reads along (Tail).
//
// Its promises are those of the log: a Producer's done function with a nil error means that the log has the record,
// on all replicas that count; an error never proves that it has not. Records of one key keep their order. Every
// producer of the project places a key on the same partition.
//
// What does not belong here: what a record means (proto), consuming in a group (the sink, which owns its offsets),
// and the fold of the registry's log (roster).
package eventlog
