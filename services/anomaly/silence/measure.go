package silence

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// Cell is one kind of cohort, and what befalls it, of a measurement.
type Cell struct {
	Devices  int
	Interval int64   // ms; 0 is five minutes
	Loss     float64 // of messages
	Burst    float64 // mean number of intervals for which loss goes on; 1 and less: each message has its own luck
	Silent   float64 // share of the devices that falls silent; 0: nothing happens, and every incident is false
	Drain    float64 // share that falls silent each hour instead
	After    int64   // intervals of its life after which that begins, or up to 100 later; 0 is 400
	Shards   int     // 0 is one
	Calm     bool    // without reboots, and without stalls of the pipeline
	Life     int     // weeks that a cohort lives in which nothing happens; 0 is ten
}

// Result is what came of it.
type Result struct {
	Cell
	Weeks     int
	False     int     // incidents of which nothing was true
	Per1000   float64 // of them in 1,000 weeks of a cohort
	Low, High float64 // 95 % of a Poisson distribution
	Events    int     // true silences
	Found     int
	Median    float64 // of the delays, in intervals from the silence, without the grace
	P95, Max  float64
	Pieces    int // incidents in all, of the events found
}

// String is a row of the table that Header heads.
func (r Result) String() string {
	kind := "independent"
	if r.Burst > 1 {
		kind = fmt.Sprintf("bursts of %g", r.Burst)
	}
	what := fmt.Sprintf("%.3g false per 1,000 weeks (%d in %d; 95 %%: %.2g-%.2g)", r.Per1000, r.False, r.Weeks, r.Low, r.High)
	if r.Silent > 0 || r.Drain > 0 {
		what = fmt.Sprintf("%d of %d found, delay median %.2f, p95 %.2f, most %.2f", r.Found, r.Events, r.Median, r.P95, r.Max)
	}
	return fmt.Sprintf("n %5d, loss %4.3g %% %-12s silent %3.0f %% drain %.0f %%/h after %d: %s", r.Devices, 100*r.Loss, kind+",", 100*r.Silent, 100*r.Drain, r.After, what)
}

// Measure plays a cohort's life through Devices and Cohorts, and counts. Without a silence it lasts weeks, in lives of ten
// each, the first minutes of each included. With one, each of weeks lives has one, after a day and a half unless the cell says when.
func Measure(cell Cell, weeks int, seed uint64) Result {
	if cell.Interval == 0 {
		cell.Interval = 5 * minute
	}
	cell.Shards = max(cell.Shards, 1)
	if cell.After <= 0 {
		cell.After = 400
	}
	if cell.Life <= 0 {
		cell.Life = 10
	}
	r := Result{Cell: cell, Weeks: weeks}
	var delays []float64
	if cell.Silent == 0 && cell.Drain == 0 {
		for life := 0; life*cell.Life < weeks; life++ {
			w := newWorld(cell, seed+uint64(life)<<32)
			w.run(w.begin + int64(min(cell.Life, weeks-cell.Life*life))*weekMS)
			r.False += len(w.opened)
		}
		r.Per1000 = 1_000 * float64(r.False) / float64(max(weeks, 1))
		r.Low, r.High = poisson(r.False)
		r.Low, r.High = 1_000*r.Low/float64(max(weeks, 1)), 1_000*r.High/float64(max(weeks, 1))
		return r
	}
	for life := range weeks {
		w := newWorld(cell, seed+uint64(life)<<32)
		w.silence()
		w.run(w.until + 12*cell.Interval)
		r.Events++
		for i, at := range w.opened {
			if at < w.from {
				r.False++
				continue
			}
			if i == 0 || w.opened[i-1] < w.from {
				r.Found++
				delays = append(delays, float64(at-w.from-cell.Interval/4)/float64(cell.Interval))
			}
			r.Pieces++
		}
	}
	slices.Sort(delays)
	at := func(q float64) float64 {
		if len(delays) == 0 {
			return math.NaN()
		}
		return delays[min(len(delays)-1, int(math.Ceil(q*float64(len(delays)))))]
	}
	r.Median, r.P95, r.Max = at(.5), at(.95), at(1)
	return r
}

// poisson gives the 95 % interval of a count's mean, by halving.
func poisson(n int) (low, high float64) {
	below := func(mean float64, n int) float64 { // chance of n or fewer
		term, sum := math.Exp(-mean), 0.
		for i := range n + 1 {
			sum += term
			term *= mean / float64(i+1)
		}
		return sum
	}
	find := func(is func(mean float64) bool) float64 {
		from, to := 0., float64(4*n+20)
		for range 60 {
			if mid := (from + to) / 2; is(mid) {
				from = mid
			} else {
				to = mid
			}
		}
		return from
	}
	if n > 0 {
		low = find(func(mean float64) bool { return 1-below(mean, n-1) < .025 })
	}
	return low, find(func(mean float64) bool { return below(mean, n) > .025 })
}

// world is a cohort's devices as they are in truth.
type world struct {
	cell    Cell
	r       *rand.Rand
	begin   int64
	now     int64
	shards  []*Devices
	census  []*census.State
	cohorts *Cohorts
	book    *incident.Book
	opened  []int64

	shard []int // of a device
	at    []int32
	phase []int64
	next  []int64
	bad   []bool
	dies  []int64 // when it falls silent

	from, until       int64 // of the silence
	stallFrom, stalls int64 // until; 0: none
}

func newWorld(cell Cell, seed uint64) *world {
	w := &world{
		cell: cell, r: rand.New(rand.NewPCG(seed, 0x51)), begin: 1_700_000_100_000 / weekMS * weekMS,
		cohorts: NewCohorts(DefaultSettings()), book: incident.NewBook(incident.DefaultSettings(), nil),
	}
	w.now = w.begin
	for p := range cell.Shards {
		c := census.New(int32(p), int32(cell.Shards))
		w.census = append(w.census, c)
		w.shards = append(w.shards, NewDevices(c, DefaultSettings()))
	}
	w.enrol()
	return w
}

// enrol writes the registry's log of the cohort.
func (w *world) enrol() {
	bodies := []event.Body{event.CohortDefined{Cohort: "measured", Interval: w.cell.Interval}}
	for i := range w.cell.Devices {
		bodies = append(bodies, event.DeviceEnrolled{Device: fmt.Sprintf("d%06d", i), No: uint32(i + 1), Cohort: "measured", Serial: "01", SPKI: make([]byte, 32)})
	}
	log := registryLog{at: w.begin}
	for _, b := range bodies {
		r := log.add(b)
		for p, c := range w.census {
			changes, err := c.Apply(r)
			if err != nil {
				panic(err) // the log is of our own making
			}
			for _, ch := range changes {
				if ch.Kind == census.Joined {
					w.shards[p].Join(ch.Device, ch.At)
					w.shard, w.at = append(w.shard, p), append(w.at, ch.Device)
				}
			}
		}
	}
	n := w.cell.Devices
	w.phase, w.next, w.bad, w.dies = make([]int64, n), make([]int64, n), make([]bool, n), make([]int64, n)
	for i := range n {
		w.phase[i] = w.r.Int64N(w.cell.Interval)
		w.next[i] = w.begin + w.phase[i]
		w.dies[i] = math.MaxInt64
	}
}

// silence chooses whom it befalls, and when, for 48 intervals, or as long as a drain takes.
func (w *world) silence() {
	i := w.cell.Interval
	w.from = w.begin + w.cell.After*i + w.r.Int64N(100*i)
	w.until = w.from + 48*i
	if w.cell.Drain > 0 {
		w.until = w.from + 600*i
	}
	all := w.r.Perm(w.cell.Devices)
	for k, d := range all {
		switch {
		case w.cell.Drain > 0:
			w.dies[d] = w.from + int64(float64(k+1)/float64(len(all))/w.cell.Drain*hourMS)
		case k < int(math.Round(w.cell.Silent*float64(len(all)))):
			w.dies[d] = w.from
		}
	}
}

// run plays until an instant.
func (w *world) run(until int64) {
	sub, whole := Grid(w.cell.Interval)
	for w.now < until {
		w.now += sub
		if w.stalls == 0 && !w.cell.Calm && w.r.Float64() < float64(sub)/weekMS {
			w.stallFrom, w.stalls = w.now-sub, w.now-sub+tenMin
		}
		for i := range w.next {
			for w.next[i] <= w.now {
				w.send(i)
			}
		}
		var outages []page.Outage
		if w.stalls != 0 {
			o := page.Outage{All: true, From: w.stallFrom, Until: w.stalls}
			if o.Until > w.now {
				o.Until = 0
			} else {
				w.stalls = 0
			}
			outages = append(outages, o)
		}
		var slots []page.Slot
		for _, d := range w.shards {
			for _, o := range outages {
				d.Outage(o)
			}
			slots = append(slots, d.Cut(w.now)...)
		}
		w.judge(w.cohorts.Cut(w.now, slots, outages), w.now%whole == 0)
	}
}

// judge counts what a book makes of it.
func (w *world) judge(signals []incident.Signal, whole bool) {
	if len(signals) == 0 && (!whole || w.book.Open() == 0) {
		return
	}
	for _, i := range append(w.book.Take(w.now, signals), w.book.Tick(w.now, false)...) {
		if i.Kind == event.SilentCohort && i.Type() == event.TypeIncidentOpened {
			w.opened = append(w.opened, i.At)
		}
	}
}

// send is what becomes of a device's next message.
func (w *world) send(i int) {
	at, every, c := w.next[i], w.cell.Interval, &w.cell
	base := (at-w.phase[i]+every/2)/every*every + w.phase[i]
	w.next[i] = max(at+1, base+every+int64(.02*float64(every)*w.r.NormFloat64()))
	if c.Burst > 1 {
		if w.bad[i] {
			w.bad[i] = w.r.Float64() >= 1/c.Burst
		} else {
			w.bad[i] = w.r.Float64() < c.Loss/(1-c.Loss)/c.Burst
		}
	} else {
		w.bad[i] = w.r.Float64() < c.Loss
	}
	rebooting := !c.Calm && w.r.Float64() < float64(every)/(4*weekMS)
	stalled := w.stalls != 0 && at >= w.stallFrom && at < w.stalls
	if w.bad[i] || rebooting || stalled || at >= w.dies[i] && at < w.until {
		return
	}
	w.shards[w.shard[i]].Heard(w.at[i], at)
}

// registryLog chains events as the registry does.
type registryLog struct {
	at, offset int64
	n          uint64
	prev       [32]byte
}

func (l *registryLog) add(body event.Body) census.Record {
	l.n++
	e := event.Registry{N: l.n, Prev: l.prev, Time: l.at, Who: "measure", Body: body}
	value, headers, err := e.Encode()
	if err != nil {
		panic(err) // the same
	}
	l.prev = event.Chain(value)
	l.offset++
	return census.Record{Offset: l.offset - 1, Time: l.at, Headers: headers, Value: value}
}
