package report

import (
	"cmp"
	"slices"
	"time"
)

// Report is what Make makes of the facts. Its JSON is what `muster simulate --json` prints.
type Report struct {
	Scenario string    `json:"scenario"`
	Seed     uint64    `json:"seed"`
	Mode     string    `json:"mode"` // fast or real-time
	Begins   time.Time `json:"begins"`
	Until    time.Time `json:"until"`
	Took     float64   `json:"took_s"`
	Settled  float64   `json:"settled_s"`
	Speed    float64   `json:"times_real_time"`
	Cohorts  []Line    `json:"cohorts"`
	Total    Line      `json:"total"`
	Disk     DiskLine  `json:"disk"`
	// NeverHeard names the devices of which nothing is stored.
	NeverHeard []string     `json:"never_heard,omitempty"`
	Quarantine []Quarantine `json:"quarantine,omitempty"`
	// RealLag is by a wall clock; absent where the records' times are simulated.
	RealLag *LagLine `json:"real_lag,omitempty"`
	Check   Check    `json:"check"`
}

// Line is a cohort's, or the whole fleet's.
type Line struct {
	Cohort      string    `json:"cohort"`
	Devices     int       `json:"devices"`
	Due         uint64    `json:"device_intervals_due"`
	Heard       uint64    `json:"device_intervals_heard"`
	Made        uint64    `json:"messages_made"`
	Arrived     uint64    `json:"messages_arrived"`
	Lost        uint64    `json:"messages_lost"`
	Waiting     uint64    `json:"messages_waiting"`
	Stored      uint64    `json:"messages_stored"` // of events too
	Cloned      uint64    `json:"messages_of_clones"`
	Refused     uint64    `json:"messages_after_revocation"`
	Again       uint64    `json:"duplicates_sent"`
	Duplicates  uint64    `json:"duplicates_suppressed"`
	Conflicts   uint64    `json:"conflicts"`
	Quarantined uint64    `json:"messages_quarantined"`
	Values      uint64    `json:"values_stored"`
	Faults      uint64    `json:"values_quarantined"`
	Late        uint64    `json:"messages_late"`
	Latest      float64   `json:"latest_s"`
	Lag         LagLine   `json:"simulated_lag"`
	Bytes       uint64    `json:"bytes_on_the_wire"`
	BytesMonth  float64   `json:"bytes_per_device_month"`
	Gaps        []Gaps    `json:"gaps"`
	Days        []float64 `json:"heard_by_day"` // share of the device-intervals due; -1 where none was
	months      float64
	due, missed []uint64 // by day
	planned     []uint64 // of the missed, those that were not due
}

// LagLine is in seconds.
type LagLine struct {
	P50 float64 `json:"p50_s"`
	P99 float64 `json:"p99_s"`
	Max float64 `json:"max_s"`
}

// Gaps are the silences of a class.
type Gaps struct {
	Class   Class   `json:"class"`
	Count   uint64  `json:"count"`
	Missed  uint64  `json:"device_intervals"`
	Longest float64 `json:"longest_s"`
	Device  string  `json:"longest_device,omitempty"`
	At      string  `json:"longest_at,omitempty"`
	Kind    string  `json:"longest_cause,omitempty"`
}

// DiskLine is what lies on the disk.
type DiskLine struct {
	Log        uint64            `json:"log_bytes"`
	Store      uint64            `json:"store_bytes"`
	PerDevice  float64           `json:"store_bytes_per_device_month"`
	PerMessage float64           `json:"store_bytes_per_message"`
	Tables     map[string]uint64 `json:"tables"`
}

// Check is the verdict: every message that arrived is stored exactly once.
type Check struct {
	OK      bool     `json:"ok"`
	Arrived uint64   `json:"arrived"`
	Stored  uint64   `json:"stored_once"`
	Missing uint64   `json:"missing"`
	Unasked uint64   `json:"not_told_by_the_world"`
	Doubles uint64   `json:"stored_more_than_once"`
	Cloned  uint64   `json:"devices_not_compared"` // since somebody else spoke under their identity
	Devices []string `json:"devices,omitempty"`    // that do not agree, the first few
}

const (
	day         = int64(24 * time.Hour / time.Millisecond)
	month       = 30 * day
	named       = 5
	minInterval = time.Second
)

// Make judges the facts.
func Make(f Facts) Report {
	r := Report{
		Scenario: f.Scenario, Seed: f.Seed, Mode: "real-time", Begins: time.UnixMilli(f.Begins).UTC(), Until: time.UnixMilli(f.Until).UTC(),
		Took: f.Took.Seconds(), Settled: f.Settled.Seconds(), Total: Line{Cohort: "all"},
	}
	if f.Fast {
		r.Mode = "fast"
	}
	if f.Took > 0 {
		r.Speed = float64(f.Until-f.Begins) / 1000 / f.Took.Seconds()
	}
	days := int((f.Until - f.Begins + day - 1) / day)
	r.Cohorts = make([]Line, len(f.Cohorts))
	lines := make([]*Line, 0, len(f.Cohorts)+1)
	for i := range r.Cohorts {
		r.Cohorts[i].Cohort = f.Cohorts[i].Name
		lines = append(lines, &r.Cohorts[i])
	}
	for _, l := range append(lines, &r.Total) {
		l.due, l.missed, l.planned = make([]uint64, days), make([]uint64, days), make([]uint64, days)
		for _, c := range Classes() {
			l.Gaps = append(l.Gaps, Gaps{Class: c})
		}
	}
	for i := range f.Members {
		m := &f.Members[i]
		r.Cohorts[m.Cohort].count(m, f.Begins, f.interval(m))
		r.Total.count(m, f.Begins, f.interval(m))
		r.Check.count(m)
		if m.Heard.Telemetry.Count+m.Heard.Events.Count == 0 && m.Until > m.From {
			r.NeverHeard = append(r.NeverHeard, m.ID)
		}
	}
	r.Quarantine = f.Quarantine
	r.Check.OK = r.Check.Missing == 0 && r.Check.Unasked == 0 && r.Check.Doubles == 0 && len(r.Check.Devices) == 0
	r.silences(&f)
	for i, l := range lines {
		if i < len(f.Lags) {
			l.Lag = LagLine(seconds(f.Lags[i].P50, f.Lags[i].P99, f.Lags[i].Max))
			r.Total.Lag.Max = max(r.Total.Lag.Max, l.Lag.Max)
		}
	}
	if len(f.Lags) == len(lines)+1 {
		all := f.Lags[len(lines)]
		r.Total.Lag = seconds(all.P50, all.P99, all.Max)
	}
	for _, l := range append(lines, &r.Total) {
		l.finish()
	}
	if f.Real != nil {
		real := seconds(f.Real.P50, f.Real.P99, f.Real.Max)
		r.RealLag = &real
	}
	r.Disk = DiskLine{Log: f.Disk.Log, Store: f.Disk.Store, Tables: f.Disk.Tables}
	if r.Total.months > 0 {
		r.Disk.PerDevice = float64(f.Disk.Store) / r.Total.months
	}
	if r.Total.Stored > 0 {
		r.Disk.PerMessage = float64(f.Disk.Store) / float64(r.Total.Stored)
	}
	return r
}

func seconds(p50, p99, most time.Duration) LagLine {
	return LagLine{P50: p50.Seconds(), P99: p99.Seconds(), Max: most.Seconds()}
}

func (f *Facts) interval(m *Member) int64 {
	return max(f.Cohorts[m.Cohort].Interval, minInterval).Milliseconds()
}

func (l *Line) count(m *Member, begins, interval int64) {
	l.Devices++
	l.months += float64(m.Until-m.From) / float64(month)
	l.Made += m.Told.Made
	l.Arrived += m.Told.Arrived
	l.Lost += m.Told.Lost
	l.Waiting += m.Told.waiting()
	l.Cloned += m.Told.Cloned
	l.Refused += m.Told.Refused
	l.Again += m.Told.Again
	l.Stored += m.Heard.Telemetry.Count + m.Heard.Events.Count
	l.Duplicates += m.Heard.Duplicates + m.Told.Known
	l.Conflicts += m.Heard.Conflicts
	l.Quarantined += m.Heard.Quarantined
	l.Values += m.Heard.Values
	l.Faults += m.Heard.Faults
	l.Bytes += m.Heard.Bytes
	l.Late += m.Heard.Late
	l.Latest = max(l.Latest, float64(m.Heard.Latest)/1000)
	each(begins, m.From, m.Until, interval, l.due)
}

// each adds the intervals between two times to the days in which they begin.
func each(begins, from, until, interval int64, days []uint64) {
	total := (until - from) / interval
	var before int64
	for d := (from - begins) / day; d < int64(len(days)) && before < total; d++ {
		end := min(until, begins+(d+1)*day)
		n := (end - from) / interval
		if d == int64(len(days))-1 {
			n = total
		}
		days[max(0, d)] += uint64(n - before)
		before = n
	}
}

func (l *Line) finish() {
	for d := range l.due {
		due := l.due[d] - min(l.planned[d], l.due[d])
		heard := due - min(l.missed[d]-min(l.planned[d], l.missed[d]), due)
		l.Due, l.Heard = l.Due+due, l.Heard+heard
		share := -1.0
		if due > 0 {
			share = float64(heard) / float64(due)
		}
		l.Days = append(l.Days, share)
	}
	if l.months > 0 {
		l.BytesMonth = float64(l.Bytes) / l.months
	}
}

func (c *Check) count(m *Member) {
	c.Doubles += m.Heard.Doubles
	if m.Told.Cloned > 0 {
		c.Cloned++ // two speak under one identity: which message of a key came first is the gateway's to say
		return
	}
	equal := true
	for _, x := range [2][2]Print{{m.Told.Telemetry, m.Heard.Telemetry}, {m.Told.Events, m.Heard.Events}} {
		told, heard := x[0], x[1]
		c.Arrived += told.Count
		once := min(told.Count, heard.Count)
		c.Stored += once
		c.Missing += told.Count - once
		c.Unasked += heard.Count - once
		equal = equal && told == heard
	}
	if !equal && len(c.Devices) < named {
		c.Devices = append(c.Devices, m.ID)
	}
}

func (r *Report) silences(f *Facts) {
	own := make([][]Spell, len(f.Members))
	var wide []Spell
	for _, s := range f.Spells {
		if s.Member < 0 {
			wide = append(wide, s)
			continue
		}
		own[s.Member] = append(own[s.Member], s)
	}
	for _, list := range own {
		slices.SortStableFunc(list, func(a, b Spell) int { return cmp.Compare(a.From, b.From) })
	}
	for _, s := range f.Silences {
		m := &f.Members[s.Member]
		class, kind := judge(f, s, m, own[s.Member], wide)
		for _, l := range []*Line{&r.Cohorts[m.Cohort], &r.Total} {
			l.gap(s, m, class, kind, f)
		}
	}
}

func (l *Line) gap(s Silence, m *Member, class Class, kind string, f *Facts) {
	// The intervals that were missed are the last ones before the next message.
	from, until := max(f.Begins, s.Until-int64(s.Missed)*f.interval(m)), s.Until
	each(f.Begins, from, until, f.interval(m), l.missed)
	if class == Planned {
		each(f.Begins, from, until, f.interval(m), l.planned)
	}
	g := &l.Gaps[slices.Index(Classes(), class)]
	g.Count++
	g.Missed += s.Missed
	if long := float64(s.Until-s.From) / 1000; long > g.Longest {
		g.Longest, g.Device, g.Kind = long, m.ID, kind
		g.At = time.UnixMilli(s.From).UTC().Format("2006-01-02 15:04")
	}
}

// judge says whose a silence is. What covers half of it has made it; else it is the radio's where that lost a message in it,
// or whatever else touched it. A spell reaches one interval further, since a device that comes back begins a new interval.
func judge(f *Facts, s Silence, m *Member, own, wide []Spell) (Class, string) {
	interval := f.interval(m)
	var best, touched Spell
	var most int64 = -1
	look := func(x Spell) {
		from, until := max(x.From-interval, s.From), min(x.Until+interval, s.Until)
		if from > until || x.Class == Radio {
			return
		}
		if until-from > most {
			most, touched = until-from, x
		}
		if 2*(until-from) >= s.Until-s.From {
			if best.Class == "" || until-from >= most {
				best = x
			}
		}
	}
	for _, x := range own {
		if x.From-interval > s.Until {
			break
		}
		look(x)
	}
	for _, x := range wide {
		if x.Region == "" || x.Region == m.Region {
			look(x)
		}
	}
	switch {
	case best.Class != "":
		return best.Class, best.Kind
	case madeIn(m.Told.LostAt, s, f.Begins, interval):
		return Radio, "lost on the radio"
	case madeIn(m.Told.HeldAt, s, f.Begins, interval):
		return Radio, "on its way when the simulation ended"
	case f.Cohorts[m.Cohort].Sleep.covers(s):
		return Planned, "planned sleep"
	case touched.Class != "":
		return touched.Class, touched.Kind
	}
	for _, x := range slices.Concat(own, wide) {
		if x.Class == Radio && x.From-interval <= s.Until && x.Until+interval >= s.From && (x.Member >= 0 || x.Region == "" || x.Region == m.Region) {
			return Radio, x.Kind
		}
	}
	if !f.Fast && s.Until >= m.Until-2*interval && m.Told.waiting() > 0 { // which ones, nobody noted; later ones may have overtaken it
		return Radio, "on its way when the simulation ended"
	}
	return Unexplained, ""
}

// madeIn says whether one of some messages was made in the silence. The silence is between times of the device's clock, which
// may be off by as much as an interval.
func madeIn(times []uint32, s Silence, begins, interval int64) bool {
	from := uint32(max(0, s.From-interval-begins) / 1000)
	at, _ := slices.BinarySearch(times, from)
	return at < len(times) && begins+1000*int64(times[at]) <= s.Until+interval
}

// covers says whether most of a silence is planned.
func (p *Sleep) covers(s Silence) bool {
	if p == nil || p.Every <= 0 {
		return false
	}
	every, length := p.Every.Milliseconds(), p.For.Milliseconds()
	var asleep int64
	for at := s.From/every*every - every + p.From.Milliseconds(); at < s.Until; at += every {
		asleep += max(0, min(at+length, s.Until)-max(at, s.From))
	}
	return 2*asleep >= s.Until-s.From
}
