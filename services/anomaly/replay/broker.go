package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/page"
)

// Broker is the log as a Kafka broker has it.
type Broker struct{ cfg eventlog.Config }

// NewBroker reads as cfg says.
func NewBroker(cfg eventlog.Config) *Broker { return &Broker{cfg} }

// Read is Log's.
func (b *Broker) Read(ctx context.Context, topic string, part int32, from int64, each func(*Record) error) error {
	client, err := kgo.NewClient(append(b.cfg.Options(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(), // the end of a transaction takes an offset too; without it the end would never be reached
	)...)
	if err != nil {
		return fmt.Errorf("client of the log: %w", err)
	}
	defer client.Close()
	begin, end, err := bounds(ctx, kadm.NewClient(client), topic, part)
	if err != nil {
		return fmt.Errorf("asking for the ends of %s/%d: %w", topic, part, err)
	}
	if from < begin {
		return fmt.Errorf("%s/%d from offset %d, where it begins with %d: %w", topic, part, from, begin, ErrGone)
	}
	if from >= end {
		return nil
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {part: kgo.NewOffset().At(from)}})
	var made maker
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s/%d: %w", topic, part, err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			r := iter.Next()
			if r.Offset < end && !r.Attrs.IsControl() {
				if err := each(made.recordOf(r)); errors.Is(err, ErrEnough) {
					return nil
				} else if err != nil {
					return err
				}
			}
			if r.Offset >= end-1 {
				return nil
			}
		}
	}
}

// maker makes records a few at a time: a day of a fleet has millions of them.
type maker struct {
	records []Record
	headers []event.Header
}

const makes = 64

func (m *maker) recordOf(r *kgo.Record) *Record {
	if len(m.records) == 0 {
		m.records = make([]Record, makes)
	}
	out := &m.records[0]
	m.records = m.records[1:]
	*out = Record{Offset: r.Offset, Time: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	if n := len(r.Headers); n > 0 {
		if n > len(m.headers) {
			m.headers = make([]event.Header, max(n, makes))
		}
		out.Headers, m.headers = m.headers[:n:n], m.headers[n:]
		for i, h := range r.Headers {
			out.Headers[i] = event.Header{Key: h.Key, Value: h.Value}
		}
	}
	return out
}

// bounds are the first offset that is there and the one after the last that is committed.
func bounds(ctx context.Context, adm *kadm.Client, topic string, part int32) (begin, end int64, err error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	s, ok := starts.Lookup(topic, part)
	if !ok {
		return 0, 0, fmt.Errorf("there is no such partition")
	}
	e, _ := ends.Lookup(topic, part)
	return s.Offset, e.Offset, errors.Join(s.Err, e.Err)
}

// partitions is how many there are of what is keyed by device, and of the snapshots.
func (b *Broker) partitions(ctx context.Context) (devices, snapshots int32, err error) {
	client, err := kgo.NewClient(b.cfg.Options()...)
	if err != nil {
		return 0, 0, fmt.Errorf("client of the log: %w", err)
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx, record.TopicTelemetry, record.TopicSnapshots)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the log's partitions: %w", err)
	}
	return int32(len(topics[record.TopicTelemetry].Partitions)), int32(len(topics[record.TopicSnapshots].Partitions)), nil
}

// pageAfter is the offset of the first page whose time ends after an instant, below an offset that is known to be after it.
func (b *Broker) pageAfter(ctx context.Context, part int32, at, below int64) (int64, error) {
	low, err := b.first(ctx, record.TopicCohorts, part)
	if err != nil {
		return 0, err
	}
	for high := below; low < high; {
		middle := low + (high-low)/2
		next := high
		err := b.Read(ctx, record.TopicCohorts, part, middle, func(r *Record) error {
			p, err := page.Decode(r.Headers, r.Value)
			if err != nil {
				return fmt.Errorf("the page at offset %d: %w", r.Offset, err)
			}
			if p.Until <= at {
				next = r.Offset
			}
			return ErrEnough
		})
		if err != nil {
			return 0, err
		}
		if next < high {
			low = next + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// first is the offset at which a partition begins.
func (b *Broker) first(ctx context.Context, topic string, part int32) (int64, error) {
	client, err := kgo.NewClient(b.cfg.Options()...)
	if err != nil {
		return 0, fmt.Errorf("client of the log: %w", err)
	}
	defer client.Close()
	begin, _, err := bounds(ctx, kadm.NewClient(client), topic, part)
	if err != nil {
		return 0, fmt.Errorf("asking for the ends of %s/%d: %w", topic, part, err)
	}
	return begin, nil
}
