//go:build linux

package torture

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

// stretch is a partition of the log from its beginning to where it ended when it was asked.
type stretch struct {
	topic string
	part  int32
	gen   uint16
	end   int64
}

// entry is what stands in a row of the ledger, or must.
type entry struct {
	outcome  string
	deviceNo uint32
	boot     uint32
	seq      uint64
	hash     uint32
	device   string // the log's word
}

// rule says what becomes of a message that stands in the log behind all those that it was asked of before.
type rule func(k key, hash uint32) (outcome string)

// people follows the registry's log until stop, which waits.
func (s *site) people() (who *roster.Roster, stop func()) {
	s.t.Helper()
	cfg, err := s.logConfig()
	if err != nil {
		s.t.Fatal(err)
	}
	if who, err = roster.Follow(cfg, roster.Settings{}); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = who.Run(ctx) })
	return who, func() { cancel(); wg.Wait() }
}

// stretches are those of telemetry and events that hold anything, and how many records that is.
func (s *site) stretches(v *verdict) (all []stretch, records int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	adm, err := s.adm()
	if err != nil {
		s.t.Fatal(err)
	}
	topics := []string{record.TopicTelemetry, record.TopicEvents}
	ids, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		s.t.Fatal(err)
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		s.t.Fatal(err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		s.t.Fatal(err)
	}
	who, stop := s.people()
	defer stop()
	for _, t := range topics {
		gen, err := who.WaitTopicGen(ctx, ids[t].ID)
		if err != nil {
			s.t.Fatal(err)
		}
		for p, o := range ends[t] {
			if start, _ := starts.Lookup(t, p); start.Offset != 0 {
				v.find("%s/%d begins at %d", t, p, start.Offset)
			}
			if o.Offset > 0 {
				all = append(all, stretch{t, p, gen, o.Offset})
				records += int(o.Offset)
			}
		}
	}
	return all, records
}

// walk reads the log and the ledger side by side, and holds each row to what the rule makes of its record. Neither has
// to fit in memory. visit sees what each record must be.
func (s *site) walk(v *verdict, all []stretch, by rule, visit func(entry)) {
	s.t.Helper()
	last := map[string]key{}
	for _, st := range all {
		s.walkOne(v, st, by, func(want, got entry, stored bool) {
			visit(want)
			if !stored || got.outcome != "stored" {
				return
			}
			if l, ok := last[want.device]; ok && (l.boot > want.boot || l.boot == want.boot && l.seq >= want.seq) {
				v.find("ORDER: device %s: (%d, %d) stands behind (%d, %d)", want.device, want.boot, want.seq, l.boot, l.seq)
			}
			last[want.device] = key{want.device, want.boot, want.seq}
		})
	}
}

// row is one of the ledger's.
type row struct {
	entry
	off    uint64
	faults uint32
}

func (s *site) walkOne(v *verdict, st stretch, by rule, visit func(want, got entry, stored bool)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Minute)
	defer cancel()
	cfg, err := s.logConfig()
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := kgo.NewClient(append(cfg.Options(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{st.topic: {st.part: kgo.NewOffset().At(0)}}))...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	rows, err := s.house.Conn().Query(ctx, fmt.Sprintf("SELECT off, toString(outcome), device_no, boot, seq, hash, faults FROM muster.ledger WHERE topic_gen = %d AND part = %d ORDER BY off", st.gen, st.part))
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	next := func() (r row, more bool) {
		if !rows.Next() {
			if err := rows.Err(); err != nil {
				s.t.Fatal(err)
			}
			return r, false
		}
		if err := rows.Scan(&r.off, &r.outcome, &r.deviceNo, &r.boot, &r.seq, &r.hash, &r.faults); err != nil {
			s.t.Fatal(err)
		}
		v.Offsets++
		v.Outcomes[r.outcome]++
		return r, true
	}
	stray := func(r row, at int64) {
		if r.off < uint64(at) {
			v.find("DOUBLE: offset %d of %s/%d is in the ledger twice", r.off, st.topic, st.part)
		} else {
			v.find("offset %d of %s/%d is in the ledger and not in the log", r.off, st.topic, st.part)
		}
	}
	var msg batch.Batch
	at := int64(0)
	got, more := next()
	for at < st.end {
		fetches := log.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("reading %s/%d at %d of %d: %v", st.topic, st.part, at, st.end, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != at {
				v.find("the log of %s/%d jumps from %d to %d", st.topic, st.part, at, r.Offset)
			}
			want := expect(r, &msg, by, v)
			for ; more && got.off < uint64(r.Offset); got, more = next() {
				stray(got, at)
			}
			at = r.Offset + 1
			if !more || got.off > uint64(r.Offset) {
				v.find("MISSING: offset %d of %s/%d is not in the ledger: %+v", r.Offset, st.topic, st.part, want)
				visit(want, entry{}, false)
				return
			}
			v.compare(r, want, got)
			visit(want, got.entry, true)
			got, more = next()
		})
	}
	for ; more; got, more = next() {
		stray(got, at)
	}
}

// compare holds one row of the ledger to its record.
func (v *verdict) compare(r *kgo.Record, want entry, got row) {
	switch {
	case want.outcome != got.outcome:
		v.find("offset %d of %s/%d is %s in the ledger and must be %s: %+v", r.Offset, r.Topic, r.Partition, got.outcome, want.outcome, want)
	case want.outcome == "control":
	case want.deviceNo != got.deviceNo || want.boot != got.boot || want.seq != got.seq || want.hash != got.hash:
		v.find("offset %d of %s/%d is %+v in the ledger and %+v in the log", r.Offset, r.Topic, r.Partition, got.entry, want)
	case got.faults != 0:
		v.find("offset %d of %s/%d: %d values are quarantined", r.Offset, r.Topic, r.Partition, got.faults)
	}
}

// expect is what the ledger must say of a record.
func expect(r *kgo.Record, msg *batch.Batch, by rule, v *verdict) entry {
	e := entry{hash: record.Hash(r.Value), device: string(r.Key)}
	var no record.Device
	for _, h := range r.Headers {
		switch h.Key {
		case record.HeaderType:
			if record.IsControl(string(h.Value)) {
				return entry{outcome: "control", seq: record.Unkeyed}
			}
		case record.HeaderDevice:
			var err error
			if no, err = record.ParseDevice(h.Value); err != nil {
				v.find("offset %d of %s/%d: %v", r.Offset, r.Topic, r.Partition, err)
			}
		}
	}
	if err := msg.Decode(r.Value); err != nil || !msg.Keyed {
		v.find("offset %d of %s/%d is none of the fleet's: %v", r.Offset, r.Topic, r.Partition, err)
		return e
	}
	e.deviceNo, e.boot, e.seq = no.No, msg.Boot, msg.Seq
	e.outcome = by(key{e.device, e.boot, e.seq}, e.hash)
	return e
}

// remembered is the rule of the ledger, written a second time: the first message under a key is stored.
func remembered() rule {
	first := map[key]uint32{}
	return func(k key, hash uint32) string {
		switch was, known := first[k]; {
		case !known:
			first[k] = hash
			return "stored"
		case was == hash:
			return "duplicate"
		}
		return "conflict"
	}
}
