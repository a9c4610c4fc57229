// Package kafka is the log of the local stack: franz-go's kfake, a Kafka broker in Go, as a durable broker of one
// node on a loopback port.
//
// It speaks the real protocol, so services, kcat and librdkafka connect unchanged. What this package adds to
// kfake is what a broker that keeps data needs:
//
//   - one process per data directory, held by a lock, because two would overwrite each other's segments;
//   - users (SASL SCRAM-SHA-256) and ACLs that come from the Config at each start and never from the disk, so
//     that a new secret or a narrower right holds after a restart;
//   - explicit broker settings where kfake's defaults would lose data: nothing expires unless its topic says so
//     (kfake expires after 7 days whatever has no setting of its own), committed offsets live 30 days (7), a
//     batch may have 8 MiB (1 MiB), and no topic is created by a misspelt name;
//   - retention, applied each minute by each topic's own retention.ms and retention.bytes, and by Config.Caps
//     where a topic is bounded in bytes but never below an age;
//   - members of groups that are waited for and let go as Kafka does, and sooner where a connection's end says that
//     a process has died (members.go says what kfake does instead);
//   - bounds on what a connection may ask (guard.go) and on who may have how many (gate.go): neither a stranger nor a
//     user with few rights can end the broker, fill its memory, or take every place.
//
// With Config.Sync an acknowledged record has been fsynced: kill -9 and a power cut lose nothing acknowledged.
//
// It is not a cluster: one node, no replication, acks=all means that one disk.
package kafka
