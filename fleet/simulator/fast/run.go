package fast

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/eventlog"
)

// Settings is what code passes to Run.
type Settings struct {
	World      *world.World
	Log        eventlog.Config
	Partitions int32         // of what is keyed by device; 0 is 4
	Workers    int           // 0 is one for each processor
	Beat       time.Duration // between two watermarks of a gateway, of simulated time; 0 is a minute
	Losses     bool          // remember when lost messages were made, 4 bytes each, and how clocks went
	// Ready is called when the topics are there, before anything is written. Nil is nothing.
	Ready func() error
	// Progress is called after each slot. Nil is nothing.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	At      time.Time // of the simulation
	Done    float64   // of its length
	Records int64
}

// Result is what a run did.
type Result struct {
	Told    []report.Told // by device
	Numbers []uint32      // in the registry, by device
	Days    []truth.Count // by cohort, then by day
	Lines   []truth.Line  // that the world and the lives said
	Records int64         // on the topics of telemetry and events
	Sums    [][32]byte    // of each partition of telemetry, then of events
}

// Sum is over all partitions' sums: the same scenario, seed and beat give the same.
func (r Result) Sum() string {
	h := sha256.New()
	for _, s := range r.Sums {
		h.Write(s[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// slotRecords is about how many records a slot has: enough for large batches, few enough for memory.
const slotRecords = 1 << 16

const maxSlot = 4 * time.Hour

type run struct {
	Settings
	client  *kgo.Client
	fleet   *fleet
	chain   *chain
	devices []plan.Device
	outages []plan.Outage
	lots    []*lot
	slots   [2]*slot

	told     []report.Told
	length   int      // days
	accepted []uint64 // by region
	refused  []uint64
	records  atomic.Int64
	sums     [2][]*sum // by stream, then by partition
}

// Run plays the world onto the log. It ends early with ctx, and then the log holds the beginning.
func Run(ctx context.Context, s Settings) (Result, error) {
	if s.Partitions == 0 {
		s.Partitions = 4
	}
	if s.Workers == 0 {
		s.Workers = runtime.GOMAXPROCS(0)
	}
	if s.Beat == 0 {
		s.Beat = time.Minute
	}
	client, ids, err := openLog(ctx, s.Log, s.Partitions)
	if err != nil {
		return Result{}, err
	}
	defer client.Close()
	fleet, err := newFleet(s.World, s.Partitions, ids)
	if err != nil {
		return Result{}, err
	}
	r := &run{Settings: s, client: client, fleet: fleet, chain: newChain(), devices: s.World.Devices(), outages: s.World.Outages()}
	r.prepare()
	if s.Ready != nil {
		if err := s.Ready(); err != nil {
			return Result{}, err
		}
	}
	if err := r.play(ctx); err != nil {
		return Result{}, err
	}
	return r.result(), nil
}

func (r *run) prepare() {
	w := r.World
	r.told = make([]report.Told, len(r.devices))
	r.length = w.Day(w.Until()-1) + 1
	r.accepted, r.refused = make([]uint64, len(r.fleet.regions)), make([]uint64, len(r.fleet.regions))
	open := make([]*lot, r.Partitions)
	for i := range r.devices {
		p := r.fleet.members[i].partition
		if open[p] == nil || len(open[p].members) == lotSize {
			open[p] = &lot{partition: p}
			r.lots = append(r.lots, open[p])
		}
		open[p].members = append(open[p].members, i)
		open[p].lives = append(open[p].lives, w.Life(i))
		open[p].turns = append(open[p].turns, turns{})
	}
	for i := range r.slots {
		r.slots[i] = &slot{harvests: make([]harvest, len(r.lots)), pages: make([]page, r.Partitions)}
	}
	for stream := range r.sums {
		for range r.Partitions {
			r.sums[stream] = append(r.sums[stream], newSum())
		}
	}
}

// stretch is the length of a slot in ms: whole beats.
func (r *run) stretch() int64 {
	s := r.World.Scenario()
	perSecond := float64(len(r.fleet.regions)) * float64(2*r.Partitions) / r.Beat.Seconds()
	for i := range s.Cohorts {
		perSecond += float64(s.Cohorts[i].Devices) / s.Cohorts[i].Interval.Seconds()
	}
	beats := max(1, int64(slotRecords/perSecond/r.Beat.Seconds()))
	return min(beats, max(1, int64(maxSlot/r.Beat))) * r.Beat.Milliseconds()
}

func (r *run) play(ctx context.Context) error {
	beat, stretch := r.Beat.Milliseconds(), r.stretch()
	begins, until := r.World.Begins(), r.World.Until()
	n := 0
	for at := begins; at < until; at += stretch {
		s := r.slots[n%2]
		n++
		if err := s.settled(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(context.Cause(ctx), r.drain())
		}
		s.reset(at, min(at+stretch, until), beat)
		if err := r.speak(ctx, s.until); err != nil {
			return err
		}
		r.side(len(r.lots), func(i int) { r.work(r.lots[i], s, &s.harvests[i]) })
		marks, err := r.marks(s)
		if err != nil {
			return err
		}
		r.side(int(r.Partitions), func(p int) { r.write(ctx, s, marks, int32(p)) })
		if r.Progress != nil {
			r.Progress(Progress{At: time.UnixMilli(s.until).UTC(), Done: float64(s.until-begins) / float64(until-begins), Records: r.records.Load()})
		}
	}
	return r.drain()
}

// drain waits until the log has everything.
func (r *run) drain() error { return errors.Join(r.slots[0].settled(), r.slots[1].settled()) }

// side does n things side by side.
func (r *run) side(n int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(r.Workers, n) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < n; i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	wg.Wait()
}

// speak writes what the registry says before an instant, and waits for it: who reads a message finds its device.
func (r *run) speak(ctx context.Context, until int64) error {
	for len(r.fleet.due) > 0 && r.fleet.due[0].at < until {
		c := r.fleet.due[0]
		r.fleet.due = r.fleet.due[1:]
		if err := r.chain.say(c.at, c.why, c.body); err != nil {
			return err
		}
	}
	if out := r.chain.take(); len(out) > 0 {
		if err := r.client.ProduceSync(ctx, out...).FirstErr(); err != nil {
			return fmt.Errorf("writing the registry's log: %w", err)
		}
	}
	return nil
}

// lost remembers when a message was made that will not arrive.
func (r *run) lost(device int, made int64) {
	if r.Losses {
		r.told[device].LostAt = append(r.told[device].LostAt, uint32((made-r.World.Begins())/1000))
	}
}

// held remembers when a message was made that will arrive after the end.
func (r *run) held(device int, made int64) {
	if r.Losses {
		r.told[device].HeldAt = append(r.told[device].HeldAt, uint32((made-r.World.Begins())/1000))
	}
}

func (r *run) result() Result {
	out := Result{Told: r.told, Records: r.records.Load(), Lines: r.World.Truth()}
	cohorts := len(r.World.Scenario().Cohorts)
	for i := range r.told {
		slices.Sort(r.told[i].LostAt) // a store gives up its oldest long after newer ones were lost
	}
	for i := range r.fleet.members {
		out.Numbers = append(out.Numbers, r.fleet.members[i].no)
	}
	out.Days = make([]truth.Count, cohorts*r.length)
	for _, l := range r.lots {
		out.Lines = append(out.Lines, l.lines...)
		for i := range l.days {
			out.Days[i].Add(l.days[i])
		}
	}
	for c := range cohorts {
		for d := range r.length {
			out.Lines = append(out.Lines, expected(r.World, c, d, out.Days[c*r.length+d]))
		}
	}
	for stream := range r.sums {
		for _, x := range r.sums[stream] {
			out.Sums = append(out.Sums, [32]byte(x.hash.Sum(nil)))
		}
	}
	return out
}

// expected is the line of truth about a cohort's day.
func expected(w *world.World, cohort, day int, c truth.Count) truth.Line {
	at := w.Begins() + int64(day)*(24*time.Hour).Milliseconds()
	return truth.Line{
		At: truth.Time(at), Until: truth.Time(min(at+(24*time.Hour).Milliseconds(), w.Until())), Kind: truth.Expected,
		Cohort: w.Scenario().Cohorts[cohort].Name, Detail: c.Detail(),
	}
}

func (l *lot) count(r *run, cohort int, h *world.Happening) {
	if l.days == nil {
		l.days = make([]truth.Count, len(r.World.Scenario().Cohorts)*r.length)
	}
	l.days[cohort*r.length+min(h.Day, r.length-1)].Add(h.Count)
}
