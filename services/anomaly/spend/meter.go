package spend

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

const (
	hourMS = 3_600_000
	stepMS = 600_000
	steps  = hourMS / stepMS

	idleHours = 168 // after which a name gives its place up

	// mostOfCohort is how many metrics of one cohort are counted apart: a device names its own, and all cohorts share what
	// there is room for.
	mostOfCohort = 1_000
)

// name of what is counted; an empty metric is all of the cohort.
type name struct {
	cohort int32
	metric string
}

type counter struct {
	name
	values, bytes uint64 // in this hour
	idle          uint8  // hours without any
}

// place is where the counter of a metric is.
type place struct{ metric, counter int32 }

// Meter counts what the devices of one shard send.
type Meter struct {
	s        Settings
	cohort   func(c int32) string
	counters []counter
	numbers  map[string]int32  // of names of metrics
	of       map[int32][]place // by cohort, in order of metric: each shard asks for all of them at each cut
	metrics  int               // counters of one metric
	hour     int64             // that is counted: its start
	step     int64             // of it, told
	beyond   uint64
}

// NewMeter has counted nothing; cohort gives the name of a cohort's index.
func NewMeter(s Settings, cohort func(c int32) string) *Meter {
	return &Meter{s: s, cohort: cohort, numbers: map[string]int32{}, of: map[int32][]place{}}
}

// Beyond is how many values were of a name that there was no room for. They are in their cohort's sum all the same.
func (m *Meter) Beyond() uint64 { return m.beyond }

// Add counts values of a metric; with an empty metric, all values of a record and its bytes. They belong to the hour of
// the next tick: what a record says of its time may be anything.
func (m *Meter) Add(cohort int32, metric []byte, values, bytes int, _ int64) {
	m.AddAt(0, cohort, string(metric), values, bytes)
}

// AddAt is Add for who remembers where the cohort's metric was counted: at what AddAt gave the last time. It is a guess, and
// nothing depends on it.
func (m *Meter) AddAt(guess, cohort int32, metric string, values, bytes int) (at int32) {
	if uint(guess) >= uint(len(m.counters)) || m.counters[guess].cohort != cohort || m.counters[guess].metric != metric {
		if guess = m.look(cohort, metric); guess < 0 {
			m.beyond += uint64(max(values, 0))
			return 0
		}
	}
	c := &m.counters[guess]
	c.values += uint64(max(values, 0))
	c.bytes += uint64(max(bytes, 0))
	return guess
}

// look gives a metric's counter, which it makes if there is none, or -1 where there is no room for it.
func (m *Meter) look(cohort int32, metric string) int32 {
	if no, known := m.numbers[metric]; known {
		of := m.of[cohort]
		if at, there := find(of, no); there {
			return of[at].counter
		}
	}
	return m.make(cohort, metric)
}

func find(of []place, metric int32) (at int, there bool) {
	return slices.BinarySearchFunc(of, metric, func(p place, metric int32) int { return cmp.Compare(p.metric, metric) })
}

// enter makes a counter findable, and says whether its name is new.
func (m *Meter) enter(i int32) bool {
	c := &m.counters[i]
	no, known := m.numbers[c.metric]
	if !known {
		no = int32(len(m.numbers))
		m.numbers[c.metric] = no
	}
	of := m.of[c.cohort]
	at, there := find(of, no)
	if there {
		return false
	}
	m.of[c.cohort] = slices.Insert(of, at, place{no, i})
	if c.metric != "" {
		m.metrics++
	}
	return true
}

// metricsOf is how many metrics of a cohort are counted apart.
func (m *Meter) metricsOf(cohort int32) int {
	of := m.of[cohort]
	if no, known := m.numbers[""]; known {
		if _, all := find(of, no); all {
			return len(of) - 1
		}
	}
	return len(of)
}

func (m *Meter) make(cohort int32, metric string) int32 {
	if len(metric) > 0 {
		if m.metrics >= m.s.Names || m.metricsOf(cohort) >= mostOfCohort || len(metric) > page.MaxText {
			return -1
		}
	}
	i := int32(len(m.counters))
	m.counters = append(m.counters, counter{name: name{cohort, strings.Clone(metric)}})
	m.enter(i)
	return i
}

// Tick tells each ten minutes what the hour has brought so far, in order of cohort and metric.
func (m *Meter) Tick(until int64) []page.Volume {
	hour := (until - 1) / hourMS * hourMS
	if m.hour == 0 {
		m.hour = hour
	}
	var out []page.Volume
	if hour > m.hour {
		out = m.tell(m.hour + hourMS)
		m.begin(hour)
	}
	if step := (until - m.hour) / stepMS; step > m.step {
		m.step = step
		out = append(out, m.tell(m.hour+step*stepMS)...)
	}
	if m.step == steps {
		m.begin(m.hour + hourMS) // what comes before the next tick is of the next hour
	}
	return out
}

func (m *Meter) tell(until int64) (out []page.Volume) {
	for i := range m.counters {
		if c := &m.counters[i]; c.values > 0 || c.bytes > 0 {
			out = append(out, page.Volume{Cohort: m.cohort(c.cohort), Metric: c.metric, Hour: m.hour, Until: until, Values: c.values, Bytes: c.bytes})
		}
	}
	slices.SortFunc(out, func(a, b page.Volume) int {
		return cmp.Or(strings.Compare(a.Cohort, b.Cohort), strings.Compare(a.Metric, b.Metric))
	})
	return out
}

// begin begins an hour, without the names that were not heard for a week.
func (m *Meter) begin(hour int64) {
	m.hour, m.step = hour, 0
	kept := m.counters[:0]
	for _, c := range m.counters {
		if c.idle++; c.values > 0 || c.bytes > 0 {
			c.idle = 0
		}
		if c.values, c.bytes = 0, 0; c.idle < idleHours {
			kept = append(kept, c)
		}
	}
	gone := len(m.counters) - len(kept)
	clear(m.counters[len(kept):])
	if m.counters = kept; gone > 0 {
		m.join()
	}
}

// join makes all counters findable, and says whether each name is there once.
func (m *Meter) join() bool {
	clear(m.numbers)
	clear(m.of)
	m.metrics = 0
	once := true
	for i := range m.counters {
		once = m.enter(int32(i)) && once
	}
	return once
}

// Forms of the snapshots.
const (
	form          = 1
	formForecasts = 3
)

// most things of a kind that a snapshot may hold.
const most = 1 << 24

// Snapshot writes the state.
func (m *Meter) Snapshot(w io.Writer) error {
	out := state.NewWriter(w)
	out.Head("meter", form)
	out.I64(m.hour)
	out.I64(m.step)
	out.U64(m.beyond)
	out.Len(len(m.counters))
	for _, c := range m.counters {
		out.Int(int64(c.cohort))
		out.Text(c.metric)
		out.Uint(c.values)
		out.Uint(c.bytes)
		out.U8(c.idle)
	}
	return out.Flush()
}

// Restore reads a state into a Meter that has counted nothing. After an error it is not to be used.
func (m *Meter) Restore(r io.Reader) error {
	in := state.NewReader(r)
	in.Head("meter", form)
	m.hour, m.step, m.beyond = in.I64(), in.I64(), in.U64()
	for n := in.Len(most); n > 0 && in.Err() == nil; n-- {
		m.counters = append(m.counters, counter{name{int32(in.Int()), in.Text()}, in.Uint(), in.Uint(), in.U8()})
	}
	if !m.join() {
		in.Spoil("a name is there twice")
	}
	return in.Err()
}
