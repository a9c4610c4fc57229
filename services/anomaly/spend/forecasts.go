package spend

import (
	"slices"
	"strings"
	"time"

	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

const (
	// MaxCohorts are known; what is beyond them is counted.
	MaxCohorts = 100_000

	leastValues = 1_000 // over what was expected: less is no cost
	leastBytes  = 1_000_000

	calmSteps  = 2
	adoptHours = 168 // a week: what goes on for longer is what it costs now

	monthHours = 720 // thirty days, to compare rates by
)

// metric is one of a cohort's.
type metric struct {
	name string
	line
}

// cohort is what one sends, and what is told of it.
type cohort struct {
	devices uint32 // that its usual volumes are of; 0: nobody has said
	known   uint32 // closed hours
	begun   bool   // its first hour, which is not whole, is over
	sleeps  bool   // it has planned sleep: the hours of a day differ, and nothing is known before there was one
	values  line
	bytes   line
	metrics []metric // in order

	open  bool
	told  string // the metric that the incident is about; empty for several, or for the bytes
	since int64
	calm  uint8  // steps
	hours uint32 // that it is open

	size size
}

// size is what a cohort's slots come to, while they are added up.
type size struct {
	open    bool
	devices uint32
	unsure  bool
}

// Forecasts knows the usual volumes of the fleet.
type Forecasts struct {
	s       Settings
	cohorts map[string]*cohort
	names   []string  // of cohorts, in order
	sized   []*cohort // only during Sizes
	metrics int
	hour    int64
	step    int64
	beyond  uint64
}

// NewForecasts knows nothing yet.
func NewForecasts(s Settings) *Forecasts { return &Forecasts{s: s, cohorts: map[string]*cohort{}} }

// Beyond is how many volumes were of a name that there was no room for.
func (f *Forecasts) Beyond() uint64 { return f.beyond }

// Cut takes the volumes of all shards at one instant, and gives what to say.
func (f *Forecasts) Cut(at int64, volumes []page.Volume) []incident.Signal {
	if hour := (at - 1) / hourMS * hourMS; hour != f.hour {
		f.close(hour)
	}
	step := (at - f.hour) / stepMS
	if step <= f.step {
		return nil
	}
	for i := range volumes {
		if v := &volumes[i]; v.Hour == f.hour {
			f.add(at, v)
		}
	}
	var out []incident.Signal
	for _, name := range f.names {
		c := f.cohorts[name]
		c.each(func(l *line) {
			if l.at != at {
				l.now = 0
			}
			for k := f.step + 1; k <= step; k++ {
				l.cum[k] = max(l.now, l.cum[k-1])
			}
		})
		out = f.judge(out, at, int(step), name, c)
	}
	f.step = step
	return out
}

// Sizes takes how many devices each cohort has, of all shards at one instant: who grows sends more, and that is no runaway. What
// is usual is usual for so many devices. Those that were never heard send nothing; who they are is not known while the cohort
// sleeps, or our own side was out.
func (f *Forecasts) Sizes(slots []page.Slot) {
	f.sized = f.sized[:0]
	for i := range slots {
		s := &slots[i]
		c := f.cohorts[s.Cohort]
		if c == nil {
			continue
		}
		if !c.size.open {
			c.size = size{open: true}
			f.sized = append(f.sized, c)
		}
		c.size.devices += s.Members - min(s.Members, s.Never)
		c.size.unsure = c.size.unsure || s.Ours || s.Asleep > 0
		c.sleeps = c.sleeps || s.Asleep > 0
	}
	for _, c := range f.sized {
		n := c.size.devices
		if c.size.open = false; n == 0 || n == c.devices || c.size.unsure {
			continue
		}
		if c.devices != 0 {
			c.grow(float64(n) / float64(c.devices))
		}
		c.devices = n
	}
}

// grow makes what is usual so many times as much.
func (c *cohort) grow(times float64) {
	c.each(func(l *line) {
		l.debt = float64(l.debt * times)
		for _, table := range [][]float32{l.week[:], l.day[:], l.recent[:]} {
			for i := range table {
				table[i] = float32(float64(table[i]) * times)
			}
		}
	})
}

func (c *cohort) each(do func(*line)) {
	do(&c.values)
	do(&c.bytes)
	for i := range c.metrics {
		do(&c.metrics[i].line)
	}
}

func (l *line) add(at int64, v uint64) {
	if l.at != at {
		l.at, l.now = at, 0
	}
	l.now += float64(v)
}

// add sums the shards up.
func (f *Forecasts) add(at int64, v *page.Volume) {
	c := f.cohorts[v.Cohort]
	if c == nil {
		if len(f.cohorts) >= MaxCohorts {
			f.beyond++
			return
		}
		c = &cohort{}
		f.cohorts[v.Cohort] = c
		k, _ := slices.BinarySearch(f.names, v.Cohort)
		f.names = slices.Insert(f.names, k, v.Cohort)
	}
	if v.Metric == "" {
		c.values.add(at, v.Values)
		c.bytes.add(at, v.Bytes)
		return
	}
	k, there := slices.BinarySearchFunc(c.metrics, v.Metric, func(m metric, name string) int { return strings.Compare(m.name, name) })
	if !there {
		if f.metrics >= f.s.Names || len(c.metrics) >= mostOfCohort {
			f.beyond++
			return
		}
		f.metrics++
		c.metrics = slices.Insert(c.metrics, k, metric{name: v.Metric})
	}
	c.metrics[k].add(at, v.Values)
}

// close ends an hour. One that was not seen whole teaches nothing.
func (f *Forecasts) close(next int64) {
	whole := f.step == steps
	month := time.UnixMilli(f.hour).UTC().Month() != time.UnixMilli(next).UTC().Month()
	for _, name := range f.names {
		c := f.cohorts[name]
		learn := whole && c.begun && !c.open
		c.each(func(l *line) {
			l.close(f.hour, c.known, learn)
			for skipped := max(f.hour, next-dayHours*hourMS) + hourMS; skipped < next; skipped += hourMS {
				l.skip(skipped, c.known)
			}
			if month {
				l.month = 0
			}
		})
		switch {
		case learn:
			c.known++
		case c.open:
			c.hours++
		}
		c.begun = true
		c.tidy(f)
	}
	f.hour, f.step = next, 0
}

// tidy forgets metrics that have not come for as long as anything is remembered.
func (c *cohort) tidy(f *Forecasts) {
	was := len(c.metrics)
	if c.open || c.known < weekFrom {
		return
	}
	c.metrics = slices.DeleteFunc(c.metrics, func(m metric) bool {
		return m.month == 0 && slices.Max(m.recent[:]) == 0 && slices.Max(m.week[:]) < 1
	})
	f.metrics -= was - len(c.metrics)
}

// price is per value.
func (s Settings) price() float64 {
	if s.PerMillion == 0 && s.PerGB == 0 {
		return 1e-6 // then it is told in millions of values
	}
	return s.PerMillion / 1e6
}

// cost of a cohort's values and bytes.
func (s Settings) cost(values, bytes float64) float64 {
	return float64(values*s.price()) + float64(bytes*s.PerGB)/1e9
}

// hot is a metric that has left its forecast.
type hot struct {
	name string
	l    *line
	verdict
}

// judge holds a cohort against its forecasts: one metric is told as such, several and what no metric explains as the
// cohort's.
func (f *Forecasts) judge(out []incident.Signal, at int64, step int, name string, c *cohort) []incident.Signal {
	if !c.open && (c.known < knownFrom || c.sleeps && c.known < dayFrom) {
		return out
	}
	values, bytes := c.values.judge(f.hour, step, c.known), c.bytes.judge(f.hour, step, c.known)
	usual := f.s.cost(c.values.usual(f.hour, c.known), c.bytes.usual(f.hour, c.known)) * monthHours
	least := f.s.Rise * usual
	var found []hot
	cool := values.cool && bytes.cool
	for i := range c.metrics {
		m := &c.metrics[i]
		v := m.judge(f.hour, step, c.known)
		cool = cool && (v.cool || v.excess < leastValues)
		if v.hot && v.excess >= leastValues && (v.rate-v.forecast)*f.s.price()*monthHours > least {
			found = append(found, hot{m.name, &m.line, v})
		}
	}
	slices.SortStableFunc(found, func(a, b hot) int {
		switch {
		case a.excess > b.excess:
			return -1
		case a.excess < b.excess:
			return 1
		}
		return 0
	})
	whole := values.hot && values.excess >= leastValues || bytes.hot && bytes.excess >= leastBytes
	whole = whole && f.s.cost(values.rate-values.forecast, bytes.rate-bytes.forecast)*monthHours > least
	is := len(found) > 0 || whole
	switch {
	case is && !c.open:
		c.open, c.calm, c.hours, c.told = true, 0, 0, ""
		c.since = at - stepMS
		c.each(func(l *line) { l.unlearn(f.hour) })
		if len(found) == 1 {
			c.told = found[0].name
		}
		return append(out, f.rises(at, name, c, found, values, bytes))
	case !c.open:
		return out
	case is:
		c.calm = 0
		if c.hours >= adoptHours {
			return append(out, f.adopt(at, name, c))
		}
		return append(out, f.rises(at, name, c, found, values, bytes))
	case !values.tells && !bytes.tells:
	case cool:
		if c.calm++; c.calm >= calmSteps {
			c.open = false
			return append(out, f.over(at, name, c, "the volume is what it usually is"))
		}
	default:
		c.calm = 0
	}
	return out
}

// adopt takes the new volume for the usual one.
func (f *Forecasts) adopt(at int64, name string, c *cohort) incident.Signal {
	c.open, c.known, c.begun = false, 0, false
	c.each((*line).anew)
	return f.over(at, name, c, "it goes on for a week now: from here on this is the usual volume")
}
