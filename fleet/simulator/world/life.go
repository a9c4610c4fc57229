package world

import (
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/fate"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
)

// Life is one device's life, an iterator. It is for one goroutine at a time; different lives are independent.
//
// What the device makes is played in the order in which it is made. A device that keeps what it cannot send stands still
// meanwhile: its messages are made when they can be sent, with the times at which they were due. So a life needs no room
// for what is kept, however long an outage is.
type Life struct {
	w     *World
	c     *cohort
	no    int
	at    int64 // of what was given last
	over  bool
	fate  fate.Fate
	draw  chance.Dice
	radio radio
	ghost *ghost

	// What the device is, as far as it has been played.
	up           bool
	unsaid       bool // of boot: what there is to say is not said yet
	version      uint16
	traits       plan.Traits
	since        int64 // of the version
	boots        uint32
	booted       int64
	ended        int64 // the boot before
	seq, events  uint64
	level, perMS float64
	levelAt      int64
	skew, wrong  int64   // ms
	drift        float64 // ms a ms

	// What it makes next; Never is nothing.
	grid      int64 // where the next reading would be without jitter
	reading   int64
	part      int // of a reading that needs several messages
	parts     int
	count     int64
	interval  int64
	heartbeat int64
	trouble   int64 // os-error
	say       int64 // what there is to say after a boot
	boot      fate.Moment
	before    int64 // how long it was up before that

	effects []effect
	signals []signal
	pending []packet // on their way, in order of arrival
	tallies []tally
	made    tally // by the day on which a message was made
	got     tally // by the day on which one arrived
}

type packet struct {
	at int64
	Message
}

type tally struct {
	day int
	truth.Count
}

// Life begins the life of a device.
func (w *World) Life(i int) *Life {
	d := &w.Devices()[i]
	l := &Life{w: w, c: &w.cohorts[d.Cohort], no: i, at: d.Joins, draw: chance.Roll(w.Seed(), chance.ForSignals, i, 0)}
	l.interval = l.c.interval
	l.radio.Dice = chance.Roll(w.Seed(), chance.ForRadio, i, 0)
	l.fate = fate.New(w.Plan, i)
	l.made.day, l.got.day = w.Day(d.Joins), w.Day(d.Joins)
	l.reading, l.heartbeat, l.trouble, l.say = chance.Never, chance.Never, chance.Never, chance.Never
	l.enrolled(d)
	t := chance.Roll(w.Seed(), chance.ForTraits, i, 1)
	dumb := t.Chance(float64(l.c.NeverHeard)) // enrolled and never heard
	l.drift = float64(l.c.Clock.Drift) / 1e6 * t.Norm()
	if t.Chance(float64(l.c.Clock.Wrong.Share)) {
		l.wrong = l.c.Clock.Wrong.By.Milliseconds()
	}
	if dumb {
		l.fate.BeNeverHeard()
		return l
	}
	l.befallen()
	l.fate.Begin()
	l.version = l.c.version
	l.boots, l.booted = l.fate.Boot()
	l.traits = w.TraitsOf(i, l.version)
	l.since = d.Joins
	l.level, l.perMS = l.fate.Battery()
	l.levelAt = d.Joins
	l.skew = int64(float64(l.c.Clock.Skew.Milliseconds()) * l.draw.Norm())
	l.beginSignals()
	if l.wrong != 0 {
		l.fate.Tell(truth.Line{At: truth.Time(d.Joins), Until: truth.Time(l.fate.End()), Kind: truth.ClockWrong,
			Detail: map[string]any{"by_ms": l.wrong, "cause": "wrong"}})
	}
	if d.Joins == w.Begins() {
		l.up = true
		l.grid = d.Joins + l.draw.Between(0, l.c.interval)
		l.reading = l.grid
		l.steady(d.Joins)
	} else {
		l.boots, l.booted, l.ended = 0, d.Joins, d.Joins
	}
	return l
}

func (l *Life) enrolled(d *plan.Device) {
	detail := map[string]any{"region": l.c.Region, "site": d.Site + 1, "firmware": d.Firmware}
	if d.Replaces != "" {
		detail["replaces"] = d.Replaces
	}
	l.fate.Tell(truth.Line{At: truth.Time(d.Joins), Kind: truth.Enrolled, Detail: detail})
}

// Next gives what happens next, in order of At. It returns false when the life is over.
func (l *Life) Next(h *Happening) bool { return l.Before(chance.Never, h) }

// Before gives what happens next if it does before an instant. It returns false if nothing does.
func (l *Life) Before(limit int64, h *Happening) bool {
	for {
		if l.told(limit, h) {
			return true
		}
		if l.over {
			return false
		}
		at, next := l.soonest()
		if at >= l.w.Until() && l.fate.Horizon() != chance.Never {
			l.fate.Step() // what it has to say is said in any case
			continue
		}
		if at >= l.w.Until() {
			if limit < l.w.Until() {
				return false
			}
			l.end()
			continue
		}
		if at >= limit {
			return false
		}
		switch next {
		case arrives:
			l.arrive(h)
			return true
		case haunts:
			l.haunt(at)
		case fated:
			l.live()
		case fateless:
			l.fate.Step()
		default:
			if l.make(at, next, h) {
				return true
			}
		}
	}
}

// told gives what lies ready: facts and tallies. They come with the time at which the life stands.
func (l *Life) told(limit int64, h *Happening) bool {
	if l.at >= limit {
		return false
	}
	if line, ok := l.fate.Told(); ok {
		h.At, h.Device, h.Kind, h.Truth = l.at, l.no, Fact, line
		return true
	}
	if n := len(l.tallies); n > 0 {
		h.At, h.Device, h.Kind, h.Day, h.Count = l.at, l.no, Tally, l.tallies[0].day, l.tallies[0].Count
		copy(l.tallies, l.tallies[1:])
		l.tallies = l.tallies[:n-1]
		return true
	}
	return false
}

// what comes next in a life.
type doing uint8

const (
	arrives doing = iota
	haunts
	fated
	fateless
	reads
	beats
	errs
	says
)

// soonest gives what comes next and when it can: what a device makes waits until what was kept before is sent.
func (l *Life) soonest() (at int64, next doing) {
	at, next = l.reading, reads
	if l.heartbeat < at {
		at, next = l.heartbeat, beats
	}
	if l.trouble < at {
		at, next = l.trouble, errs
	}
	if l.say < at {
		at, next = l.say, says
	}
	if known := l.fate.Known(); len(known) > 0 && known[0].At <= at {
		at, next = known[0].At, fated
	}
	if at >= l.fate.End() {
		at = chance.Never
	}
	if l.fate.Horizon() != chance.Never && l.fate.Horizon() <= at {
		at, next = l.fate.Horizon(), fateless
	}
	if at < l.radio.free {
		at = l.radio.free
	}
	if l.ghost != nil && l.ghost.next < at {
		at, next = l.ghost.next, haunts
	}
	if len(l.pending) > 0 && l.pending[0].at <= at {
		at, next = l.pending[0].at, arrives
	}
	return at, next
}

// arrive gives the message that arrives next. Its bytes change places with those of the happening.
func (l *Life) arrive(h *Happening) {
	n := len(l.pending)
	p := l.pending[0]
	copy(l.pending, l.pending[1:])
	l.pending[n-1] = packet{Message: Message{Body: h.Message.Body[:0]}}
	l.pending = l.pending[:n-1]
	l.at = max(l.at, p.at)
	h.At, h.Device, h.Kind, h.Message = p.at, l.no, Deliver, p.Message
	if p.Stream != Telemetry {
		return
	}
	c := l.arrivedOn(p.at)
	switch {
	case p.Revoked:
		c.Refused++
	case p.Clone:
		c.Cloned++
	case p.Copy:
		c.Copies++
	default:
		c.Arrived++
		if p.Backlog {
			c.Late++
		}
		c.Values += int64(p.Values)
		c.Bytes += int64(len(p.Body))
	}
}

// slot gives a packet that is not on its way yet, with room for its bytes.
func (l *Life) slot() *packet {
	n := len(l.pending)
	if n == cap(l.pending) { // one more: most devices never need a third
		more := make([]packet, n, n+1+n/4)
		copy(more, l.pending)
		l.pending = more
	}
	return &l.pending[:n+1][n]
}

// dispatch puts the packet of slot on its way.
func (l *Life) dispatch() {
	n := len(l.pending)
	l.pending = l.pending[:n+1]
	for ; n > 0 && l.pending[n].at < l.pending[n-1].at; n-- {
		l.pending[n], l.pending[n-1] = l.pending[n-1], l.pending[n]
	}
}

// madeOn is the count of the day on which a message was made.
func (l *Life) madeOn(at int64) *truth.Count {
	if day := l.w.Day(at); day != l.made.day {
		if l.made.Count != (truth.Count{}) {
			l.tallies = append(l.tallies, l.made)
		}
		l.made = tally{day: day}
	}
	return &l.made.Count
}

// arrivedOn is the count of the day on which a message arrived. Each day's count says also what was due on it.
func (l *Life) arrivedOn(at int64) *truth.Count {
	for day := l.w.Day(at); day > l.got.day; {
		l.closeDay()
		l.got = tally{day: l.got.day + 1}
	}
	return &l.got.Count
}

func (l *Life) closeDay() {
	d := &l.w.Devices()[l.no]
	from, end := l.w.Begins()+int64(l.got.day)*chance.DayMS, min(d.Leaves, l.w.Until())
	l.got.Due = l.due(d.Joins, min(end, from+chance.DayMS)) - l.due(d.Joins, min(end, from))
	if l.got.Count != (truth.Count{}) {
		l.tallies = append(l.tallies, l.got)
	}
}

// due is the cohort's, with the times in which the device has another interval. Where such times overlap, it is about right.
func (l *Life) due(from, until int64) int64 {
	due := l.c.due(from, until)
	for i := range l.effects {
		e := &l.effects[i]
		if a, b := max(e.from, from), min(e.until, until); e.what == otherInterval && a < b {
			awake := b - a - l.c.asleep(a, b)
			due += l.c.messages * (awake/l.w.Scenario().Faults[e.fault].Interval.To.Milliseconds() - awake/l.c.interval)
		}
	}
	return due
}

// end says what there is left to say: the counts of the days.
func (l *Life) end() {
	l.over = true
	l.at = max(l.at, l.w.Until()-1)
	l.pending = nil
	if l.made.Count != (truth.Count{}) {
		l.tallies = append(l.tallies, l.made)
	}
	l.arrivedOn(l.w.Until() - 1)
	l.closeDay()
}
