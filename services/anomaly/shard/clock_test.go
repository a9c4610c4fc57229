package shard

import (
	"slices"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// bare settings ask no detector.
func bare() Settings {
	s := DefaultSettings()
	s.Off = Off{true, true, true, true, true}
	return s
}

func untils(pages []*page.Page) (out []int64) {
	for _, p := range pages {
		out = append(out, p.Until)
	}
	return out
}

// outagesOf are the outages that pages tell, each as it was told last.
func outagesOf(pages []*page.Page) (out []page.Outage) {
	for _, p := range pages {
		for _, o := range p.Outages {
			same := func(k page.Outage) bool { return k.All == o.All && k.Region == o.Region && k.From == o.From }
			if i := slices.IndexFunc(out, same); i >= 0 {
				out[i] = o
			} else {
				out = append(out, o)
			}
		}
	}
	return out
}

func TestOnlyGatewaysMoveTheClock(t *testing.T) {
	const years = 4 * 366 * day
	in := logs(t, 0, 1)
	id := in.enrol(t0, "one", "", 60_000, 1)[0]
	in.marks(t0, t0+10*minute, 5_000, "gw")
	quiet := in.sorted()
	want := untils(quiet.all(fresh(t, 0, 1, bare())))
	if len(want) < 9 || want[0] != t0+minute {
		t.Fatalf("%v", want)
	}
	for _, off := range []int64{years, -years, -t0, hour, 20 * second, -hour} {
		for at := t0 + minute; at < t0+9*minute; at += 7_000 {
			in.reading(at, id, "temp", 1)
			in.topics[Telemetry][len(in.topics[Telemetry])-1].Time += off
		}
		// They lie where they came, not where their times would have them.
		slices.SortStableFunc(in.topics[Telemetry], func(a, b Heard) int {
			return int(came(a, off) - came(b, off))
		})
		in.numbered(Telemetry)
		s := fresh(t, 0, 1, bare())
		if got := untils(in.all(s)); !slices.Equal(got, want) {
			t.Errorf("records that are off by %d ms: %v, %v without them", off, got, want)
		}
		in.topics[Telemetry] = slices.DeleteFunc(in.topics[Telemetry], func(h Heard) bool { return h.Key != nil })
	}
}

func came(h Heard, off int64) int64 {
	if h.Key == nil {
		return h.Time
	}
	return h.Time - off
}

// arrive puts the records of one gateway, or a set, off by some time, where they came.
func (in *inputs) leapt(from, until, beat, off int64, gateway, region string) {
	for at := from; at < until; at += beat {
		value, _, err := event.Watermark{Gateway: gateway, Time: at + off, Region: region}.Encode()
		if err != nil {
			in.tb.Fatal(err)
		}
		for topic := range topics {
			in.wrong[topic] = append(in.wrong[topic], arrived{at, Heard{Time: at + off, Type: markType, Value: value}})
		}
	}
}

func TestAGatewayWhoseClockIsOffDoesNotMoveTheOthers(t *testing.T) {
	for name, off := range map[string]int64{"years ahead": 5 * 366 * day, "1970": -t0 + 1, "hours behind": -3 * hour, "hours ahead": 3 * hour, "minutes ahead": 9 * minute} {
		for from, when := range map[int64]string{t0: "from the begin", t0 + 7*minute: "later"} {
			in := logs(t, 0, 1)
			in.marks(t0, t0+40*minute, 5_000, "a")
			want := untils(in.all(fresh(t, 0, 1, bare())))
			in.leapt(from+1, t0+40*minute, 5_000, off, "b", "")
			got := in.arrivedAll().all(fresh(t, 0, 1, bare()))
			// Of two that disagree from the first mark on nobody knows which one is right: then either may lead.
			if leads := from == t0 && off == -3*hour && len(got) >= len(want); !leads && !slices.Equal(untils(got), want) {
				t.Errorf("%s, %s: %v, %v without it", name, when, untils(got), want)
			}
			if o := outagesOf(got); len(o) != 0 {
				t.Errorf("%s, %s: %v", name, when, o)
			}
		}
	}
}

func TestTheOneGatewaysClockIsBelievedWhenItKeepsToIt(t *testing.T) {
	for name, c := range map[string]struct {
		off   int64
		after int64
	}{"a weekend": {60 * hour, 5 * minute}, "years": {4 * 366 * day, 25 * minute}} {
		in := logs(t, 0, 1)
		in.marks(t0, t0+10*minute, 5_000, "a")
		in.leapt(t0+10*minute, t0+40*minute, 5_000, c.off, "a", "")
		got := in.arrivedAll().all(fresh(t, 0, 1, bare()))
		last := got[len(got)-1]
		if last.Until < t0+39*minute+c.off {
			t.Errorf("%s: the last page is of %d, %d before its end", name, last.Until, t0+40*minute+c.off-last.Until)
		}
		if len(got) > 60 {
			t.Errorf("%s: %d pages: there is nothing to say of the time between", name, len(got))
		}
		o := outagesOf(got)
		if len(o) != 1 || !o[0].All || o[0].From != t0+10*minute-5_000 || o[0].Until < t0+10*minute+c.off || o[0].Until > t0+10*minute+c.off+c.after {
			t.Errorf("%s: %+v", name, o)
		}
	}
	// Back again: the clock waits, and closes nothing twice.
	in := logs(t, 0, 1)
	in.marks(t0, t0+10*minute, 5_000, "a")
	in.leapt(t0+10*minute, t0+40*minute, 5_000, -2*hour, "a", "")
	got := in.arrivedAll().all(fresh(t, 0, 1, bare()))
	if last := got[len(got)-1].Until; last > t0+10*minute {
		t.Errorf("until %d, the clock was at %d", last, t0+10*minute)
	}
	// Begun wrong, and right before a page was cut: it is as if it had never been.
	in = logs(t, 0, 1)
	in.leapt(t0-30_000, t0, 5_000, 4*366*day, "a", "")
	in.marks(t0, t0+10*minute, 5_000, "b")
	if got := untils(in.arrivedAll().all(fresh(t, 0, 1, bare()))); len(got) < 8 || got[0] > t0+2*minute {
		t.Errorf("%v", got)
	}
}

func TestWithoutAnyGatewayItIsUsWhoWereAway(t *testing.T) {
	in := logs(t, 0, 1)
	in.marks(t0, t0+5*minute+1, 5_000, "a", "b")
	in.marks(t0+7*minute+2_000, t0+10*minute, 5_000, "a", "b")
	got := in.all(fresh(t, 0, 1, bare()))
	if o := outagesOf(got); len(o) != 1 || o[0] != (page.Outage{All: true, From: t0 + 5*minute, Until: t0 + 7*minute + 2_000}) {
		t.Errorf("%+v", o)
	}
	for _, p := range got {
		if touches := p.Until > t0+5*minute && p.From < t0+7*minute+2_000; touches != (len(p.Outages) > 0) {
			t.Errorf("page until %d: %+v", p.Until-t0, p.Outages)
		}
	}
	// A few marks that are missing are none, and neither is a slow beat.
	in = logs(t, 0, 1)
	in.marks(t0, t0+5*minute, 5_000, "a")
	in.marks(t0+5*minute+5_000, t0+9*minute, 5_000, "a")
	in.marks(t0+9*minute, t0+20*minute, 12_000, "a")
	if o := outagesOf(in.all(fresh(t, 0, 1, bare()))); len(o) != 0 {
		t.Errorf("%+v", o)
	}
	in = logs(t, 0, 1)
	in.marks(t0, t0+40*minute, minute, "a", "b", "c")
	if got := in.all(fresh(t, 0, 1, bare())); len(outagesOf(got)) != 0 || len(got) < 37 {
		t.Errorf("%d pages, %+v", len(got), outagesOf(got))
	}
}

func (in *inputs) regional(from, until int64, gateway, region string) {
	for at := from; at < until; at += 5_000 {
		in.mark(at, gateway, region)
	}
}

func TestARegionWithoutGatewaysIsOurOutage(t *testing.T) {
	in := logs(t, 0, 1)
	in.regional(t0, t0+30*minute, "n1", "north")
	in.regional(t0+1, t0+5*minute, "n2", "north") // one of two: nothing is out
	in.regional(t0+2, t0+8*minute, "s1", "south")
	in.regional(t0+12*minute+2, t0+30*minute, "s1", "south")
	got := in.sorted().all(fresh(t, 0, 1, bare()))
	if o := outagesOf(got); len(o) != 1 || o[0] != (page.Outage{Region: "south", From: t0 + 8*minute - 5_000 + 2, Until: t0 + 12*minute + 2}) {
		t.Errorf("%+v", o)
	}
	for _, p := range got {
		if p.Until == t0+10*minute && (len(p.Outages) != 1 || p.Outages[0].Until != 0) {
			t.Errorf("while it goes on: %+v", p.Outages)
		}
	}
	if got[len(got)-1].Until < t0+29*minute {
		t.Errorf("the clock stood still at %d", got[len(got)-1].Until)
	}
}

func TestAGatewayThatIsGoneForGoodIsForgotten(t *testing.T) {
	in := logs(t, 0, 1)
	in.regional(t0, t0+3*hour, "n1", "north")
	in.regional(t0+1, t0+5*minute, "n2", "north")
	in.regional(t0+2, t0+6*minute, "old", "")
	s := fresh(t, 0, 1, bare())
	if o := outagesOf(in.sorted().all(s)); len(o) != 0 {
		t.Errorf("%+v", o)
	}
	if known, heard := s.Gateways(); known != 1 || heard != 1 {
		t.Errorf("%d gateways are known, %d heard", known, heard)
	}
	// The last of a region is an outage until the registry says otherwise, or for a day.
	for name, c := range map[string]struct {
		says  bool
		until int64
	}{"the registry": {true, t0 + 2*hour}, "a day": {false, t0 + 5*minute + day}} {
		in := logs(t, 0, 1)
		for at := t0; at < t0+26*hour; at += minute {
			in.mark(at, "n1", "north")
			if at < t0+5*minute {
				in.mark(at, "s1", "south")
			}
		}
		if c.says {
			in.declare(t0+2*hour, event.RegionDefined{Region: "south", Gateway: "other:443"})
		}
		s := fresh(t, 0, 1, bare())
		o := outagesOf(in.all(s))
		if len(o) != 1 || o[0].Region != "south" || o[0].From != t0+4*minute || o[0].Until < c.until-2*minute || o[0].Until > c.until+2*minute {
			t.Errorf("%s: %+v, until %d expected", name, o, c.until)
		}
		if known, _ := s.Gateways(); known != 1 {
			t.Errorf("%s: %d gateways are known", name, known)
		}
	}
}

func TestTwoGatewaysOfOneName(t *testing.T) {
	want := func() []int64 {
		in := logs(t, 0, 1)
		in.marks(t0, t0+30*minute, 5_000, "a")
		return untils(in.all(fresh(t, 0, 1, bare())))
	}()
	for _, off := range []int64{0, 3_000, -8_000, 2 * hour, -4 * 366 * day, 4 * 366 * day} {
		in := logs(t, 0, 1)
		in.marks(t0, t0+30*minute, 5_000, "a")
		in.leapt(t0+2_500, t0+30*minute, 5_000, off, "a", "")
		got := in.arrivedAll().all(fresh(t, 0, 1, bare()))
		if skip := max(0, len(got)-len(want)); skip > 1 || !slices.Equal(untils(got)[skip:], want) || len(outagesOf(got)) != 0 {
			t.Errorf("the other is off by %d ms: %d pages, %d with one, %+v", off, len(got), len(want), outagesOf(got))
		}
	}
}
