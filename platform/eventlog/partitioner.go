package eventlog

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partitioner places a keyed record by Kafka's own hash of its key (murmur2, as Java, librdkafka's murmur2 and kgo
// do it), and a record without a key on the partition that it names. So one client writes a device's messages
// where its other messages are, and control records to each partition in turn.
//
// A key's partition never depends on which partitions can be written to right now: order per device is worth more
// than a detour.
func partitioner() kgo.Partitioner {
	byKey := kgo.StickyKeyPartitioner(nil)
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		keyed := byKey.ForTopic(topic)
		return func(r *kgo.Record, n int) int {
			if r.Key == nil {
				return int(r.Partition) // out of range fails the record
			}
			return keyed.Partition(r, n)
		}
	})
}

// hashed is made once: to make a partitioner costs more than a hundred placings. Of a keyed record it keeps nothing.
var hashed = sync.OnceValue(func() kgo.TopicPartitioner { return partitioner().ForTopic("") })

// PartitionOf is the partition of a key in a topic of n partitions.
func PartitionOf(key []byte, n int32) int32 {
	if key == nil {
		key = []byte{}
	}
	return int32(hashed().Partition(&kgo.Record{Key: key}, int(n)))
}
