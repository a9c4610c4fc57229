package decide

import (
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// State is what decisions are made against: the fold that every reader of the log has, and beside it the look-ups by
// content that only its writer needs. It is not for concurrent use.
type State struct {
	*roster.State
	// offset is that of the next record as far as is known here. A transaction's end takes an offset too and is not seen
	// at once, so revisions may lag behind those that readers of the log have; no decision looks at them.
	offset  int64
	holders map[[32]byte]uint32 // device by key
	schemas map[string]uint32   // schema by content
}

// NewState is the state before the first event.
func NewState() *State {
	return &State{State: roster.NewState(), holders: map[[32]byte]uint32{}, schemas: map[string]uint32{}}
}

// Apply folds a record of the log. An error says that it was ignored, as every reader of the log ignores it.
func (s *State) Apply(rec *kgo.Record) error {
	s.offset = max(s.offset, rec.Offset+1)
	change, err := s.ApplyRecord(rec)
	if err != nil {
		return err
	}
	if change.Device.No != 0 {
		s.holders[change.Device.SPKI] = change.Device.No
	}
	if change.Schema != 0 {
		if schema, ok := s.Schema(change.Schema); ok {
			s.schemas[content(schema.Metrics)] = schema.No
		}
	}
	return nil
}

// Extend folds a new event in and gives the record that says it: the next link of the chain.
func (s *State) Extend(now time.Time, who, why string, body event.Body) (*kgo.Record, error) {
	n, prev := s.Link()
	e := event.Registry{N: n, Prev: prev, Time: now.UnixMilli(), Who: who, Why: why, Body: body}
	value, headers, err := e.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", body.Type(), err)
	}
	rec := &kgo.Record{Topic: record.TopicRegistry, Value: value, Timestamp: now, Offset: s.offset}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if err := s.Apply(rec); err != nil {
		return nil, fmt.Errorf("fold %s: %w", body.Type(), err)
	}
	return rec, nil
}

// After are the devices whose numbers come after no, in their order.
func (s *State) After(no uint32) iter.Seq[roster.Device] {
	return func(yield func(roster.Device) bool) {
		for no++; no != 0; no++ {
			if d, ok := s.DeviceByNo(no); !ok || !yield(d) {
				return
			}
		}
	}
}

// Profile finds a profile by its number.
func (s *State) Profile(no uint16) (roster.Profile, bool) { return s.ProfileAt(no, s.Rev()) }

// ProfileNamed finds a profile by its name.
func (s *State) ProfileNamed(name string) (roster.Profile, bool) {
	for _, p := range s.Profiles() {
		if p.Name == name {
			return p, true
		}
	}
	return roster.Profile{}, false
}

// content is a schema's identity. The order counts: messages refer to metrics by their place.
func content(metrics []roster.SchemaMetric) string {
	var key []byte
	for _, m := range metrics {
		key = append(append(key, m.Name...), 0, byte(m.Kind), m.Scale)
	}
	return string(key)
}
