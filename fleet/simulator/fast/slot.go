package fast

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// slot is a stretch of simulated time that is made, sorted and written at once. It begins at a beat.
type slot struct {
	from, until int64
	step        int64   // between beats
	beats       []int64 // at which gateways write their watermarks
	harvests    []harvest
	pages       []page // by partition
	acks        sync.WaitGroup
	mu          sync.Mutex // over failed
	failed      error
}

// page is what a slot has for one partition, in order.
type page struct {
	refs    []ref
	records []kgo.Record
	headers []kgo.RecordHeader
}

// ref points to a record to be: an entry of a lot, or a watermark.
type ref struct {
	key  uint64
	lot  int32 // -1: a watermark
	at   int32
	sent int8 // stream
}

// mark is one watermark, written to each partition of both topics.
type mark struct {
	key     uint64
	at      int64
	value   []byte
	headers []kgo.RecordHeader
}

func (s *slot) beat(at int64) int { return int((at - s.from) / s.step) }

// reset makes the slot that of another stretch.
func (s *slot) reset(from, until, beat int64) {
	s.from, s.until, s.step, s.beats = from, until, beat, s.beats[:0]
	for at := from; at < until; at += beat {
		s.beats = append(s.beats, at)
	}
}

// marks are the watermarks of the slot, by all that the gateways took before each. A gateway that is out writes none.
func (r *run) marks(s *slot) ([]mark, error) {
	var out []mark
	regions := len(r.fleet.regions)
	for j, at := range s.beats {
		for g, region := range r.fleet.regions {
			if !r.out(region, at) {
				m, err := r.mark(at, s.from, g)
				if err != nil {
					return nil, err
				}
				out = append(out, m)
			}
			for i := range s.harvests {
				r.accepted[g] += uint64(s.harvests[i].accepted[j*regions+g])
				r.refused[g] += uint64(s.harvests[i].refused[j*regions+g])
			}
		}
	}
	return out, nil
}

func (r *run) mark(at, from int64, gateway int) (mark, error) {
	region := r.fleet.regions[gateway]
	w := event.Watermark{Gateway: gatewayName(region), Time: at, Accepted: r.accepted[gateway], Region: region}
	if n := r.refused[gateway]; n > 0 {
		w.Refused = map[string]uint64{"revoked": n}
	}
	value, headers, err := w.Encode()
	if err != nil {
		return mark{}, fmt.Errorf("watermark of %s: %w", w.Gateway, err)
	}
	m := mark{key: keyOf(at-from, 0, gateway), at: at, value: value}
	for _, h := range headers {
		m.headers = append(m.headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return m, nil
}

// out says whether a region's gateway writes nothing.
func (r *run) out(region string, at int64) bool {
	for _, o := range r.outages {
		if at < o.At || at >= o.Until {
			continue
		}
		if o.Kind == plan.LogStalled || o.Kind == plan.GatewayDown && (o.Region == region || o.Region == "") {
			return true
		}
	}
	return false
}

// write sorts what the slot has for a partition and hands it to the log. It returns before the log has answered.
func (r *run) write(ctx context.Context, s *slot, marks []mark, partition int32) {
	p := &s.pages[partition]
	p.refs = p.refs[:0]
	for i := range r.lots {
		if r.lots[i].partition != partition {
			continue
		}
		for n := range s.harvests[i].entries {
			e := &s.harvests[i].entries[n]
			p.refs = append(p.refs, ref{e.key, int32(i), int32(n), int8(e.stream)})
		}
	}
	for i := range marks {
		p.refs = append(p.refs, ref{marks[i].key, -1, int32(i), int8(world.Telemetry)}, ref{marks[i].key, -1, int32(i), int8(world.Events)})
	}
	slices.SortFunc(p.refs, func(a, b ref) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.sent, b.sent)) })
	p.records = slices.Grow(p.records[:0], len(p.refs))[:len(p.refs)]
	p.headers = slices.Grow(p.headers[:0], len(p.refs))[:len(p.refs)]
	s.acks.Add(len(p.refs))
	for i, f := range p.refs {
		rec := &p.records[i]
		if f.lot < 0 {
			m := &marks[f.at]
			*rec = kgo.Record{Topic: topicOf(world.Stream(f.sent)), Partition: partition, Value: m.value, Headers: m.headers, Timestamp: time.UnixMilli(m.at)}
		} else {
			r.compose(rec, s, f, p.headers[i:i+1:i+1], partition)
		}
		r.sums[f.sent][partition].add(rec)
		r.client.Produce(ctx, rec, s.landed)
	}
	r.records.Add(int64(len(p.refs)))
}

// compose makes the record of an entry, as the gateway does.
func (r *run) compose(rec *kgo.Record, s *slot, f ref, headers []kgo.RecordHeader, partition int32) {
	h := &s.harvests[f.lot]
	e := &h.entries[f.at]
	m := &r.fleet.members[e.member]
	at := s.from + int64(e.key>>(deviceBits+orderBits))
	headers[0] = kgo.RecordHeader{Key: record.HeaderDevice, Value: m.stamp}
	switch {
	case e.sign:
		for _, h := range signHeaders(m, gatewayName(r.fleet.regions[r.fleet.region[r.devices[e.member].Cohort]]), at) {
			headers = append(headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
	case e.stream == world.Events:
		headers = append(headers, eventHeaders(m, e)...)
	}
	*rec = kgo.Record{
		Topic: topicOf(e.stream), Partition: partition, Key: m.key, Value: h.bytes[e.from:e.till:e.till], Headers: headers, Timestamp: time.UnixMilli(at),
	}
}

func eventHeaders(m *member, e *entry) []kgo.RecordHeader {
	return []kgo.RecordHeader{
		{Key: record.HeaderType, Value: []byte(event.TypeDevice)},
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: fmt.Appendf(nil, "%d/%d", e.boot, e.seq)},
		{Key: "ce_source", Value: append([]byte("/muster/device/"), m.key...)},
		{Key: "content-type", Value: []byte("application/msgpack")},
	}
}

func topicOf(s world.Stream) string {
	if s == world.Events {
		return record.TopicEvents
	}
	return record.TopicTelemetry
}

func (s *slot) landed(_ *kgo.Record, err error) {
	if err != nil {
		s.fail(err)
	}
	s.acks.Done()
}

// fail keeps the first fault of the slot.
func (s *slot) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// settled waits until the log has the slot.
func (s *slot) settled() error {
	s.acks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("writing the log: %w", s.failed)
	}
	return nil
}

// sum is over all that a partition of a topic holds, in order.
type sum struct {
	hash hash.Hash
	head []byte
}

func newSum() *sum { return &sum{hash: sha256.New()} }

func (x *sum) add(rec *kgo.Record) {
	x.head = binary.BigEndian.AppendUint64(x.head[:0], uint64(rec.Timestamp.UnixMilli()))
	x.head = binary.BigEndian.AppendUint32(x.head, uint32(len(rec.Key)))
	x.head = append(x.head, rec.Key...)
	for i := range rec.Headers {
		x.head = append(append(x.head, rec.Headers[i].Key...), 0)
		x.head = binary.BigEndian.AppendUint32(x.head, uint32(len(rec.Headers[i].Value)))
		x.head = append(x.head, rec.Headers[i].Value...)
	}
	x.head = binary.BigEndian.AppendUint32(x.head, uint32(len(rec.Value)))
	x.hash.Write(x.head)
	x.hash.Write(rec.Value)
}
