package snapshot

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
)

// Place is where the snapshots of one fold lie: one partition of muster.snapshots.v1, under keys of its own,
// <prefix>/<number>/<chunk>. What lies in one partition can be read in order.
type Place struct {
	Prefix    string
	Partition int32
}

// registry is where the registry's lie: their numbers are slots.
var registry = Place{Prefix: "registry", Partition: 0}

// Ref names one snapshot of a place. Who has it from a trusted writer can read the snapshot and know that it is whole.
type Ref struct {
	No     uint64
	Start  int64 // offset of the first chunk
	Chunks uint32
	Sum    []byte // SHA-256 of the stream
}

func (p Place) key(no uint64, chunk uint32) []byte {
	return []byte(p.Prefix + "/" + strconv.FormatUint(no, 10) + "/" + strconv.FormatUint(uint64(chunk), 10))
}

// head is the key of the note that names a place's snapshots.
func head(prefix string) []byte { return []byte(prefix + "/head") }

// At is the place of a prefix on a topic of so many partitions: that where its head belongs by its key, so that any writer
// can write the head, one that is fenced too.
func At(prefix string, partitions int32) Place {
	return Place{Prefix: prefix, Partition: eventlog.PartitionOf(head(prefix), partitions)}
}

// Head is the record by which the place's owner says which snapshots there are. The newest is what holds.
func (p Place) Head(value []byte) *kgo.Record {
	return &kgo.Record{Topic: record.TopicSnapshots, Partition: p.Partition, Key: head(p.Prefix), Value: value}
}

// Drop says of snapshots that nobody needs them any more: their chunks go when the topic is compacted.
func (p Place) Drop(ctx context.Context, cfg eventlog.Config, gone ...Ref) error {
	client, err := writing(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, ref := range gone {
		for chunk := range ref.Chunks {
			records = append(records, &kgo.Record{Topic: record.TopicSnapshots, Partition: p.Partition, Key: p.key(ref.No, chunk)})
		}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("drop snapshots of %s: %w", p.Prefix, err)
	}
	return nil
}

// looks are how many records back from its end a head is looked for in its partition, one after the other: as a rule it was
// written a moment ago, behind the chunks of a snapshot.
var looks = []int64{32, 512, 1 << 62}

// Headed gives the value of the newest head that is committed; ok is false if there is none.
func (p Place) Headed(ctx context.Context, cfg eventlog.Config) (value []byte, ok bool, err error) {
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(8<<20),
		kgo.MaxConcurrentFetches(1),
	)...)
	if err != nil {
		return nil, false, fmt.Errorf("kafka client of a snapshot: %w", err)
	}
	defer client.Close()
	end, err := p.end(ctx, client)
	if err != nil {
		return nil, false, err
	}
	starts, err := kadm.NewClient(client).ListStartOffsets(ctx, record.TopicSnapshots)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, false, fmt.Errorf("ask for the start of the snapshots: %w", err)
	}
	first, _ := starts.Lookup(record.TopicSnapshots, p.Partition)
	for until, i := end, 0; until > first.Offset && !ok; i++ {
		from := max(first.Offset, end-min(looks[i], end))
		value, ok, err = p.last(ctx, client, head(p.Prefix), from, until)
		if err != nil {
			return nil, false, err
		}
		until = from
	}
	return value, ok, nil
}

// last is the last value of a key in [from, until).
func (p Place) last(ctx context.Context, client *kgo.Client, key []byte, from, until int64) (value []byte, ok bool, err error) {
	at := map[string]map[int32]kgo.Offset{record.TopicSnapshots: {p.Partition: kgo.NewOffset().At(from)}}
	client.AddConsumePartitions(at)
	defer client.PurgeTopicsFromConsuming(record.TopicSnapshots)
	for next := from; next < until; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return nil, false, fmt.Errorf("look for %s: %w", key, err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			rec := iter.Next()
			if next = rec.Offset + 1; rec.Offset < until && string(rec.Key) == string(key) {
				value, ok = rec.Value, rec.Value != nil
			}
		}
	}
	return value, ok, nil
}
