//go:build linux

package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/simulator"
	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

// place is an offset of the log as the ledger calls it.
type place struct {
	gen, part uint16
	off       uint64
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

// verdict is what the oracle found, and how much it looked at.
type verdict struct {
	Offsets   int            `json:"offsets"`
	Outcomes  map[string]int `json:"outcomes"`
	Accepted  int            `json:"accepted"`
	Sent      int            `json:"sent"`
	Values    uint64         `json:"values"`
	Findings  []string       `json:"findings"`
	Samples   string         `json:"samples"`
	LedgerSum string         `json:"ledger"`
}

const maxFindings = 40

func (v *verdict) find(format string, args ...any) {
	if len(v.Findings) < maxFindings {
		v.Findings = append(v.Findings, fmt.Sprintf(format, args...))
	}
}

// judge stops what writes to the log, waits until the ledger reaches its end, and holds it to the log, to the journal
// and to what was sent.
func (s *site) judge(f *fleet, second *proc) *verdict {
	s.t.Helper()
	if err := f.end(); err != nil {
		s.t.Fatal(err)
	}
	if !second.leave(30 * time.Second) {
		s.t.Error("the second gateway did not stop in time")
	}
	hold, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	release, err := s.dir.Hold(hold, stack.Gateway)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(release)
	v := &verdict{Outcomes: map[string]int{}}
	log := s.readLog(v)
	s.caughtUp(len(log))
	s.holdLedger(v, log)
	s.holdJournal(v, f, log)
	s.holdSamples(v, f)
	report, err := s.house.Audit(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if !report.OK() {
		v.find("the auditor: %s", report)
	}
	v.Samples, v.LedgerSum = s.prints()
	return v
}

// readLog reads telemetry and events from their beginning and says what the ledger must hold.
func (s *site) readLog(v *verdict) map[place]entry {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
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
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		s.t.Fatal(err)
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg, err := s.logConfig()
	if err != nil {
		s.t.Fatal(err)
	}
	people, err := roster.Follow(cfg, roster.Settings{})
	if err != nil {
		s.t.Fatal(err)
	}
	following, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = people.Run(following) })
	defer wg.Wait()
	defer stop()
	gens := map[string]uint16{}
	want := map[string]map[int32]kgo.Offset{}
	left := 0
	for _, t := range topics {
		if gens[t], err = people.WaitTopicGen(ctx, ids[t].ID); err != nil {
			s.t.Fatal(err)
		}
		want[t] = map[int32]kgo.Offset{}
		for p, o := range ends[t] {
			if start, _ := starts.Lookup(t, p); start.Offset != 0 {
				v.find("%s/%d begins at %d", t, p, start.Offset)
			}
			if o.Offset > 0 {
				want[t][p] = kgo.NewOffset().At(0)
				left += int(o.Offset)
			}
		}
	}
	client, err := kgo.NewClient(append(cfg.Options(), kgo.ConsumePartitions(want))...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	log := make(map[place]entry, left)
	first := map[key]uint32{}
	next := map[string]uint64{}
	var msg batch.Batch
	for len(log) < left {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("reading the log, %d of %d: %v", len(log), left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := place{gens[r.Topic], uint16(r.Partition), uint64(r.Offset)}
			in := fmt.Sprint(at.gen, at.part)
			if next[in] != at.off {
				v.find("the log of %s/%d jumps from %d to %d", r.Topic, r.Partition, next[in], at.off)
			}
			next[in] = at.off + 1
			log[at] = expect(r, &msg, first, v)
		})
	}
	return log
}

// expect is the rule of the ledger, written a second time.
func expect(r *kgo.Record, msg *batch.Batch, first map[key]uint32, v *verdict) entry {
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
	k := key{e.device, e.boot, e.seq}
	switch hash, known := first[k]; {
	case !known:
		first[k], e.outcome = e.hash, "stored"
	case hash == e.hash:
		e.outcome = "duplicate"
	default:
		e.outcome = "conflict"
	}
	return e
}

// caughtUp waits until the ledger holds as many rows as the log.
func (s *site) caughtUp(want int) {
	s.t.Helper()
	began, moved, last := time.Now(), time.Now(), uint64(0)
	for {
		var n uint64
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		err := s.house.Conn().QueryRow(ctx, "SELECT count() FROM muster.ledger").Scan(&n)
		cancel()
		if err == nil && n >= uint64(want) {
			return
		}
		if n != last {
			last, moved = n, time.Now()
		}
		if time.Since(moved) > 2*time.Minute {
			s.t.Errorf("the ledger stands at %d of %d rows since two minutes (%v)", last, want, err)
			return
		}
		if time.Since(began) > 10*time.Minute {
			s.t.Errorf("the ledger has %d of %d rows after ten minutes", last, want)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// holdLedger compares the ledger with the log, offset for offset.
func (s *site) holdLedger(v *verdict, log map[place]entry) {
	s.t.Helper()
	rows, err := s.house.Conn().Query(s.t.Context(), "SELECT topic_gen, part, off, toString(outcome), device_no, boot, seq, hash, faults FROM muster.ledger ORDER BY topic_gen, part, off")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	seen := make(map[place]bool, len(log))
	last := map[string]key{}
	for rows.Next() {
		var at place
		var got entry
		var faults uint32
		if err := rows.Scan(&at.gen, &at.part, &at.off, &got.outcome, &got.deviceNo, &got.boot, &got.seq, &got.hash, &faults); err != nil {
			s.t.Fatal(err)
		}
		v.Offsets++
		v.Outcomes[got.outcome]++
		want, in := log[at]
		switch {
		case seen[at]:
			v.find("DOUBLE: offset %+v is in the ledger twice", at)
		case !in:
			v.find("offset %+v is in the ledger and not in the log", at)
		case want.outcome != got.outcome:
			v.find("offset %+v is %s in the ledger and must be %s: %+v", at, got.outcome, want.outcome, want)
		case want.outcome == "control":
		case want.deviceNo != got.deviceNo || want.boot != got.boot || want.seq != got.seq || want.hash != got.hash:
			v.find("offset %+v is %+v in the ledger and %+v in the log", at, got, want)
		case faults != 0:
			v.find("offset %+v: %d values are quarantined", at, faults)
		}
		seen[at] = true
		if got.outcome == "stored" && in {
			if l, ok := last[want.device]; ok && (l.boot > want.boot || l.boot == want.boot && l.seq >= want.seq) {
				v.find("ORDER: device %s: (%d, %d) stands behind (%d, %d)", want.device, want.boot, want.seq, l.boot, l.seq)
			}
			last[want.device] = key{want.device, want.boot, want.seq}
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	for at, want := range log {
		if !seen[at] {
			v.find("MISSING: offset %+v is not in the ledger: %+v", at, want)
		}
	}
}

// holdJournal holds the view of stored messages to what was answered with 2xx and to what was sent.
func (s *site) holdJournal(v *verdict, f *fleet, log map[place]entry) {
	s.t.Helper()
	logged := map[key]bool{}
	for _, e := range log {
		if e.outcome == "stored" {
			logged[key{e.device, e.boot, e.seq}] = true
		}
	}
	rows, err := s.house.Conn().Query(s.t.Context(), "SELECT device, assumeNotNull(boot), assumeNotNull(seq), n, count() FROM muster.messages GROUP BY ALL")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	type message struct {
		values uint32
		times  uint64
	}
	stored := map[key]message{}
	for rows.Next() {
		var k key
		var m message
		if err := rows.Scan(&k.device, &k.boot, &k.seq, &m.values, &m.times); err != nil {
			s.t.Fatal(err)
		}
		if _, twice := stored[k]; twice || m.times != 1 {
			v.find("DOUBLE: %v is stored more than once", k)
		}
		stored[k] = m
		if was, ok := f.sent[k]; !ok {
			v.find("%v is stored and was never sent", k)
		} else if was.values != int(m.values) {
			v.find("%v was sent with %d values and is stored with %d", k, was.values, m.values)
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	v.Sent = len(f.sent)
	file, err := os.Open(f.path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	for in := bufio.NewScanner(file); in.Scan(); {
		var l simulator.Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			s.t.Fatal(err)
		}
		v.Accepted++
		k := key{l.Device, l.Boot, l.Seq}
		m, ok := stored[k]
		switch {
		case !ok && !logged[k]:
			v.find("MISSING: %v was answered with 200 at %d and is not in the log", k, l.At)
		case !ok:
			v.find("MISSING: %v was answered with 200 at %d, is in the log and is not stored", k, l.At)
		case int(m.values) != l.Values || f.sent[k].hash != l.Hash:
			v.find("%v: %d values answered for, %d stored", k, l.Values, m.values)
		}
	}
	if v.Accepted != int(f.answered.Load()) {
		v.find("the journal has %d lines, %d messages were answered", v.Accepted, f.answered.Load())
	}
	// Sums over what must be there, for holdSamples.
	for k := range f.sent {
		if _, ok := stored[k]; !ok {
			delete(f.sent, k)
		}
	}
}

// holdSamples compares, device for device, how many values there are and what those of one metric add up to.
func (s *site) holdSamples(v *verdict, f *fleet) {
	s.t.Helper()
	type sums struct {
		values uint64
		tick   int64
	}
	want := map[string]sums{}
	for k, m := range f.sent {
		w := want[k.device]
		w.values += uint64(m.values)
		w.tick += m.tick
		want[k.device] = w
	}
	rows, err := s.house.Conn().Query(s.t.Context(), "SELECT device, count(), sum(if(metric = 'tick', ifNull(int, 0), 0)) FROM muster.samples GROUP BY device")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var device string
		var got sums
		if err := rows.Scan(&device, &got.values, &got.tick); err != nil {
			s.t.Fatal(err)
		}
		v.Values += got.values
		if got != want[device] {
			v.find("samples of %s: %+v, want %+v", device, got, want[device])
		}
		delete(want, device)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	for device := range want {
		v.find("MISSING: device %s has no samples", device)
	}
}

// prints are fingerprints of what analysts see and of the ledger without the one column that a rebuild changes. They
// do not depend on the order of rows.
func (s *site) prints() (samples, ledger string) {
	s.t.Helper()
	one := func(q string) string {
		var n, sum uint64
		if err := s.house.Conn().QueryRow(s.t.Context(), q).Scan(&n, &sum); err != nil {
			s.t.Fatal(err)
		}
		return fmt.Sprintf("%d rows, sum %016x", n, sum)
	}
	// A text's value is no number, and which of the many it is says nothing.
	return one("SELECT count(), sum(cityHash64(device, metric, ts, if(isNaN(value), 0, value), isNaN(value), ifNull(int, 0), isNull(int), text, fw)) FROM muster.samples"),
		one("SELECT count(), sum(cityHash64(topic_gen, part, off, toString(outcome), device_no, boot, seq, hash, got, t0, t1, n, faults, bytes)) FROM muster.ledger")
}

// partitions of telemetry in a local stack.
const partitions = 4

// frontier is an instant that every partition of telemetry has reached: what it accepted then is stored.
func (s *site) frontier(ctx context.Context) (time.Time, error) {
	if s.gen == 0 {
		if err := s.house.Conn().QueryRow(ctx, "SELECT max(topic_gen) FROM muster.ledger WHERE outcome = 'stored'").Scan(&s.gen); err != nil {
			return time.Time{}, err
		}
	}
	var n uint64
	var at time.Time
	err := s.house.Conn().QueryRow(ctx, fmt.Sprintf("SELECT count(), min(last) FROM (SELECT max(got) AS last FROM muster.ledger WHERE topic_gen = %d GROUP BY part)", s.gen)).Scan(&n, &at)
	if err == nil && n < partitions {
		err = fmt.Errorf("%d of %d partitions have rows", n, partitions)
	}
	return at, err
}

// moves waits until every partition of telemetry has stored something that was accepted after an instant.
func (s *site) moves(after time.Time, limit time.Duration) (time.Duration, error) {
	err := s.within(limit, func(ctx context.Context) error {
		at, err := s.frontier(ctx)
		if err == nil && !at.After(after) {
			err = fmt.Errorf("stored up to %s, and it is %s", at.Format("15:04:05.000"), time.Now().UTC().Format("15:04:05.000"))
		}
		return err
	})
	return time.Since(after), err
}
