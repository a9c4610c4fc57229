package series

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"muster.dev/services/anomaly/page"
)

func temperature() model {
	return model{base: 21, spread: .5, daily: 4, weekly: .5, noise: .2, walk: .4, together: 1, least: -1e9}
}

func healthy(devices int, seed uint64) []*maker {
	return []*maker{
		newMaker("temperature", temperature(), devices, seed),
		newMaker("humidity", model{base: 60, spread: 3, daily: -10, noise: 1, together: 3}, devices, seed),
		newMaker("light", model{base: 9000, daily: 11000, noise: 300}, devices, seed),
		newMaker("rssi", model{base: -71, spread: 5, noise: 2, least: -1e9}, devices, seed),
		newMaker("heap_used", model{base: 180, noise: 4, walk: 6}, devices, seed),
	}
}

// of counts what was told by kind, without the numbers of series and without ends.
func of(told []page.Finding) map[string]int {
	count := map[string]int{}
	for _, f := range told {
		if f.Kind != Series && !f.Over {
			count[f.Kind]++
		}
	}
	return count
}

func TestHealthySeriesAreLeftAlone(t *testing.T) {
	const devices, days = 12, 9
	b := NewBank(DefaultSettings(), testNames())
	count := of(live(b, days, .05, healthy(devices, 11), nil))
	t.Logf("%v in %d series-days", count, 5*devices*days)
	sum := 0
	for _, n := range count {
		sum += n
	}
	if sum > 4 {
		t.Errorf("%v is found in %d healthy series-days", count, 5*devices*days)
	}
}

func TestEachKindIsFoundWhereItIsAndWhenItIs(t *testing.T) {
	from, to := begins+5*day/2, begins+3*day
	slow := func(_ int, at int64, v, _, _ float64) (float64, bool) { return v, at/minute%10 == 0 }
	for _, c := range []struct {
		name   string
		kinds  []string // one of them
		within float64  // hours of the begin
		alter  fault
	}{
		{"flat-line", []string{"flat-line"}, 1, func(_ int, _ int64, _, last, _ float64) (float64, bool) { return last, true }},
		{"jump", []string{"unlike-peers", "jump"}, 1, func(_ int, _ int64, v, _, _ float64) (float64, bool) { return v + 5, true }},
		{"noise", []string{"noise"}, 4, func(_ int, _ int64, v, _, n float64) (float64, bool) { return v + 7*n, true }},
		{"missing", []string{"rate"}, 1, func(_ int, _ int64, v, _, _ float64) (float64, bool) { return v, false }},
		{"ten times as seldom", []string{"rate"}, 1, slow},
		{"drift", []string{"unlike-peers", "drift"}, 9, func(_ int, at int64, v, _, _ float64) (float64, bool) {
			return v + 10*float64(at-from)/float64(to-from), true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBank(DefaultSettings(), testNames())
			told := live(b, 3.6, .05, []*maker{newMaker("temperature", temperature(), 8, 5), newMaker("other", temperature(), 8, 6)},
				func(i int, at int64, v, last, n float64) (float64, bool) {
					if at >= from && at < to && i == 3 {
						return c.alter(i, at, v, last, n)
					}
					return v, true
				})
			begun, ended := false, false
			for _, f := range told {
				switch mine := f.ID == "d-0003" && f.Metric == "temperature"; {
				case f.Kind == Series:
				case !mine:
					t.Errorf("%s of %s is found too", f.Kind, f.ID)
				case slices.Contains(c.kinds, f.Kind) && !f.Over:
					if off := float64(f.At-from) / float64(hour); off < -1 || off > c.within {
						t.Errorf("%s begins %.1f hours after it did", f.Kind, off)
					}
					if f.Score < 300_000 || f.Score >= 1_000_000 || f.Reporting != 8 || f.Cohort != "cohort-0" || f.No != 4 {
						t.Errorf("%+v", f)
					}
					begun = true
				case slices.Contains(c.kinds, f.Kind) && begun:
					if off := float64(f.At-to) / float64(hour); off < -1 || off > 3 {
						t.Errorf("%s ends %.1f hours after it did", f.Kind, off)
					}
					ended = true
				}
			}
			if !begun || !ended {
				t.Errorf("begun %t, ended %t: %+v", begun, ended, told)
			}
		})
	}
}

func TestAChangeOfAllIsNotTheFaultOfOne(t *testing.T) {
	from := begins + 17*day/2
	b := NewBank(DefaultSettings(), testNames())
	told := live(b, 9, .05, []*maker{newMaker("temperature", temperature(), 12, 5)}, func(_ int, at int64, v, _, _ float64) (float64, bool) {
		if at >= from {
			v -= 7
		}
		return v, true
	})
	all := 0
	for _, f := range told {
		switch {
		case f.Kind == "unlike-peers":
			t.Errorf("%+v", f)
		case f.Kind == "jump" && f.ID == "" && !f.Over:
			if off := f.At - from; off < -hour || off > hour || f.Reporting != 12 || f.Value > f.Usual-5e6 {
				t.Errorf("%d minutes late: %+v", off/minute, f)
			}
			all++
		}
	}
	if all != 1 {
		t.Errorf("%d times it is said of all of twelve devices that fell by seven degrees", all)
	}
	// Too few are no crowd: it is over.
	for d := range int32(9) {
		b.Leave(d)
	}
	over := 0
	for _, f := range b.Tick(begins + 9*day + hour) {
		if f.ID == "" && f.Kind == "jump" && f.Over && f.Reporting == 12 {
			over++
		}
	}
	if over != 1 || len(b.crowds) != 0 {
		t.Errorf("%d ends of a crowd that is gone", over)
	}
}

// shuffled feeds the same rows tick by tick, those of a tick in another order.
func shuffled(t *testing.T, seed uint64) (told []page.Finding, snapshot []byte) {
	t.Helper()
	dice := rand.New(rand.NewPCG(seed, 3))
	b := NewBank(DefaultSettings(), testNames())
	var rows []func()
	k := newMaker("temperature", temperature(), 6, 4)
	for at := begins; at < begins+5*day/2; at += minute {
		k.at(at, .1, func(_ int, at int64, v, last, _ float64) (float64, bool) {
			if at > begins+2*day {
				return last, true
			}
			return v, true
		}, func(device int, at int64, v float64) {
			rows = append(rows, func() { b.Row(int32(device), uint32(device), 0, k.metric, at, v/3) })
		})
		if at/minute%5 == 4 {
			if seed > 0 && len(b.index) == 6 { // who comes first has the first place
				dice.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			}
			for _, row := range rows {
				row()
			}
			rows = rows[:0]
			told = append(told, b.Tick(at+2*minute)...)
		}
	}
	return told, bankBytes(t, b)
}

func bankBytes(t testing.TB, b *Bank) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.Snapshot(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTheOrderOfRowsWithinTheLatenessDoesNotShow(t *testing.T) {
	told, state := shuffled(t, 0)
	if of(told)["flat-line"] != 6 {
		t.Errorf("%v", of(told))
	}
	for seed := uint64(1); seed <= 3; seed++ {
		again, other := shuffled(t, seed)
		if !reflect.DeepEqual(told, again) {
			t.Errorf("seed %d: another order of rows gives other findings", seed)
		}
		if !bytes.Equal(state, other) {
			t.Errorf("seed %d: another order of rows gives another state", seed)
		}
	}
}

// eventful is a life with all that a bank does: devices that come, leave, move, fall silent, and a budget that is full.
func eventful(b *Bank, from, to int, cut func(i int, told []page.Finding)) {
	for i := from; i < to; i++ {
		dice := rand.New(rand.NewPCG(uint64(i), 9))
		at := begins + int64(i)*5*minute
		for d := range int32(20) {
			cohort := d % 3
			if i > 700 && d == 5 {
				cohort = 2
			}
			if d == 7 && i > 300 || d == 8 && i > 500 && i < 900 {
				continue
			}
			for m := range 2 {
				x := 20 + 5*math.Sin(float64(i)/46) + dice.NormFloat64()
				if i > 600 && d%4 == 0 {
					x = 20 + 40*dice.Float64()
				}
				if i > 650 && d%5 == 1 {
					x = 7
				}
				b.Row(d, uint32(d)+1, cohort, fmt.Appendf(nil, "m%d", m), at-int64(dice.IntN(12))*minute*int64(d%2), x)
			}
		}
		if i == 800 || i == 850 {
			b.Leave(int32(i % 20))
			b.Leave(1)
		}
		cut(i, b.Tick(at+6*minute))
	}
}

func TestABankRestoredAtAnyCutGoesOnTheSame(t *testing.T) {
	const cuts = 1100
	s := DefaultSettings()
	s.Series = 33
	b := NewBank(s, testNames())
	var told [][]page.Finding
	kept := map[int][]byte{}
	eventful(b, 0, cuts, func(i int, f []page.Finding) {
		told = append(told, f)
		if i%97 == 0 || i > 797 && i < 803 {
			kept[i] = bankBytes(t, b)
		}
	})
	end := bankBytes(t, b)
	if n := of(slices.Concat(told...)); len(n) < 4 {
		t.Errorf("the life is not eventful: %v", n)
	}
	for i, snapshot := range kept {
		r := NewBank(s, testNames())
		if err := r.Restore(bytes.NewReader(snapshot)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bankBytes(t, r), snapshot) {
			t.Errorf("cut %d: a restored bank writes another state", i)
		}
		eventful(r, i+1, cuts, func(k int, f []page.Finding) {
			if !reflect.DeepEqual(f, told[k]) {
				t.Fatalf("restored at %d, told at %d: %+v, and before %+v", i, k, f, told[k])
			}
		})
		if !bytes.Equal(bankBytes(t, r), end) {
			t.Errorf("restored at %d, the end is another", i)
		}
	}
	for _, n := range []int{0, 1, 20, len(end) / 2, len(end) - 1} {
		if err := NewBank(s, testNames()).Restore(bytes.NewReader(end[:n])); err == nil {
			t.Errorf("the first %d bytes of a snapshot are read as one", n)
		}
	}
}

func TestWhatIsNoNumberOrTooMuchOrTooLateIsCounted(t *testing.T) {
	s := DefaultSettings()
	s.Series = 2
	b := NewBank(s, testNames())
	m := []byte("m")
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 2 * MaxValue} {
		b.Row(0, 1, 0, m, begins, x)
	}
	b.Row(0, 1, 0, m, -1, 1)
	b.Row(0, 1, 0, m, math.MaxInt64, 1)
	for d := range int32(4) {
		b.Row(d, 1, 0, m, begins, MaxValue)
		b.Row(d, 1, 0, m, begins, -MaxValue)
	}
	b.Tick(begins + 10*minute)
	b.Row(0, 1, 0, m, begins+minute, 1)
	if got, want := b.Counts(), (Counts{Rows: 15, Refused: 6, Beyond: 4, Late: 1}); got != want {
		t.Errorf("%+v, and not %+v", got, want)
	}
	// Who was not heard for a week makes room.
	for i := range int64(9) {
		b.Row(0, 1, 0, m, begins+i*day+day, 1)
		b.Tick(begins + i*day + day + 10*minute)
	}
	b.Row(3, 1, 0, []byte("other"), begins+10*day, 1)
	if got := b.Counts(); got.Evicted != 1 || got.Beyond != 4 || b.Len() != 2 {
		t.Errorf("%+v, %d series", got, b.Len())
	}
	// A metric's name goes with its last series.
	b.Leave(3)
	b.Tick(begins + 11*day)
	if _, there := b.metrics["other"]; there || len(b.groups) != 1 {
		t.Errorf("%v %v", b.metrics, b.groups)
	}
}

func TestAnHoursReadingsAtOnceAreJudgedInTheirOrder(t *testing.T) {
	one, whole := NewBank(DefaultSettings(), testNames()), NewBank(DefaultSettings(), testNames())
	var first, second []page.Finding
	for h := range 80 {
		for i := range 12 {
			at := begins + int64(h)*hour + int64(i)*5*minute
			x := math.Sin(float64(h*12+i) / 9)
			if h > 70 {
				x = 0
			}
			one.Row(0, 1, 0, []byte("m"), at, x)
			first = append(first, one.Tick(at+6*minute)...)
			whole.Row(0, 1, 0, []byte("m"), at, x)
		}
		second = append(second, whole.Tick(begins+int64(h+1)*hour+minute)...)
	}
	if one.Counts().Late+whole.Counts().Late > 0 || of(first)["flat-line"] != 1 {
		t.Errorf("%+v %+v %+v", one.Counts(), whole.Counts(), first)
	}
	if first, second = slices.DeleteFunc(first, isSeries), slices.DeleteFunc(second, isSeries); !reflect.DeepEqual(first, second) {
		t.Errorf("%+v\nand an hour at once %+v", first, second)
	}
}

func isSeries(f page.Finding) bool { return f.Kind == Series }

func TestASeriesTakesLessThanItMay(t *testing.T) {
	const n = 5_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := NewBank(DefaultSettings(), testNames())
	for i := range int32(n) {
		b.Row(i, uint32(i), 0, []byte("temperature"), begins, 1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("%.0f bytes a series, index and all", each)
	if each > 2560 {
		t.Errorf("a series takes %.0f bytes", each)
	}
	runtime.KeepAlive(b)
}

func TestManyAtOnceAreToldOverSeveralTicks(t *testing.T) {
	b := NewBank(DefaultSettings(), testNames())
	const n = 2*MaxFindings + 100
	for i := range int32(n) {
		b.Row(i, uint32(i), i%5, []byte("m"), begins, 1)
	}
	for i := range b.made {
		b.at(i).watch.begin(flat, 1, .5, 1, 1)
	}
	b.untold = true
	counts := []int{}
	for k := range 4 {
		counts = append(counts, of(b.Tick(begins + int64(k)))["flat-line"])
	}
	if counts[0] > MaxFindings || counts[0] < MaxFindings-10 || counts[0]+counts[1]+counts[2] != n || counts[3] != 0 {
		t.Errorf("%v", counts)
	}
}

func BenchmarkDetectorRow(b *testing.B) {
	b.ReportAllocs()
	var d Detector
	i := int64(0)
	for b.Loop() {
		d.Row(begins+i*bucketMS, 20+math.Sin(float64(i)/46))
		i++
	}
	if d.n == 0 || strings.Contains(fmt.Sprint(d.scale), "NaN") {
		b.Fatal(d.scale)
	}
}

// A device says ten metrics a minute: most rows only join their bucket.
func BenchmarkBankRow(b *testing.B) {
	b.ReportAllocs()
	const devices, metrics = 500, 10
	bank := NewBank(DefaultSettings(), testNames())
	names := make([][]byte, metrics)
	for m := range names {
		names[m] = fmt.Appendf(nil, "metric_%d", m)
	}
	dice := rand.New(rand.NewPCG(1, 1))
	rows, at := 0, begins
	for b.Loop() {
		if rows++; rows%(devices*metrics) == 0 {
			at += minute
			bank.Tick(at)
		}
		k := rows % (devices * metrics)
		bank.Row(int32(k/metrics), uint32(k), 0, names[k%metrics], at, 20+dice.Float64())
	}
	if bank.Len() != min(rows, devices*metrics) || bank.Counts().Late > 0 {
		b.Fatalf("%d series, %+v", bank.Len(), bank.Counts())
	}
}
