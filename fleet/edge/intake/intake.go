package intake

import (
	"errors"
	"sync"
	"time"

	"muster.dev/fleet/edge/parcel"
	"muster.dev/fleet/edge/rule"
	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
)

// ErrTooLarge is the Keep's word for a value that it can never hold; any other error of it means that the disk is full or
// broken, and that the same may be tried again.
var ErrTooLarge = errors.New("larger than what is kept of one message")

// Settings are what code passes.
type Settings struct {
	// Keep puts one parcel where it survives a power cut, and returns when it does. It is called by several goroutines.
	Keep func(value []byte) error
	// Refused says why upstream does not take a device's messages, empty when it does or nobody knows.
	Refused func(identity.Device) string
	// Boot is the edge's run: no earlier run had it. First is where the counts begin.
	Boot  uint32
	First uint64
	Now   func() time.Time
	// Answered hears of each verdict, Dropped of the readings that a rule dropped.
	Answered func(parcel.Stream, Outcome)
	Dropped  func(readings int)
}

// Intake is the only Taker. Close it when its sources have ended.
type Intake struct {
	cfg Config
	s   Settings

	mu      sync.Mutex // over all below
	rules   rule.Chain
	devices map[identity.Device]*device
	queued  int64 // bytes that wait for the disk
	closing bool
	busy    sync.WaitGroup // the devices' workers
}

// device is what is remembered of one. It has a worker while something of it waits.
type device struct {
	id      identity.Device
	next    [parcel.Streams]uint64
	allowed float64 // messages that it may send now
	asked   time.Time

	queue     []job
	gathering *gathering
	due       time.Time // of gathering
	working   bool
	wake      chan struct{} // capacity 1: what the worker waits for may have changed
}

// job is one parcel to keep, and who waits for it.
type job struct {
	parcel parcel.Parcel
	done   []func(Verdict)
	bytes  int64
}

// New makes an intake.
func New(cfg Config, s Settings) *Intake {
	return &Intake{cfg: cfg, s: s, rules: rule.New(cfg.Rules, 64*cfg.Devices), devices: map[identity.Device]*device{}}
}

// Close keeps what is gathered, and returns when everything was answered. What is taken meanwhile is answered by Closing.
func (in *Intake) Close() {
	in.mu.Lock()
	in.closing = true
	for _, d := range in.devices {
		d.nudge()
	}
	in.mu.Unlock()
	in.busy.Wait()
}

// Devices is how many devices were heard since the start.
func (in *Intake) Devices() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.devices)
}

// Take is Taker's.
func (in *Intake) Take(m Message, done func(Verdict)) {
	answer := func(v Verdict) {
		in.s.Answered(m.Stream, v.Outcome)
		done(v)
	}
	if why := in.s.Refused(m.Device); why != "" {
		answer(Verdict{NotAllowed, why})
		return
	}
	if len(m.Body) > in.cfg.Body {
		answer(Verdict{TooLarge, "the message is larger than the edge takes: send several"})
		return
	}
	now := in.s.Now()
	if v, ok := in.enter(m.Device, now); !ok {
		answer(v)
		return
	}
	what, err := read(&m, now.UnixMilli())
	if err != nil {
		answer(refusal(err))
		return
	}
	if v, kept := in.put(&m, what, now, answer); !kept {
		answer(v)
	}
}

// enter finds out whether a device may send now.
func (in *Intake) enter(id identity.Device, now time.Time) (Verdict, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closing {
		return Verdict{Closing, "the edge is stopping"}, false
	}
	d := in.devices[id]
	if d == nil {
		if len(in.devices) >= in.cfg.Devices {
			return Verdict{TooMuch, "the edge speaks for as many devices as it is configured for"}, false
		}
		d = &device{id: id, allowed: in.cfg.Burst, asked: now, wake: make(chan struct{}, 1)}
		for i := range d.next {
			d.next[i] = in.s.First
		}
		in.devices[id] = d
	}
	d.allowed = min(in.cfg.Burst, d.allowed+max(0, now.Sub(d.asked).Seconds())*in.cfg.Messages)
	d.asked = now
	if d.allowed < 1 {
		return Verdict{TooMuch, "the device sends more messages than the edge takes of one: send fewer, with more readings"}, false
	}
	d.allowed--
	return Verdict{}, true
}

var (
	stored   = Verdict{Outcome: Stored}
	behind   = Verdict{TooMuch, "the edge's disk is behind: send it again"}
	renamed  = Verdict{Unprocessable, "by the edge's rules two of its readings of one time have one name"}
	stopping = Verdict{Closing, "the edge is stopping"}
)

// put gives the message to its device's worker; kept is false when it says at once what becomes of it.
func (in *Intake) put(m *Message, what said, now time.Time, done func(Verdict)) (v Verdict, kept bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	size := int64(len(m.Body))
	switch {
	case in.closing:
		return stopping, false
	case in.queued+size > in.cfg.Queue:
		return behind, false
	}
	d := in.devices[m.Device]
	p := parcel.Parcel{Device: m.Device, Stream: m.Stream, At: now.UnixMilli()}
	var err error
	switch {
	case what.keyed:
		p.Form, p.Body = what.form, m.Body
	case what.events != nil:
		what.events.Keyed, what.events.Boot, what.events.Seq = true, in.s.Boot, d.count(m.Stream)
		p.Form = parcel.MsgPack
		p.Body, err = what.events.AppendTo(nil)
	case what.odd != nil:
		p.Form = parcel.Compact
		p.Body, err = addKey(what.odd, in.s.Boot, d.count(m.Stream))
	default:
		return in.gather(d, what, now, size, done)
	}
	if err != nil {
		return refusal(err), false
	}
	in.closeWindow(d)
	in.enqueue(d, job{p, []func(Verdict){done}, size})
	return Verdict{}, true
}

func (d *device) count(s parcel.Stream) uint64 {
	n := d.next[s]
	d.next[s]++
	return n
}

// gather lets readings join those of the device's window.
func (in *Intake) gather(d *device, what said, now time.Time, size int64, done func(Verdict)) (Verdict, bool) {
	// A reading takes more here than in its message, where it may be a byte. One message alone has always room.
	if size = max(size, int64(len(what.readings))*bytesOfReading); in.queued > 0 && in.queued+size > in.cfg.Queue {
		return behind, false
	}
	readings := what.readings[:0]
	seen := map[place]bool{}
	for _, r := range what.readings {
		r.Device = string(d.id)
		if !in.rules.Apply(&r) {
			continue
		}
		if at := (place{r.At, r.Metric}); len(in.rules) > 0 {
			if seen[at] {
				return renamed, false
			}
			seen[at] = true
		}
		readings = append(readings, r)
	}
	if n := len(what.readings) - len(readings); n > 0 {
		in.s.Dropped(n)
	}
	if len(readings) == 0 {
		return stored, false
	}
	if d.gathering != nil && !d.gathering.fits(what.firmware, readings) {
		in.closeWindow(d)
	}
	if d.gathering == nil {
		d.gathering, d.due = newGathering(what.firmware), now.Add(in.cfg.Window)
	}
	d.gathering.add(readings, done, size)
	in.queued += size
	if in.cfg.Window == 0 || len(d.gathering.readings) >= gatherValues {
		in.closeWindow(d)
	}
	in.work(d)
	return Verdict{}, true
}

// closeWindow makes a job of what a device's window gathered, if anything.
func (in *Intake) closeWindow(d *device) {
	g := d.gathering
	if g == nil {
		return
	}
	d.gathering = nil
	in.queued -= g.bytes
	body, err := g.encode(in.s.Boot, d.count(parcel.Telemetry))
	if err != nil {
		v := refusal(err)
		for _, done := range g.done {
			done(v)
		}
		return
	}
	p := parcel.Parcel{Device: d.id, Stream: parcel.Telemetry, Form: parcel.Compact, At: in.s.Now().UnixMilli(), Body: body}
	in.enqueue(d, job{p, g.done, int64(len(body))})
}

func (in *Intake) enqueue(d *device, j job) {
	d.queue = append(d.queue, j)
	in.queued += j.bytes
	in.work(d)
}

// work makes sure that the device has a worker, and that it looks.
func (in *Intake) work(d *device) {
	if d.working {
		d.nudge()
		return
	}
	d.working = true
	in.busy.Go(func() { in.serve(d) })
}

func (d *device) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// serve keeps what waits of a device, one after another, and ends when nothing does.
func (in *Intake) serve(d *device) {
	for {
		j, wait, ok := in.next(d)
		if !ok {
			return
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-d.wake:
			}
			timer.Stop()
			continue
		}
		v := in.keep(j.parcel)
		in.mu.Lock()
		in.queued -= j.bytes
		in.mu.Unlock()
		for _, done := range j.done {
			done(v)
		}
	}
}

// next takes the device's first job, or says how long until there is one; ok is false when the worker may end.
func (in *Intake) next(d *device) (j job, wait time.Duration, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(d.queue) == 0 && d.gathering != nil {
		if wait = d.due.Sub(in.s.Now()); wait > 0 && !in.closing {
			return j, wait, true
		}
		in.closeWindow(d)
	}
	if len(d.queue) == 0 {
		d.queue, d.working = nil, false
		return j, 0, false
	}
	j = d.queue[0]
	d.queue[0] = job{}
	d.queue = d.queue[1:]
	return j, 0, true
}

func (in *Intake) keep(p parcel.Parcel) Verdict {
	switch err := in.s.Keep(p.Append(make([]byte, 0, len(p.Body)+80))); {
	case err == nil:
		return stored
	case errors.Is(err, ErrTooLarge):
		return Verdict{Unkept, "the message is larger than the edge keeps: send several"}
	default:
		return Verdict{DiskFull, "the edge cannot keep it: " + err.Error()}
	}
}

var _ Taker = (*Intake)(nil)

// MaxSeq bounds Settings.First: a run has room to count.
const MaxSeq = batch.MaxSeq / 2
