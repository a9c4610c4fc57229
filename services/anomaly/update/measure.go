package update

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
)

// Cell is a kind of rollout whose truth is known.
type Cell struct {
	Name     string
	Treated  int
	Controls int     // a treated device
	Sites    int     // that the devices are dealt to
	BySite   bool    // a site is in one arm
	Base     float64 // chance of a failure a device-day
	Outages  float64 // part of it that is outages of whole sites
	Extra    float64 // part of the treated that fails because of the update, after an hour in the mean
	Bricks   float64 // part of the treated that goes dark at the download, before it says that it begins
	Times    float64 // what the update multiplies the base by; 0 is 1
	Shards   int     // 0 is one
}

// Cells are those that are reported.
func Cells() []Cell {
	var out []Cell
	add := func(name string, c Cell) {
		c.Name, c.Treated, c.Shards = name, cmp.Or(c.Treated, 50), cmp.Or(c.Shards, 1)
		out = append(out, c)
	}
	for _, controls := range []int{4, 10} {
		for _, base := range []float64{.001, .01} {
			of := fmt.Sprintf("%d controls, base %g %%/day", controls, 100*base)
			add("no effect, "+of, Cell{Controls: controls, Base: base, Sites: 10})
			add("no effect, half of it by site, "+of, Cell{Controls: controls, Base: base, Sites: 10, Outages: .5})
			add("+20 points, "+of, Cell{Controls: controls, Base: base, Sites: 10, Extra: .2})
			add("+20 points, half of the base by site, "+of, Cell{Controls: controls, Base: base, Sites: 10, Outages: .5, Extra: .2})
		}
	}
	for _, controls := range []int{4, 10} {
		for _, base := range []float64{.001, .01} {
			add(fmt.Sprintf("dead at the download, 20 points, %d controls, base %g %%/day", controls, 100*base), Cell{Controls: controls, Base: base, Sites: 10, Bricks: .2})
		}
	}
	add("no effect, whole sites treated, half of it by site, 3 controls, base 5 %/day", Cell{Treated: 200, Controls: 3, Base: .05, Sites: 40, BySite: true, Outages: .5})
	add("five times, 4 controls, base 5 %/day", Cell{Controls: 4, Base: .05, Sites: 10, Times: 5})
	add("no effect, 4 controls, base 5 %/day", Cell{Treated: 200, Controls: 4, Base: .05, Sites: 10})
	return out
}

// Result is what became of many runs of a cell.
type Result struct {
	Cell     Cell
	Runs     int
	Failed   int // final verdicts
	Passed   int
	Exposure float64 // median device-minutes of treated devices until the fail
}

// String is a row of the table.
func (r Result) String() string {
	out := fmt.Sprintf("%-76s %6d runs  fail %6.2f %%  pass %6.2f %%", r.Cell.Name, r.Runs, 100*float64(r.Failed)/float64(r.Runs), 100*float64(r.Passed)/float64(r.Runs))
	if r.Failed > 0 {
		out += fmt.Sprintf("  after %.0f device-minutes", r.Exposure)
	}
	return out
}

const (
	lifetime = 72 * hour
	speaks   = 5 * 60_000 // devices' interval: a silence is recognised half an hour late
	rollsIn  = 6 * hour   // the treated are updated over so long
	siteOut  = 2 * hour
)

// Measure makes runs of a rollout device by device, and lets Rollouts judge what Arms would tell of them. Equal seeds give
// equal results.
func Measure(c Cell, runs int, seed uint64) Result {
	p, err := newPlay(c)
	if err != nil { // the registry's events are made here
		panic("update: " + err.Error())
	}
	out := Result{Cell: c, Runs: runs}
	var exposures []float64
	for i := range runs {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		switch v := p.quick(r); v.Verdict {
		case event.VerdictFail:
			out.Failed++
			exposures = append(exposures, float64(v.ExposureMS)/60_000)
		case event.VerdictPass:
			out.Passed++
		}
	}
	if len(exposures) > 0 {
		slices.Sort(exposures)
		out.Exposure = exposures[len(exposures)/2]
	}
	return out
}

// play is a cell's fleet: its census is the same in all runs.
type play struct {
	cell    Cell
	every   int64 // of so many readings one is told, if the next is heard too: no silence is seen otherwise
	shards  []*census.State
	of      []place // of each device
	treated []bool
	site    []int
	events  []event.Body // in which the rollout is told
	said    [][]said     // in each minute of a run
}

type place struct {
	shard, device int32
}

func newPlay(c Cell) (*play, error) {
	p := &play{cell: c, every: 5}
	for i := range max(c.Shards, 1) {
		p.shards = append(p.shards, census.New(int32(i), int32(max(c.Shards, 1))))
	}
	var prev [32]byte
	n := uint64(0)
	say := func(body event.Body) error {
		n++
		value, headers, err := event.Registry{N: n, Prev: prev, Body: body}.Encode()
		if err != nil {
			return fmt.Errorf("make a fleet: %w", err)
		}
		prev = event.Chain(value)
		for _, s := range p.shards {
			if _, err := s.Apply(census.Record{Offset: int64(n), Headers: headers, Value: value}); err != nil {
				return fmt.Errorf("make a fleet: %w", err)
			}
		}
		return nil
	}
	arms := [2]event.RolloutAssigned{{Rollout: "r", Stage: 0}, {Rollout: "r", Stage: 1}}
	for i := range c.Treated * (1 + c.Controls) {
		site := i % c.Sites
		treated := i/c.Sites%(1+c.Controls) == 0 // so many of each site
		if c.BySite {
			treated = site%(1+c.Controls) == 0
		}
		arm := 0
		if treated {
			arm = 1
		}
		no := uint32(i + 1)
		arms[arm].Devices = append(arms[arm].Devices, no)
		id := fmt.Sprintf("d%05d", i)
		if err := say(event.DeviceEnrolled{Device: id, No: no, Cohort: "c", Interval: speaks, Attributes: map[string]string{"site": fmt.Sprint(site)}}); err != nil {
			return nil, err
		}
		for k, s := range p.shards {
			if at, ok := s.Lookup([]byte(id)); ok {
				p.of = append(p.of, place{int32(k), at})
			}
		}
		p.treated, p.site = append(p.treated, treated), append(p.site, site)
	}
	p.events = []event.Body{
		event.RolloutStarted{Rollout: "r", Cohort: "c", Firmware: "2", From: "1", Stages: []event.RolloutStage{{SharePPM: 1, SoakMS: lifetime - rollsIn}}, BySite: c.BySite, Design: event.DefaultRolloutDesign()},
		arms[0], arms[1], event.RolloutStageStarted{Rollout: "r", Stage: 1},
	}
	return p, nil
}

// fate is what happens to a device in a run: it is heard each interval, but not while it is off.
type fate struct {
	phase        int64
	enters       int64
	off, back    int64 // it is off from off until back
	crashes      int64
	out, outBack int64 // its site is
}

func (p *play) fates(r *rand.Rand) []fate {
	c := p.cell
	never := int64(math.MaxInt64)
	after := func(mean float64) int64 { return int64(min(r.ExpFloat64()*mean, 1e15)) }
	const dayMS = 24 * float64(hour)
	sites := make([]int64, c.Sites)
	for i := range sites {
		sites[i] = never
		if c.Outages > 0 {
			sites[i] = after(dayMS / (c.Base * c.Outages))
		}
	}
	out := make([]fate, len(p.of))
	for i := range out {
		f := fate{phase: r.Int64N(speaks), enters: never, off: never, back: never, crashes: never, out: never}
		rate := c.Base * (1 - c.Outages)
		at := after(dayMS / rate)
		if p.treated[i] {
			f.enters = 60_000 + r.Int64N(rollsIn)
			if at > f.enters && c.Times > 0 {
				at = f.enters + after(dayMS/(rate*c.Times))
			}
			if r.Float64() < c.Extra {
				at = min(at, f.enters+after(float64(hour)))
			}
		}
		if c.Bricks > 0 && p.treated[i] && r.Float64() < c.Bricks {
			f.off, f.enters = min(at, f.enters), never
		} else if r.IntN(2) == 0 {
			f.off = at // half of what fails falls silent, for a while or for good
			if r.IntN(2) == 0 {
				f.back = at + 2*hour
			}
		} else {
			f.crashes = at
		}
		if s := sites[p.site[i]]; s != never {
			f.out, f.outBack = s, s+siteOut
		}
		out[i] = f
	}
	return out
}

// said is something that a device says.
type said struct {
	at     int64
	device int32
	what   uint8
}

const (
	reads uint8 = iota
	starts
	crashed
)

var (
	startedEvent = &event.Device{Type: event.OTA, Fields: map[string]any{"to": "2", "result": "started"}}
	crashEvent   = &event.Device{Type: event.Crash, Fields: map[string]any{"reason": "panic"}}
)

// run plays the cell once and gives the last word.
func (p *play) run(r *rand.Rand) event.Verdict {
	fates := p.fates(r)
	arms := make([]*Arms, len(p.shards))
	judge := NewRollouts(DefaultSettings())
	for i, s := range p.shards {
		arms[i] = NewArms(s, DefaultSettings())
	}
	for _, body := range p.events {
		for _, a := range arms {
			a.Registry(0, body)
		}
		judge.Registry(0, body)
	}
	p.speak(fates)
	var told []page.Arm
	for from := int64(0); from < lifetime; from += 60_000 {
		minute := p.said[from/60_000]
		slices.SortFunc(minute, func(a, b said) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.device, b.device), cmp.Compare(a.what, b.what))
		})
		for _, m := range minute {
			p.tell(arms, fates, m)
		}
		told = told[:0]
		for _, a := range arms {
			some, _ := a.Tick(from + 60_000)
			told = append(told, some...)
		}
		verdicts, _ := judge.Cut(from+60_000, told, nil)
		for _, v := range verdicts {
			if v.Final {
				return v
			}
		}
	}
	judge.Registry(lifetime, event.RolloutChanged{Rollout: "r", State: event.RolloutDone})
	verdicts, _ := judge.Cut(lifetime+60_000, nil, nil)
	for _, v := range verdicts {
		if v.Final {
			return v
		}
	}
	return event.Verdict{}
}

// speak writes down what devices say in each minute.
func (p *play) speak(fates []fate) {
	if p.said == nil {
		p.said = make([][]said, lifetime/60_000)
	}
	for i := range p.said {
		p.said[i] = p.said[i][:0]
	}
	say := func(i int, at int64, what uint8) {
		if at < lifetime {
			p.said[at/60_000] = append(p.said[at/60_000], said{at, int32(i), what})
		}
	}
	for i := range fates {
		f := &fates[i]
		hushed := func(at int64) bool { return at >= f.off && at < f.back || at >= f.out && at < f.outBack }
		for at := f.phase; at < lifetime; at += speaks {
			if !hushed(at) && ((at/speaks+int64(i))%p.every == 0 || at < speaks || hushed(at+speaks) || hushed(at-speaks)) {
				say(i, at, reads)
			}
		}
		if !hushed(f.enters) {
			say(i, f.enters, starts)
		}
		if !hushed(f.crashes) {
			say(i, f.crashes, crashed)
		}
	}
}

func (p *play) tell(arms []*Arms, fates []fate, m said) {
	of := p.of[m.device]
	a, firmware := arms[of.shard], "1"
	if m.at > fates[m.device].enters {
		firmware = "2"
	}
	a.Heard(of.device, m.at+1, []byte(firmware))
	switch m.what {
	case starts:
		a.Event(of.device, m.at+1, startedEvent, firmware)
	case crashed:
		a.Event(of.device, m.at+1, crashEvent, firmware)
	}
}
