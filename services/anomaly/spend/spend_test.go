package spend

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// The begin of made fleets: a Monday, 00:00 UTC.
const begins = int64(1_767_571_200_000)

func settings() Settings {
	s := DefaultSettings()
	s.PerMillion, s.PerGB = .50, 2
	return s
}

// fleet makes what some shards' meters are told, a minute at a time.
type fleet struct {
	meters  []*Meter
	dice    *rand.Rand
	devices int
	metrics []string
	at      int64
	// times alters how often a metric of a minute comes; nil changes nothing.
	times func(at int64, metric string) float64
}

func newFleet(s Settings, seed uint64, shards int) *fleet {
	f := &fleet{dice: rand.New(rand.NewPCG(seed, 1)), devices: 40, metrics: []string{"mode", "strokes", "temperature", "vibration"}, at: begins}
	for range shards {
		f.meters = append(f.meters, NewMeter(s, func(c int32) string { return fmt.Sprintf("cohort-%d", c) }))
	}
	return f
}

// minute makes one, and gives the volumes that are told at its end.
func (f *fleet) minute() (at int64, out []page.Volume) {
	f.at += 60_000
	for _, m := range f.metrics {
		n := float64(f.devices)
		if f.times != nil {
			n *= f.times(f.at, m)
		}
		for _, meter := range f.meters {
			part := n / float64(len(f.meters))
			count := int(math.Round(max(0, part+math.Sqrt(part*.05)*f.dice.NormFloat64())))
			meter.Add(0, []byte(m), count, 0, f.at)
			meter.Add(0, nil, count, 9*count, f.at)
		}
	}
	for _, meter := range f.meters {
		out = append(out, meter.Tick(f.at)...)
	}
	return f.at, out
}

// run lets a fleet live until an instant; each gets what was told.
func (f *fleet) run(until int64, j *Forecasts, each func(incident.Signal)) {
	for f.at < until {
		for _, s := range j.Cut(f.minute()) {
			each(s)
		}
	}
}

const (
	hour = int64(hourMS)
	day  = 24 * hour
)

func TestARunawayMetricIsToldWithinTheHourWithItsPrice(t *testing.T) {
	for _, c := range []struct {
		name        string
		from, lasts int64
		times       float64
		within      int64 // minutes
	}{
		{"on the first day", 5*hour + 25*60_000, 2 * hour, 500, 10},
		{"in its first days", day + 22*hour, 2 * hour, 500, 10},
		{"in the last minutes of an hour", 3*day + 50*60_000, 3 * hour, 50, 10},
		{"three times as much", 20 * day, 5 * hour, 3, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, j := newFleet(settings(), 3, 3), NewForecasts(settings())
			from, to := begins+c.from, begins+c.from+c.lasts
			f.times = func(at int64, metric string) float64 {
				if metric == "vibration" && at > from && at <= to {
					return c.times
				}
				return 1
			}
			var first, last *incident.Signal
			f.run(to+3*hour, j, func(s incident.Signal) {
				if s.Subject != (event.Subject{Cohort: "cohort-0", Metric: "vibration"}) || last != nil {
					t.Fatalf("%+v", s)
				}
				if first == nil {
					first = &s
				}
				if s.Over {
					last = &s
				}
			})
			if first == nil || last == nil {
				t.Fatalf("%+v %+v", first, last)
			}
			t.Log(first.At, first.Title, "|", first.Why)
			if late := (first.At - from) / 60_000; late < 0 || late > c.within {
				t.Errorf("it is told after %d minutes", late)
			}
			if off := first.Since - from; off < -stepMS || off > hour {
				t.Errorf("it began %d minutes after it did", off/60_000)
			}
			if late := (last.At - to) / 60_000; late < 0 || late > 30 {
				t.Errorf("it is over %d minutes after it was", late)
			}
			if first.Kind != event.Spend || first.Cause != incident.CauseVolume || !strings.Contains(first.Why, "the month costs") || !strings.Contains(first.Why, "USD") {
				t.Errorf("%+v", first)
			}
		})
	}
}

func TestSeveralMetricsAreNamedAndCountedTogether(t *testing.T) {
	of := func(name string, rate, forecast float64) hot {
		return hot{name: name, verdict: verdict{rate: rate, forecast: forecast}}
	}
	all := []hot{of("rssi", 4_000, 1_000), of("temp", 2_000, 500), of("tilt", 600, 100), of("wind", 5_400, 900)}
	for n, want := range []string{
		2: "scales: rssi and temp come 4 times as much as forecast | rssi and temp are 6000 values/h, forecast 1500:",
		3: "scales: rssi, temp and tilt come 4.125 times as much as forecast | rssi, temp and tilt are 6600 values/h, forecast 1600:",
		4: "scales: rssi, temp, tilt and 1 more come 4.8 times as much as forecast | rssi, temp, tilt and 1 more are 12,000 values/h, forecast 2500:",
	} {
		if want == "" {
			continue
		}
		// The cohort sends a great deal else, which is as it was.
		s := NewForecasts(settings()).rises(begins+hour, "scales", &cohort{}, all[:n], verdict{rate: 90_000, forecast: 80_000}, verdict{})
		if title, why, _ := strings.Cut(want, " | "); s.Title != title || !strings.Contains(s.Why, "UTC "+why) {
			t.Errorf("%d: %s | %s", n, s.Title, s.Why)
		}
	}
	s := NewForecasts(settings()).rises(begins+hour, "scales", &cohort{}, all[:1], verdict{rate: 90_000, forecast: 80_000}, verdict{})
	if s.Title != "scales: rssi comes 4 times as much as forecast" || !strings.Contains(s.Why, "UTC rssi is 4000 values/h, forecast 1000:") {
		t.Errorf("one: %s | %s", s.Title, s.Why)
	}
}

func TestWhatItCostsThisMonth(t *testing.T) {
	f, j := newFleet(settings(), 3, 1), NewForecasts(settings())
	f.times = func(at int64, metric string) float64 {
		if metric == "vibration" && at > begins+10*day {
			return 1000
		}
		return 1
	}
	var last incident.Signal
	f.run(begins+10*day+hour, j, func(s incident.Signal) { last = s })
	// 40,000 values a minute of nine bytes for the rest of January, of which 15 days are left to come, and an hour less.
	want := 40_000. * 60 * (31 - 14) * 24 * (.5/1e6 + 9*2./1e9)
	numbers := map[string]float64{}
	for _, n := range last.Numbers {
		numbers[n.Name] = float64(n.Micro) / 1e6
		if strings.HasPrefix(n.Name, "month") && n.Unit != "USD" {
			t.Errorf("%+v", n)
		}
	}
	if got := numbers["month"]; math.Abs(got-want) > .02*want {
		t.Errorf("the month costs %.2f, and %.2f is right", got, want)
	}
	// From the 5th on, and what has come too much already.
	if want := (160.*60*27*24 + 40_000*60) * (.5/1e6 + 9*2./1e9); math.Abs(numbers["month-usual"]-want) > .02*want {
		t.Errorf("at the usual rate %.2f, and %.2f is right", numbers["month-usual"], want)
	}
	if last.Severity != event.SeverityCritical || numbers["times"] < 950 || numbers["times"] > 1050 {
		t.Errorf("%+v", last)
	}
}

func TestDaysWeekendsOutagesAndTheirCatchingUpAreNoRunaway(t *testing.T) {
	f, j := newFleet(settings(), 9, 2), NewForecasts(settings())
	owed := 0.
	f.times = func(at int64, metric string) float64 {
		h := float64(at%day) / float64(hour)
		k := 1 + .6*math.Sin((h-9)/24*2*math.Pi)
		if d := (at/day + 4) % 7; d == 0 || d == 6 {
			k *= .7
		}
		switch since := at - begins - 8*day; {
		case since > 0 && since < 6*hour || since > 9*day && since < 9*day+600_000:
			owed += k / 4
			return 0
		case owed > 0 && metric == "vibration": // the last of the four
			k += owed
			owed = 0
		case owed > 0:
			k += owed
		}
		return k
	}
	f.run(begins+35*day, j, func(s incident.Signal) {
		t.Errorf("day %.2f: %s | %s", float64(s.At-begins)/float64(day), s.Title, s.Why)
	})
}

func TestACohortThatGrowsIsNoRunawayAndItsDevicesCanStillBe(t *testing.T) {
	const grown = 3*day + 5*hour
	f, j := newFleet(settings(), 9, 2), NewForecasts(settings())
	told := 0
	live := func(until int64, sized bool) {
		for f.at < until {
			at, v := f.minute()
			if sized {
				j.Sizes([]page.Slot{{Cohort: "cohort-0", Members: uint32(f.devices) + 7, Never: 7}})
			}
			j.Sizes([]page.Slot{{Cohort: "cohort-0", Members: 3, Asleep: 1}, {Cohort: "cohort-0", Members: 5}, {Cohort: "nobody", Members: 9}}) // of which nobody knows
			told += len(j.Cut(at, v))
		}
	}
	live(begins+grown, true)
	f.devices *= 8
	live(begins+5*day, true)
	if told != 0 {
		t.Fatalf("%d signals of a cohort of eight times the devices", told)
	}
	f.times = func(_ int64, metric string) float64 {
		if metric == "mode" {
			return 20
		}
		return 1
	}
	live(begins+5*day+hour, true)
	if told == 0 {
		t.Error("each of its devices sends twenty times as much, and nobody says so")
	}

	f, j, told = newFleet(settings(), 9, 2), NewForecasts(settings()), 0
	live(begins+grown, false)
	f.devices *= 8
	live(begins+4*day, false)
	if told == 0 {
		t.Error("eight times as much of as many devices is told")
	}
}

func TestDevicesThatSayAllInTheFirstMinuteOfAnHourAreNoRunaway(t *testing.T) {
	f, j := newFleet(settings(), 9, 2), NewForecasts(settings())
	f.times = func(at int64, _ string) float64 {
		if at%hour == 60_000 {
			return 60
		}
		return 0
	}
	f.run(begins+4*day, j, func(s incident.Signal) {
		t.Errorf("hour %.2f: %s | %s", float64(s.At-begins)/float64(hour), s.Title, s.Why)
	})
}

func TestAllMetricsTogetherAreOneIncidentOfTheCohort(t *testing.T) {
	f, j := newFleet(settings(), 9, 2), NewForecasts(settings())
	f.times = func(at int64, _ string) float64 {
		if at > begins+3*day {
			return 60
		}
		return 1
	}
	var told []incident.Signal
	f.run(begins+3*day+2*hour, j, func(s incident.Signal) { told = append(told, s) })
	for _, s := range told {
		if s.Over || s.Subject != (event.Subject{Cohort: "cohort-0"}) {
			t.Fatalf("%+v", s)
		}
	}
	if len(told) == 0 || told[0].At != begins+3*day+stepMS {
		t.Fatalf("%+v", told)
	}
	// After a week it is what it costs now.
	told = told[:0]
	f.run(begins+11*day, j, func(s incident.Signal) { told = append(told, s) })
	last := told[len(told)-1]
	if !last.Over || !strings.Contains(last.Why, "usual volume") || last.At > begins+10*day+2*hour {
		t.Errorf("%+v", last)
	}
}

func TestAChangeForGoodIsOneIncidentAlsoWhereItsFirstHourWasLearned(t *testing.T) {
	f, j := newFleet(settings(), 9, 1), NewForecasts(settings())
	f.times = func(at int64, _ string) float64 {
		if at > begins+2*day+20*60_000 { // the first hour is no twice of itself yet
			return 2.03
		}
		return 1
	}
	opened, open, over := 0, false, int64(0)
	f.run(begins+14*day, j, func(s incident.Signal) {
		if !open {
			opened++
		}
		if open = !s.Over; s.Over {
			over = s.At
		}
	})
	if opened != 1 || open || over < begins+9*day {
		t.Errorf("%d incidents, the last one ended after %.1f days", opened, float64(over-begins)/float64(day))
	}
}

func TestACohortThatWakesOnItsFirstDayIsNoRunaway(t *testing.T) {
	live := func(sleeps bool) (told int) {
		f, j := newFleet(settings(), 9, 2), NewForecasts(settings())
		f.times = func(at int64, _ string) float64 {
			if (at-begins)%(6*hour) > hour/2 {
				return 0
			}
			return 1
		}
		for f.at < begins+6*day {
			at, v := f.minute()
			asleep := uint32(0)
			if sleeps && (at-begins)%(6*hour) > hour/2 {
				asleep = 40
			}
			j.Sizes([]page.Slot{{Cohort: "cohort-0", Members: 40, Asleep: asleep}})
			out := j.Cut(at, v)
			told += len(out)
			for _, s := range out {
				if sleeps {
					t.Log((at-begins)/60000, s.Title, s.Over)
				}
			}
		}
		return told
	}
	if n := live(true); n > 0 {
		t.Errorf("%d signals of a cohort that wakes up", n)
	}
	if live(false) == 0 {
		t.Error("nothing is said where nobody knows that it sleeps: it is the sleep that is tested")
	}
}

func TestASmallMetricThatDoublesIsNoCost(t *testing.T) {
	f, j := newFleet(settings(), 9, 1), NewForecasts(settings())
	f.metrics = append(f.metrics, "rare")
	f.times = func(at int64, metric string) float64 {
		switch {
		case metric != "rare":
			return 1
		case at > begins+3*day:
			return .8
		}
		return .05
	}
	f.run(begins+5*day, j, func(s incident.Signal) { t.Errorf("%s | %s", s.Title, s.Why) })
}

func TestForecastsRestoredAtAnyCutGoOnTheSameInAnyOrderOfShards(t *testing.T) {
	const minutes = 4 * 24 * 60
	f := newFleet(settings(), 5, 3)
	f.times = func(at int64, metric string) float64 {
		if h := (at - begins) / hour; metric == "mode" && h%31 > 28 {
			return 20
		}
		return 1
	}
	size := func(minute int) []page.Slot { // it grows by a device an hour, in two shards
		return []page.Slot{{Cohort: "cohort-0", Members: 20}, {Cohort: "cohort-0", Members: 22 + uint32(minute/60), Never: 2}}
	}
	type cut struct {
		at      int64
		volumes []page.Volume
		told    []incident.Signal
	}
	j := NewForecasts(settings())
	cuts, kept, meters := []cut{}, map[int][]byte{}, map[int][]byte{}
	told := 0
	for i := range minutes {
		at, v := f.minute()
		j.Sizes(size(i))
		s := j.Cut(at, v)
		told += len(s)
		cuts = append(cuts, cut{at, v, s})
		if i%701 == 0 {
			kept[i], meters[i] = written(t, j), written(t, f.meters[1])
		}
	}
	if told < 10 {
		t.Errorf("%d signals: the days are not eventful", told)
	}
	end := written(t, j)
	for i, snapshot := range kept {
		r := NewForecasts(settings())
		if err := r.Restore(bytes.NewReader(snapshot)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(written(t, r), snapshot) {
			t.Fatal("another state is written than was read")
		}
		for k, c := range cuts[i+1:] {
			slots := size(i + 1 + k)
			slices.Reverse(slots)
			r.Sizes(slots)
			v := slices.Clone(c.volumes)
			slices.Reverse(v)
			if got := r.Cut(c.at, v); !reflect.DeepEqual(got, c.told) {
				t.Fatalf("restored at %d, %d: %+v, and before %+v", i, c.at, got, c.told)
			}
		}
		if !bytes.Equal(written(t, r), end) {
			t.Errorf("restored at %d, the end is another", i)
		}
		m := NewMeter(settings(), f.meters[1].cohort)
		if err := m.Restore(bytes.NewReader(meters[i])); err != nil || !bytes.Equal(written(t, m), meters[i]) {
			t.Errorf("a meter's state is not what was written: %v", err)
		}
	}
	for _, n := range []int{0, 7, len(end) / 2, len(end) - 1} {
		if NewForecasts(settings()).Restore(bytes.NewReader(end[:n])) == nil {
			t.Errorf("the first %d bytes are read as a state", n)
		}
	}
}

func written(t testing.TB, of interface{ Snapshot(w io.Writer) error }) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := of.Snapshot(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func BenchmarkMeterAdd(b *testing.B) {
	b.ReportAllocs()
	m := NewMeter(DefaultSettings(), nil)
	names := make([][]byte, 10)
	for i := range names {
		names[i] = fmt.Appendf(nil, "metric_%d", i)
	}
	n := 0
	for b.Loop() {
		m.Add(int32(n%50), names[n%10], 1, 0, begins)
		n++
	}
	if got := m.counters[0].values; got == 0 || m.beyond > 0 {
		b.Fatal(got)
	}
}
