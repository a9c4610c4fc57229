package follow

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/shard"
)

const dayMS = 24 * 60 * 60 * 1000

// shardFold is a shard as a line runs it.
type shardFold struct {
	*shard.State
	heard *int64
}

// shards are the lines of the first stage.
func shards(settings shard.Settings, detector string) *kind {
	return &kind{
		stage: stageShard, topic: record.TopicCohorts, inputs: shardInputs, prefix: shardPrefix, held: 50_000, detector: detector,
		begin: func(part, parts int32) (Fold, error) {
			s, err := shard.New(part, parts, settings)
			return shardFold{s, new(int64)}, err
		},
		number: func(rec *kgo.Record) (uint64, int64, error) {
			p, err := page.Decode(headersOf(rec), rec.Value)
			if err != nil {
				return 0, 0, err
			}
			return p.N, p.Until, nil
		},
		registry: func(rec *kgo.Record) int64 {
			p, err := page.Decode(headersOf(rec), rec.Value)
			if err != nil {
				return math.MaxInt64 // it was read a moment ago
			}
			return p.Registry
		},
	}
}

func (f shardFold) Take(rec *kgo.Record) error {
	if rec.Topic == record.TopicRegistry {
		f.Registry(registryRecord(rec))
		return nil
	}
	h := shard.Heard{Time: rec.Timestamp.UnixMilli(), Offset: rec.Offset, Key: rec.Key, Value: rec.Value, Type: typeOf(rec)}
	if rec.Topic == record.TopicTelemetry {
		// A gateway whose clock is a year ahead is no lag of a year.
		if clock := f.State.Clock(); clock == 0 || h.Time-clock < dayMS {
			*f.heard = h.Time
		}
		f.Telemetry(h)
	} else {
		f.Events(h)
	}
	return nil
}

// Heard is the time of the last record, and not the shard's clock: that stands still where watermarks are missing.
func (f shardFold) Heard() int64 { return *f.heard }

func (f shardFold) Reached(Place, int64) {}

func (f shardFold) Said() ([]Output, error) {
	var out []Output
	for _, p := range f.Pages() {
		out = append(out, Output{N: p.N, At: p.Until, Record: func(n uint64) (*kgo.Record, error) {
			told := *p
			told.N = n
			value, headers, err := told.Encode()
			if err != nil {
				return nil, fmt.Errorf("page %d: %w", n, err)
			}
			return &kgo.Record{Value: value, Headers: toKafka(headers)}, nil
		}})
	}
	return out, nil
}

func (f shardFold) Next(in Place) int64 {
	telemetry, events, registry, _ := f.Position()
	switch in.Topic {
	case record.TopicTelemetry:
		return telemetry
	case record.TopicEvents:
		return events
	}
	return registry
}

// Clock is what the shard has told of, and not its clock: what it has yet to tell of is later.
func (f shardFold) Clock() int64 { return f.Until() }

func (f shardFold) Snapshot(w io.Writer) error { return f.State.Snapshot(w) }
func (f shardFold) Restore(r io.Reader) error  { return f.State.Restore(r) }

func registryRecord(rec *kgo.Record) census.Record {
	return census.Record{Offset: rec.Offset, Time: rec.Timestamp.UnixMilli(), Headers: headersOf(rec), Value: rec.Value}
}

func typeOf(rec *kgo.Record) string {
	for i := range rec.Headers {
		if rec.Headers[i].Key == record.HeaderType {
			if string(rec.Headers[i].Value) == record.TypeWatermark {
				return record.TypeWatermark
			}
			return strings.Clone(string(rec.Headers[i].Value))
		}
	}
	return ""
}

func toKafka(headers []event.Header) []kgo.RecordHeader {
	out := make([]kgo.RecordHeader, len(headers))
	for i, h := range headers {
		out[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
	}
	return out
}
