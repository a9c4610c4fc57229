package update

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
)

const (
	maxStrata = 1_000 // of a rollout in a shard that have their own name,
	buckets   = 256   // and as many as all others are dealt to, by the hash of their names

	before = 24 * hour // what was heard earlier than that before a rollout is taken as heard then

	maxArms = 2_000 // that are told at once: a page has room for them, whatever they are called
	minute  = 60_000
)

// Arms is a shard's part.
type Arms struct {
	census   *census.State
	set      Settings
	last     LastHeard
	most     int      // arms that are told at once
	rollouts []*watch // in order of name
	in       []uint8  // of each device of the census: how many rollouts it is in
	outages  []page.Outage
	late     uint64 // of what changed nothing: it came after its tick,
	early    uint64 // a control failed in the tick in which it was first heard,
	refused  uint64 // the rollout is one too many, or not known
}

// watch is a rollout as a shard sees it.
type watch struct {
	started event.RolloutStarted
	zero    int64 // ms; what a unit remembers counts from here
	stage   uint8 // that is on; 0: none is yet
	begun   int64
	closed  int64  // end of the last tick that was closed
	units   []unit // in order of the census
	strata  []string
	place   map[string]uint16
	told    []sums  // of each stratum
	exposed []int64 // of each stratum, so far
	now     []sums  // room
	failed  []failure
	stirred bool                        // a unit is fresh or falling
	dealt   [event.MaxStages + 1]uint32 // devices of each stage, of all shards
	health  health
}

// LastHeard says when a device was heard last, if it ever was.
type LastHeard func(device int32) (at int64, ok bool)

// Remember gives Arms a memory of what was heard before a rollout. Without one, a device of a rollout that has just begun may
// have been silent for long: it is at risk when it is heard.
func (a *Arms) Remember(last LastHeard) { a.last = last }

// unit is a device of a rollout. Times are whole seconds since the rollout's zero.
type unit struct {
	device  int32
	heard   uint32
	entered uint32 // 1 + when it came to be at risk, begun or not treated, in the stage that is on; 0: it is not
	boots   [2]uint16
	stratum uint16
	flags   flags
	stage   uint8
	errs    uint8 // reported by its operating system in this hour
	usual   uint8 // the most in an hour before it came to be at risk
	age     uint8 // ticks since it said that the update is done, while it ran the old firmware
}

type flags uint16

const (
	updated   flags = 1 << iota // it has begun the update, or runs the new firmware
	fresh                       // it came to be at risk in the tick that is open
	failed                      // in the stage that is on,
	falling                     // and in the tick that is open
	gone                        // it left: revoked, held off, moved away, updated to something else
	saidOK                      // that the update is done
	runsNew                     // it was seen with the new firmware
	bad                         // the update failed or was rolled back
	paper                       // done, as it said, and not in truth
	postponed                   // the update, by the device

	// The same, of the draw: whoever was heard of when the stage began, or has been since, is at risk as the arm that it was
	// drawn for, whatever became of the update.
	drawn
	drawnFresh
	drawnFailed
	drawnFalling
)

type failure struct {
	device  int32
	since   int64
	kind    kind
	counted bool // of those that began, and the control
	drawn   bool // of the draw
}

type kind uint8

const (
	crash kind = iota
	bootLoop
	silence
	osErrors
)

var kinds = [...]string{"crash", "boot-loop", "silence", "os-errors"}

// sums are what is told of a stratum.
type sums struct {
	riskT, riskC                                 uint32
	drawnT, drawnC                               uint32
	exposure                                     int64
	ok, bad, paper, postponed, assigned, entered uint32
	soaked                                       int64
}

// NewArms follows no rollout yet. It only reads the census.
func NewArms(c *census.State, s Settings) *Arms { return &Arms{census: c, set: s, most: maxArms} }

// Registry takes an event of a rollout. Others say nothing here.
func (a *Arms) Registry(at int64, body event.Body) {
	switch b := body.(type) {
	case event.RolloutStarted:
		a.start(at, b)
	case event.RolloutAssigned:
		if w := a.find(b.Rollout); w != nil {
			a.assign(w, b)
		}
	case event.RolloutStageStarted:
		if w := a.find(b.Rollout); w != nil && b.Stage > w.stage && int(b.Stage) <= len(w.started.Stages) {
			a.begin(w, at, b.Stage)
		}
	case event.RolloutChanged:
		switch b.State {
		case event.RolloutAborted, event.RolloutRollingBack, event.RolloutRolledBack, event.RolloutDone:
			a.end(b.Rollout)
		}
	}
}

func byName(w *watch, name string) int { return strings.Compare(w.started.Rollout, name) }

func (a *Arms) find(name string) *watch {
	if i, ok := slices.BinarySearchFunc(a.rollouts, name, byName); ok {
		return a.rollouts[i]
	}
	return nil
}

func (a *Arms) start(at int64, b event.RolloutStarted) {
	i, ok := slices.BinarySearchFunc(a.rollouts, b.Rollout, byName)
	if ok || len(a.rollouts) >= a.set.Rollouts {
		a.refused++
		return
	}
	w := &watch{started: b, zero: at - before, closed: at - at%b.Design.TickMS, place: map[string]uint16{}}
	a.rollouts = slices.Insert(a.rollouts, i, w)
}

func (a *Arms) end(name string) {
	i, ok := slices.BinarySearchFunc(a.rollouts, name, byName)
	if !ok {
		return
	}
	for _, u := range a.rollouts[i].units {
		a.in[u.device]--
	}
	a.rollouts = slices.Delete(a.rollouts, i, i+1)
}

// assign takes the shard's own of the devices. Whoever has a stage keeps it.
func (a *Arms) assign(w *watch, b event.RolloutAssigned) {
	a.in = append(a.in, make([]uint8, max(0, a.census.Len()-len(a.in)))...)
	w.dealt[b.Stage] += uint32(len(b.Devices))
	known := len(w.units)
	for _, no := range b.Devices {
		i, ok := a.census.LookupNo(no)
		if !ok || a.in[i] == 255 {
			continue
		}
		if _, twice := w.find(i, known); twice {
			continue
		}
		u := unit{device: i, stage: b.Stage, stratum: w.stratum(a.census.Device(i).Stratum)}
		if a.last != nil {
			if at, ok := a.last(i); ok {
				u.heard = w.seconds(at)
			}
		}
		w.units = append(w.units, u)
		a.in[i]++
	}
	if len(w.units) == known {
		return
	}
	slices.SortFunc(w.units, func(x, y unit) int { return cmp.Compare(x.device, y.device) })
}

// stratum finds a stratum's place. When there are too many names, the rest shares places by hash: any division of the
// devices that was fixed before the update is valid.
func (w *watch) stratum(name string) uint16 {
	if i, ok := w.place[name]; ok {
		return i
	}
	if len(w.strata) >= maxStrata {
		h := fnv.New32a()
		_, _ = h.Write([]byte(name)) // never fails
		name = "#" + strconv.Itoa(int(h.Sum32()%buckets))
		if i, ok := w.place[name]; ok {
			return i
		}
	}
	i := uint16(len(w.strata))
	w.strata, w.told, w.exposed = append(w.strata, name), append(w.told, sums{}), append(w.exposed, 0)
	w.place[name] = i
	return i
}

// find gives the place of a device among the first n units.
func (w *watch) find(device int32, n int) (int, bool) {
	return slices.BinarySearchFunc(w.units[:n], device, func(u unit, d int32) int { return cmp.Compare(u.device, d) })
}

// begin opens a stage: who is at risk is found anew. By the draw that is everybody who is not silent, in both arms: who goes
// silent from here on is missed, even if it never says another word.
func (a *Arms) begin(w *watch, at int64, stage uint8) {
	w.stage, w.begun, w.failed = stage, at, nil
	clear(w.told)
	clear(w.exposed)
	for i := range w.units {
		u := &w.units[i]
		u.entered, u.boots = 0, [2]uint16{}
		u.flags &^= fresh | failed | falling | drawn | drawnFresh | drawnFailed | drawnFalling
		u.usual = max(u.usual, u.errs)
		if u.heard != 0 && u.flags&gone == 0 && !a.hushed(w, u, at) {
			w.draw(u)
		}
	}
	w.health = a.watched(w)
}

// draw puts a unit at risk as the draw has it, from the next tick on.
func (w *watch) draw(u *unit) {
	u.flags |= drawn | drawnFresh
	w.stirred = true
}

// treated says whether a unit is offered the firmware in the stage that is on, or was before.
func (w *watch) treated(u *unit) bool { return u.stage != 0 && u.stage <= w.stage }

// Join says that a device counts from now on. In a rollout that it left it stays away.
func (a *Arms) Join(int32, int64) {}

// Leave says that a device counts no longer: it is watched no further, in either arm.
func (a *Arms) Leave(i int32, _ int64) {
	a.each(i, func(w *watch, u *unit, _ int) { u.flags |= gone })
}

// Move says that a device is in another cohort.
func (a *Arms) Move(i, _, is int32, _ int64) {
	name := a.census.Cohort(is).Name
	a.each(i, func(w *watch, u *unit, _ int) {
		if w.started.Cohort != name {
			u.flags |= gone
		}
	})
}

// each calls do for each rollout that a device is in and has not left.
func (a *Arms) each(i int32, do func(w *watch, u *unit, at int)) {
	if int(i) >= len(a.in) || a.in[i] == 0 {
		return
	}
	for _, w := range a.rollouts {
		if at, ok := w.find(i, len(w.units)); ok && w.units[at].flags&gone == 0 {
			do(w, &w.units[at], at)
		}
	}
}
