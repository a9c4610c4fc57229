package census

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

const at0 = int64(1_800_000_000_000)

// ledger is a registry's log.
type ledger struct {
	tb      testing.TB
	prev    [32]byte
	records []Record
}

func (l *ledger) add(body event.Body) Record {
	l.tb.Helper()
	at := at0 + int64(len(l.records))*1_000
	e := event.Registry{N: uint64(len(l.records) + 1), Prev: l.prev, Time: at, Who: "test", Body: body}
	value, headers, err := e.Encode()
	if err != nil {
		l.tb.Fatal(err)
	}
	l.prev = event.Chain(value)
	r := Record{Offset: int64(len(l.records)), Time: at, Headers: headers, Value: value}
	l.records = append(l.records, r)
	return r
}

// told folds an event in and gives what it changed, in words.
func told(t *testing.T, s *State, r Record) (out []string) {
	t.Helper()
	changes, err := s.Apply(r)
	if err != nil {
		return []string{err.Error()}
	}
	words := map[Kind]string{Joined: "joined", Left: "left", Moved: "moved", Described: "described", CohortChanged: "cohort", Other: "other"}
	for _, c := range changes {
		switch {
		case c.At != r.Time || c.Body == nil:
			t.Errorf("%+v has no time or body", c)
		case c.Kind == CohortChanged:
			of := s.Cohort(c.Cohort)
			out = append(out, fmt.Sprintf("cohort %s %d", of.Name, of.Told))
		case c.Device >= 0:
			out = append(out, fmt.Sprintf("%s %s in %s", words[c.Kind], s.Device(c.Device).ID, s.Cohort(c.Cohort).Name))
		default:
			out = append(out, words[c.Kind])
		}
	}
	return out
}

func enrolled(no uint32, id, cohort string, interval int64) event.DeviceEnrolled {
	return event.DeviceEnrolled{Device: id, No: no, Cohort: cohort, Interval: interval}
}

func TestWhatEachEventChanges(t *testing.T) {
	l := &ledger{tb: t}
	s := New(0, 1)
	site := map[string]string{"site": "s1", "model": "m1", "other": "x"}
	for i, c := range []struct {
		body event.Body
		want []string
	}{
		{event.DeviceEnrolled{Device: "a", No: 1, Cohort: "pumps", Interval: 30_000, Region: "north", Attributes: site}, []string{"cohort pumps 30000", "joined a in pumps"}},
		{enrolled(2, "b", "pumps", 60_000), []string{"joined b in pumps"}},
		{enrolled(3, "c", "pumps", 60_000), []string{"cohort pumps 60000", "joined c in pumps"}},
		{enrolled(4, "d", "pumps", 0), []string{"joined d in pumps"}},
		{event.DeviceMoved{No: 3, Cohort: "valves"}, []string{"cohort pumps 30000", "cohort valves 60000", "moved c in valves"}},
		{event.CohortDefined{Cohort: "pumps", Interval: 10_000, Region: "south"}, []string{"cohort pumps 10000"}},
		{event.CohortDefined{Cohort: "pumps", Interval: 10_000, Region: "east"}, []string{"cohort pumps 10000"}},
		{event.DeviceDescribed{No: 2, Attributes: site}, []string{"described b in pumps"}},
		{event.DeviceQuarantined{No: 2, On: true}, []string{"left b in pumps"}},
		{event.DeviceQuarantined{No: 2, On: true}, []string{"described b in pumps"}},
		{event.DeviceMoved{No: 2, Cohort: "valves"}, []string{"cohort valves 60000", "described b in valves"}[1:]},
		{event.DeviceQuarantined{No: 2}, []string{"joined b in valves"}},
		{event.CohortQuarantined{Cohort: "valves", On: true}, []string{"left b in valves", "left c in valves", "cohort valves 60000"}},
		{enrolled(5, "e", "valves", 0), []string{"described e in valves"}},
		{event.CohortQuarantined{Cohort: "valves"}, []string{"joined b in valves", "joined c in valves", "joined e in valves", "cohort valves 60000"}},
		{event.DeviceReplaced{Old: 3, New: 1}, []string{"left c in valves"}},
		{event.DeviceRevoked{No: 3}, nil},
		{enrolled(3, "c", "pumps", 0), []string{"ignored: enrol c: it was revoked, which is for good"}},
		{enrolled(7, "g", "pumps", 0), []string{"ignored: enrol g as 7: the next number is 6"}},
		{enrolled(6, "a", "pumps", 0), []string{"ignored: enrol a as 6: another device has that number, or it another one"}},
		{enrolled(1, "z", "pumps", 0), []string{"ignored: enrol z as 1: another device has that number, or it another one"}},
		{event.DeviceRevoked{No: 9}, []string{"ignored: revoke 9: there is no such device"}},
		{event.CohortRevoked{Cohort: "nobody"}, []string{`ignored: revoke cohort "nobody": there is no such cohort`}},
		{event.CohortRevoked{Cohort: "valves"}, []string{"left b in valves", "cohort valves 0", "left e in valves", "cohort valves 0", "cohort valves 0"}},
		{enrolled(6, "f", "valves", 0), []string{`ignored: enrol f: cohort "valves" was revoked`}},
		{event.DeviceMoved{No: 1, Cohort: "valves"}, []string{`ignored: move 1: cohort "valves" was revoked`}},
		{event.RegionDefined{Region: "north", Gateway: "gw:443"}, []string{"other"}},
		{event.DeviceEnrolled{Device: "a", No: 1, Cohort: "pumps", Interval: 5_000}, []string{"described a in pumps"}},
		{event.DeviceRevoked{No: 1}, []string{"left a in pumps"}},
		{event.DeviceRevoked{No: 4}, []string{"cohort pumps 10000", "left d in pumps"}},
	} {
		got := told(t, s, l.add(c.body))
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("event %d, %T: %q, not %q", i+1, c.body, got, c.want)
		}
		if i == 7 {
			if d := s.Device(1); d.Stratum != "s1|m1" || d.Region != "east" || d.Interval != 60_000 || d.No != 2 || d.Enrolled != at0+1_000 || !d.Active {
				t.Errorf("%+v", d)
			}
			if d := s.Device(0); d.Region != "north" || d.Interval != 30_000 {
				t.Errorf("%+v", d)
			}
			if d := s.Device(3); d.Interval != 10_000 || d.Stratum != "" {
				t.Errorf("%+v", d)
			}
		}
	}
	if s.Len() != 5 || s.Fleet() != 5 || s.Last() != uint64(len(l.records)) || s.Next() != int64(len(l.records)) {
		t.Errorf("%d devices of %d, last %d, next %d", s.Len(), s.Fleet(), s.Last(), s.Next())
	}
	for c := range s.Cohorts() {
		if of := s.Cohort(int32(c)); of.Members != 0 || of.Fleet != 0 {
			t.Errorf("%+v", *of)
		}
	}
}

func TestOnlyLinksOfTheChainCount(t *testing.T) {
	l := &ledger{tb: t}
	s := New(0, 1)
	a, b := l.add(enrolled(1, "a", "x", 0)), l.add(enrolled(2, "b", "x", 0))
	forged := &ledger{tb: t}
	other := forged.add(enrolled(1, "evil", "x", 0))
	try := func(r Record, want bool) {
		t.Helper()
		if _, err := s.Apply(r); (err == nil) != want || err != nil && !errors.Is(err, ErrIgnored) {
			t.Errorf("offset %d: %v", r.Offset, err)
		}
	}
	b.Offset = 0
	try(b, false) // not the first
	a.Offset = 1
	try(a, true)
	try(a, false) // told twice
	other.Offset = 2
	try(other, false) // of another chain
	try(Record{Offset: 3, Value: []byte{0xc1}}, false)
	b.Offset = 4
	try(b, true)
	if s.Ignored() != 4 || s.Len() != 2 || s.Last() != 2 {
		t.Errorf("%d ignored, %d devices, last %d", s.Ignored(), s.Len(), s.Last())
	}
}

// someYears are events as they may come, most of them sound.
func someYears(tb testing.TB, seed uint64, n int) *ledger {
	rng := rand.New(rand.NewPCG(seed, 9))
	l := &ledger{tb: tb}
	next := uint32(1)
	cohort := func() string { return fmt.Sprintf("c%d", rng.IntN(6)) }
	for range n {
		no := 1 + rng.Uint32N(max(next, 2))
		switch rng.IntN(12) {
		case 0:
			l.add(event.DeviceMoved{No: no, Cohort: cohort()})
		case 1:
			l.add(event.DeviceQuarantined{No: no, On: rng.IntN(2) == 0})
		case 2:
			l.add(event.DeviceRevoked{No: no})
		case 3:
			l.add(event.DeviceDescribed{No: no, Attributes: map[string]string{"site": cohort()}})
		case 4:
			l.add(event.CohortDefined{Cohort: cohort(), Interval: int64(rng.IntN(3)) * 20_000, Region: []string{"", "north"}[rng.IntN(2)], Sleep: []event.Sleep{{Days: 1 + uint8(rng.IntN(127)), From: 60, To: 120}}[:rng.IntN(2)]})
		case 5:
			l.add(event.CohortQuarantined{Cohort: cohort(), On: rng.IntN(2) == 0})
		case 6:
			if rng.IntN(20) == 0 {
				l.add(event.CohortRevoked{Cohort: cohort()})
			}
		case 7:
			l.add(event.DeviceReplaced{Old: no, New: no + 1 + rng.Uint32N(3)})
		case 8: // again
			l.add(event.DeviceEnrolled{Device: fmt.Sprintf("d%d", no), No: no, Cohort: cohort(), Interval: int64(rng.IntN(3)) * 15_000, Region: "east"})
		default:
			l.add(event.DeviceEnrolled{Device: fmt.Sprintf("d%d", next), No: next, Cohort: cohort(), Interval: int64(rng.IntN(3)) * 15_000})
			next++
		}
	}
	return l
}

// TestTheCensusAgreesWithTheRoster holds all shards of a census against the fold that gateways go by.
func TestTheCensusAgreesWithTheRoster(t *testing.T) {
	for seed := range uint64(20) {
		l := someYears(t, seed, 400)
		const parts = 3
		want := roster.NewState()
		var shards [parts]*State
		for p := range shards {
			shards[p] = New(int32(p), parts)
		}
		for _, r := range l.records {
			rec := &kgo.Record{Offset: r.Offset, Value: r.Value}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
			}
			_, _ = want.ApplyRecord(rec)
			for _, s := range shards {
				_, _ = s.Apply(r)
			}
		}
		active := map[string]int{}
		for d := range want.Devices {
			part := eventlog.PartitionOf([]byte(d.ID), parts)
			for p, s := range shards {
				i, ok := s.Lookup([]byte(d.ID))
				if ok != (int32(p) == part) {
					t.Fatalf("seed %d: shard %d knows %s: %v", seed, p, d.ID, ok)
				}
				if !ok {
					continue
				}
				got := s.Device(i)
				c, _ := want.Cohort(d.Cohort)
				counts := !d.Revoked && !d.Quarantined && !c.Revoked
				if byNo, ok := s.LookupNo(d.No); !ok || byNo != i || got.ID != string(d.ID) || got.No != d.No || s.Cohort(got.Cohort).Name != d.Cohort || got.Active != counts {
					t.Fatalf("seed %d: %+v, the roster has %+v", seed, got, d)
				}
				if counts {
					active[d.Cohort]++
				}
				if d.Interval != 0 && got.Interval != int64(d.Interval/time.Millisecond) {
					t.Fatalf("seed %d: %+v, the roster has %v", seed, got, d.Interval)
				}
			}
		}
		for _, c := range want.Cohorts() {
			members, fleet := 0, -1
			for _, s := range shards {
				i, ok := s.LookupCohort(c.Name)
				if !ok {
					t.Fatalf("seed %d: no cohort %s", seed, c.Name)
				}
				of := s.Cohort(i)
				if fleet < 0 {
					fleet = of.Fleet
				}
				if first := shards[0].Cohort(i); first.Name != of.Name || first.Told != of.Told || of.Fleet != fleet || of.Revoked != c.Revoked || of.Quarantined != c.Quarantined || of.Region != c.Region {
					t.Fatalf("seed %d: %+v, %+v of another shard, the roster has %+v", seed, *of, *first, c)
				}
				members += of.Members
			}
			if members != active[c.Name] || fleet != c.Devices {
				t.Fatalf("seed %d: cohort %s has %d members of %d, %d of %d expected", seed, c.Name, members, fleet, active[c.Name], c.Devices)
			}
		}
	}
}

func TestASnapshotGoesOnAsTheStateWould(t *testing.T) {
	l := someYears(t, 77, 300)
	whole := New(1, 2)
	for _, r := range l.records {
		_, _ = whole.Apply(r)
	}
	want := written(t, whole)
	for cut := 0; cut <= len(l.records); cut += 13 {
		s := New(1, 2)
		for _, r := range l.records[:cut] {
			_, _ = s.Apply(r)
		}
		kept := written(t, s)
		again := New(1, 2)
		if err := again.Restore(bytes.NewReader(kept)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(written(t, again), kept) {
			t.Fatalf("cut at %d: what was restored is written otherwise", cut)
		}
		for _, r := range l.records {
			_, _ = again.Apply(r) // those before the cut were read
		}
		if again.ignored -= uint64(cut); !bytes.Equal(written(t, again), want) {
			t.Fatalf("cut at %d: it goes on otherwise", cut)
		}
	}
	if err := New(0, 2).Restore(bytes.NewReader(want)); err == nil {
		t.Error("the state of another shard is taken")
	}
	for n := 0; n < len(want); n += 7 {
		if err := New(1, 2).Restore(bytes.NewReader(want[:n])); err == nil {
			t.Fatalf("%d of %d bytes are a state", n, len(want))
		}
	}
}

func written(t *testing.T, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzRestore(f *testing.F) {
	l := someYears(f, 5, 60)
	s := New(0, 1)
	for _, r := range l.records {
		_, _ = s.Apply(r)
	}
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		got := New(0, 1)
		if got.Restore(bytes.NewReader(p)) != nil {
			return
		}
		for i := range got.Len() {
			_ = got.Device(int32(i))
		}
		again := New(0, 1)
		if err := again.Restore(bytes.NewReader(written(t, got))); err != nil {
			t.Errorf("what was read cannot be read when written: %v", err)
		}
	})
}

func TestPlannedSleep(t *testing.T) {
	// 2026-11-23 is a Monday.
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	at := func(d int, h, m int) int64 {
		return monday.Add(time.Duration(d*24+h)*time.Hour + time.Duration(m)*time.Minute).UnixMilli()
	}
	var c Cohort
	if c.Asleep(at(0, 0, 0)) || c.SleptBetween(0, at(0, 0, 0)) != 0 {
		t.Error("a cohort that never sleeps does")
	}
	c.sleep([]event.Sleep{{Days: 1, From: 60, To: 120}, {Days: 1, From: 90, To: 180}, {Days: 1 << 6, From: 22 * 60, To: 2 * 60}, {Days: 1 << 2, From: 600, To: 601}})
	for when, asleep := range map[int64]bool{
		at(0, 0, 59): true, at(0, 1, 0): true, at(0, 2, 59): true, at(0, 3, 0): false, at(1, 1, 30): false, at(2, 10, 0): true, at(2, 10, 1): false,
		at(6, 21, 59): false, at(6, 22, 0): true, at(7, 1, 59): true, at(-7, 0, 0): true, at(-1, 23, 0): true, at(0, 0, 0) - 1: true,
	} {
		if c.Asleep(when) != asleep {
			t.Errorf("%v: %v", time.UnixMilli(when).UTC(), !asleep)
		}
	}
	const h = 60 * minute
	for _, span := range []struct{ from, to, want int64 }{
		{at(0, 0, 0), at(7, 0, 0), 3*h + minute + 2*h}, {at(0, 0, 30), at(0, 0, 40), 10 * minute}, {at(6, 21, 0), at(7, 12, 0), 2*h + 3*h},
		{at(0, 0, 0), at(70, 0, 0), 10 * (5*h + minute)}, {at(3, 0, 0), at(3, 0, 0), 0}, {at(3, 0, 0), at(2, 0, 0), 0}, {at(2, 9, 0), at(2, 11, 0), minute},
	} {
		if got := c.SleptBetween(span.from, span.to); got != span.want {
			t.Errorf("from %v to %v: %d ms, %d expected", time.UnixMilli(span.from).UTC(), time.UnixMilli(span.to).UTC(), got, span.want)
		}
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 200 { // minute by minute
		from := at(0, 0, 0) + rng.Int64N(3*7*24*60)*minute
		to := from + rng.Int64N(2*24*60)*minute
		want := int64(0)
		for m := from; m < to; m += minute {
			if c.Asleep(m) {
				want += minute
			}
		}
		if got := c.SleptBetween(from, to); got != want {
			t.Fatalf("from %d to %d: %d, %d minute by minute", from, to, got, want)
		}
	}
}

func TestVeryManyIntervalsInOneCohort(t *testing.T) {
	l := &ledger{tb: t}
	s := New(0, 1)
	for n := range maxKinds + 50 {
		if _, err := s.Apply(l.add(enrolled(uint32(n+1), fmt.Sprintf("d%d", n), "x", int64(n+1)*10))); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := s.LookupCohort("x")
	if got := s.Cohort(c); got.Told != 10 || got.Fleet != maxKinds+50 || len(got.kinds) > maxKinds+1 {
		t.Errorf("%d told, %d devices, %d kinds", got.Told, got.Fleet, len(got.kinds))
	}
	if d := s.Device(int32(maxKinds + 49)); d.Interval != 10 {
		t.Errorf("%+v", d)
	}
	if _, ok := s.Lookup([]byte(identity.Device("nobody"))); ok {
		t.Error("nobody is found")
	}
}
