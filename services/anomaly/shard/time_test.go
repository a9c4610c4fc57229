package shard

import (
	"bytes"
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// late puts device records at most so long behind their places; watermarks stay.
func (in *inputs) late(rng *rand.Rand, most int64) *inputs {
	for topic := range in.topics {
		var all []arrived
		for _, h := range in.topics[topic] {
			at := h.Time
			if h.Key != nil {
				at += rng.Int64N(most)
			}
			all = append(all, arrived{at, h})
		}
		slices.SortStableFunc(all, func(a, b arrived) int { return cmp.Compare(a.at, b.at) })
		in.topics[topic] = nil
		for _, a := range all {
			in.put(Topic(topic), a.Heard)
		}
	}
	return in
}

// withoutOffsets are the pages without how far they had read.
func withoutOffsets(pages []*page.Page) []*page.Page {
	for _, p := range pages {
		p.Telemetry, p.Events = 0, 0
	}
	return pages
}

func TestTheOrderOfArrivalWithinTheLatenessChangesNothing(t *testing.T) {
	want := withoutOffsets(someDay(t, 3, 12).all(fresh(t, 1, 3, DefaultSettings())))
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 5))
		s := fresh(t, 1, 3, DefaultSettings())
		got := withoutOffsets(someDay(t, 3, 12).late(rng, DefaultSettings().Lateness).play(s, rng, math.MaxInt))
		differ(t, got, want)
		if s.Counts().Late != 0 {
			t.Fatalf("%+v", s.Counts())
		}
	}
}

func TestWhatComesLaterIsCountedAndShowsThatADeviceLives(t *testing.T) {
	in := logs(t, 0, 1)
	ids := in.enrol(t0, "one", "", 60_000, 2)
	in.marks(t0, t0+20*minute, 5_000, "gw")
	for at := t0; at < t0+20*minute; at += minute {
		for k, id := range ids {
			in.reading(at+1_000, id, "temp", 1)
			if k == 1 && at > t0+2*minute { // ten minutes on its way
				last := &in.topics[Telemetry][len(in.topics[Telemetry])-1]
				in.wrong[Telemetry] = append(in.wrong[Telemetry], arrived{at + 3*minute, *last})
				in.topics[Telemetry] = in.topics[Telemetry][:len(in.topics[Telemetry])-1]
			}
		}
	}
	s := fresh(t, 0, 1, DefaultSettings())
	pages := in.arrivedAll().all(s)
	gone, back := 0, 0
	for _, p := range pages {
		for _, slot := range p.Slots {
			gone += len(slot.Gone)
			back += len(slot.Back)
		}
	}
	// The clock is at the end of the last mark: what came three minutes late is late as long as it comes.
	if n := s.Counts().Late; n < 12 || pages[len(pages)-1].Late > n || gone == 0 || back < gone-1 {
		t.Errorf("%d late, %d gone, %d back", n, gone, back)
	}
}

func TestARegistryRecordOfAWrongClockHoldsUpNothing(t *testing.T) {
	in := logs(t, 0, 1)
	a := in.enrol(t0+minute, "one", "", 60_000, 1)[0]
	in.enrol(t0+365*day, "one", "", 60_000, 1) // the leader's clock leapt,
	in.enrol(t0+2*minute, "two", "", 60_000, 1)
	in.enrol(t0-day, "three", "", 60_000, 1)
	in.enrol(t0+8*minute, "four", "", 60_000, 1)
	in.enrol(t0+365*day, "five", "", 60_000, 1) // and leapt again, and nothing has followed
	in.marks(t0, t0+20*minute, 5_000, "gw")
	in.reading(t0+2*minute, a, "temp", 1)
	s := fresh(t, 0, 1, DefaultSettings())
	var read []int64
	for _, p := range in.sorted().all(s) {
		read = append(read, p.Registry)
		want := int64(0)
		switch {
		case p.Until >= t0+8*minute:
			want = 5
		case p.Until >= t0+minute: // what is older than the record before it is no reason to wait
			want = 4
		}
		if p.Registry != want {
			t.Errorf("the page until %d had read %d, not %d", p.Until-t0, p.Registry, want)
		}
	}
	if s.Census().Len() != 5 || !slices.IsSorted(read) {
		t.Errorf("%d devices", s.Census().Len())
	}
}

func TestWhoAnswersWithWhatAPageHadReadGetsThePageAgain(t *testing.T) {
	in := logs(t, 0, 1)
	in.enrol(t0, "one", "", 60_000, 3)
	in.marks(t0, t0+10*minute, 5_000, "gw")
	first := fresh(t, 0, 1, DefaultSettings())
	all := in.registry
	var pages []*page.Page
	known := 2 // the writer's clock was behind: the last record comes long after its time
	told := func(s *State, n *int, end func() int64) {
		for k := range in.topics[Telemetry] {
			s.Telemetry(in.topics[Telemetry][k])
			s.Events(in.topics[Events][k])
			for s.Asks() {
				e := end()
				for ; *n < int(e); *n++ {
					s.Registry(all[*n])
				}
				s.Answer(e)
			}
		}
	}
	n := 0
	told(first, &n, func() int64 {
		if pages = append(pages, first.Pages()...); len(pages) > 5 {
			known = 3
		}
		return int64(known)
	})
	pages = append(pages, first.Pages()...)
	if pages[0].Registry != 2 || pages[len(pages)-1].Registry != 3 {
		t.Fatalf("%d, %d", pages[0].Registry, pages[len(pages)-1].Registry)
	}
	second := fresh(t, 0, 1, DefaultSettings())
	for n = 0; n < 3; n++ {
		second.Registry(all[n]) // all of it is there by now
	}
	at := 0
	told(second, &n, func() int64 { at++; return pages[at-1].Registry })
	differ(t, second.Pages(), pages)
}

func TestAllShardsCutAtTheSameInstants(t *testing.T) {
	var want []int64
	for part := range int32(3) {
		in := logs(t, part, 3)
		in.part = -1 // devices of all shards
		in.declare(t0, event.CohortDefined{Cohort: "pumps", Interval: 40_000})
		for n := range 30 {
			in.next = uint32(n + 1)
			in.declare(t0, event.DeviceEnrolled{Device: "d" + string(rune('a'+n%26)) + string(rune('a'+n/26)), No: in.next, Cohort: []string{"pumps", "valves"}[n%2], Interval: 90_000})
		}
		in.declare(t0+5*minute, event.CohortDefined{Cohort: "valves", Interval: 20_000})
		in.declare(t0+9*minute, event.CohortRevoked{Cohort: "valves"})
		in.declare(t0+9*minute, event.CohortRevoked{Cohort: "pumps"})
		in.marks(t0, t0+20*minute, 5_000, "gw")
		got := untils(in.all(fresh(t, part, 3, DefaultSettings())))
		if part == 0 {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("shard %d: %v\n%v", part, got, want)
		}
	}
	// Until the first cut nothing is known but minutes; then 10 s of pumps, 25 s of valves, 5 s, and minutes again.
	for _, c := range []struct {
		at    int64
		yes   bool
		where string
	}{
		{minute, true, "minutes"}, {minute + 10_000, true, "pumps"}, {minute + 25_000 + 65_000, true, "valves"}, {minute + 5_000, false, "nobody"},
		{6*minute + 5_000, true, "valves, faster"}, {12 * minute, true, "minutes"}, {12*minute + 10_000, false, "nobody any more"},
	} {
		if slices.Contains(want, t0+c.at) != c.yes {
			t.Errorf("%d, %s: %v", c.at, c.where, !c.yes)
		}
	}
}

func TestWhatCannotBeReadIsCounted(t *testing.T) {
	in := logs(t, 0, 1)
	id := in.enrol(t0, "alone", "", 10_000, 1)[0]
	in.declare(t0, event.CohortDefined{Cohort: "empty", Interval: 5_000})
	in.marks(t0, t0+4*minute, 5_000, "gw")
	at := t0 + 2*minute
	for _, junk := range [][]byte{nil, {}, {0xc1}, {0xdd, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte{0x91}, 1_000)} {
		for topic, ceType := range map[Topic]string{Telemetry: "", Events: event.TypeDevice} {
			in.put(topic, Heard{Time: at, Key: []byte(id), Value: junk, Type: ceType})
			in.put(topic, Heard{Time: at, Key: []byte(id), Value: junk, Type: markType})
			in.put(topic, Heard{Time: at, Key: []byte(id), Value: junk, Type: "muster.of.another.release.v9"})
			in.put(topic, Heard{Time: at, Key: []byte("who"), Value: junk, Type: ceType})
			in.put(topic, Heard{Time: at, Value: junk, Type: ceType})
		}
		in.put(Events, Heard{Time: at, Key: []byte(id), Value: junk, Type: typeSign})
	}
	for _, x := range []float64{math.MaxFloat64, -math.MaxFloat64, 5e-324, 0} {
		in.reading(at, id, "battery_pct", x)
		in.reading(at, id, "rssi_dbm", x)
	}
	in.registry = append(in.registry, in.registry[0]) // told twice, and at another place
	in.registry[len(in.registry)-1].Offset = int64(len(in.registry) - 1)
	s := fresh(t, 0, 1, DefaultSettings())
	pages := in.sorted().all(s)
	c := s.Counts()
	if c.Malformed != 20 || c.Unknown != 20 || s.Census().Ignored() != 1 || len(pages) == 0 {
		t.Errorf("%+v, %d ignored", c, s.Census().Ignored())
	}
	for _, p := range pages {
		if _, _, err := p.Encode(); err != nil {
			t.Error(err)
		}
	}
}

func TestADamagedStateIsRefused(t *testing.T) {
	in := someDay(t, 4, 4)
	s := fresh(t, 1, 3, DefaultSettings())
	in.all(s)
	var kept bytes.Buffer
	if err := s.Snapshot(&kept); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < kept.Len(); n += 1 + kept.Len()/500 {
		if err := fresh(t, 1, 3, DefaultSettings()).Restore(bytes.NewReader(kept.Bytes()[:n])); err == nil {
			t.Fatalf("the first %d of %d bytes are a state", n, kept.Len())
		}
	}
	if err := fresh(t, 0, 3, DefaultSettings()).Restore(bytes.NewReader(kept.Bytes())); err == nil {
		t.Error("the state of another shard is taken")
	}
	rng := rand.New(rand.NewPCG(6, 6))
	for range 300 { // whatever it says: no panic, no memory without end
		spoilt := slices.Clone(kept.Bytes())
		spoilt[rng.IntN(len(spoilt))] ^= byte(1 + rng.IntN(255))
		_ = fresh(t, 1, 3, DefaultSettings()).Restore(bytes.NewReader(spoilt))
	}
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Settings){
		"lateness": func(s *Settings) { s.Lateness = -1 }, "hold": func(s *Settings) { s.Hold = 0 }, "silence": func(s *Settings) { s.Silence.Missed = 0 },
	} {
		s := DefaultSettings()
		spoil(&s)
		if _, err := New(0, 1, s); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, part := range []int32{-1, 3} {
		if _, err := New(part, 3, DefaultSettings()); err == nil {
			t.Errorf("part %d of 3 is taken", part)
		}
	}
}
