//go:build linux

package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/simulator"
)

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

	kinds map[string]int
}

// maxFindings of a kind: what is wrong in a thousand places must not hide what is wrong in one.
const maxFindings = 10

func (v *verdict) find(format string, args ...any) {
	if v.kinds == nil {
		v.kinds = map[string]int{}
	}
	if v.kinds[format]++; v.kinds[format] <= maxFindings {
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
	if !second.leave(patience) {
		s.t.Errorf("the second gateway did not stop within %s", patience)
	}
	s.hold(stack.Gateway)
	v := &verdict{Outcomes: map[string]int{}}
	all, records := s.stretches(v)
	s.caughtUp(records)
	logged := map[key]bool{}
	s.walk(v, all, remembered(), func(want entry) {
		if want.outcome == "stored" {
			logged[key{want.device, want.boot, want.seq}] = true
		}
	})
	s.holdJournal(v, f, logged)
	s.holdSamples(v, f.sums())
	s.audit(v)
	v.Samples, v.LedgerSum = s.prints()
	return v
}

// hold ends a supervised part until the test's end.
func (s *site) hold(part string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	release, err := s.dir.Hold(ctx, part)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(release)
}

// audit is what the stack says of itself.
func (s *site) audit(v *verdict) {
	s.t.Helper()
	report, err := s.house.Audit(s.t.Context())
	if err != nil {
		v.find("the auditor: %v", err)
	} else if !report.OK() {
		v.find("the auditor: %s", report)
	}
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
		if time.Since(moved) > patience {
			s.t.Errorf("the ledger stands at %d of %d rows since %s (%v)", last, want, patience, err)
			return
		}
		if time.Since(began) > 30*time.Minute {
			s.t.Errorf("the ledger has %d of %d rows after half an hour", last, want)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// holdJournal holds the view of stored messages to what was answered with 2xx and to what was sent.
func (s *site) holdJournal(v *verdict, f *fleet, logged map[key]bool) {
	s.t.Helper()
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
	s.readJournal(f.path, func(l simulator.Line) {
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
	})
	if v.Accepted != int(f.answered.Load()) {
		v.find("the journal has %d lines, %d messages were answered", v.Accepted, f.answered.Load())
	}
	for k := range f.sent { // what is left is what must be there
		if _, ok := stored[k]; !ok {
			delete(f.sent, k)
		}
	}
}

func (s *site) readJournal(path string, each func(simulator.Line)) {
	s.t.Helper()
	file, err := os.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	in := bufio.NewScanner(file)
	for in.Scan() {
		var l simulator.Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			s.t.Fatal(err)
		}
		each(l)
	}
	if err := in.Err(); err != nil {
		s.t.Fatal(err)
	}
}

// sums are what a device's samples come to.
type sums struct {
	values uint64
	tick   int64 // of the metric tick
}

func (f *fleet) sums() map[string]sums {
	all := map[string]sums{}
	for k, m := range f.sent {
		w := all[k.device]
		w.values += uint64(m.values)
		w.tick += m.tick
		all[k.device] = w
	}
	return all
}

// holdSamples compares, device for device, how many values there are and what those of one metric add up to.
func (s *site) holdSamples(v *verdict, want map[string]sums) {
	s.t.Helper()
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
