package silence

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

const sec = 1_000

// town is a small fleet whose devices are heard punctually, unless a test says otherwise.
type town struct {
	t       *testing.T
	log     registryLog
	census  []*census.State
	shards  []*Devices
	cohorts *Cohorts
	book    *incident.Book
	now     int64
	begin   int64
	people  []*person
	outages []page.Outage
	again   bool // snapshot and restore at each cut

	signals   []incident.Signal
	incidents []event.Incident
}

// person is a device.
type person struct {
	id    string
	no    uint32
	every int64
	next  int64
	off   bool
	shard int
	index int32
	say   func(at int64) // beside being heard
}

// newTown begins on a Monday at midnight.
func newTown(t *testing.T, shards int) *town {
	w := &town{t: t, begin: 2_800 * weekMS, cohorts: NewCohorts(DefaultSettings()), book: incident.NewBook(incident.DefaultSettings(), nil)}
	w.begin += 4 * 24 * hourMS
	w.now, w.log.at = w.begin, w.begin
	for p := range shards {
		c := census.New(int32(p), int32(shards))
		w.census = append(w.census, c)
		w.shards = append(w.shards, NewDevices(c, DefaultSettings()))
	}
	return w
}

// registry writes an event, and does what a shard does with it.
func (w *town) registry(body event.Body) {
	w.log.at = w.now
	r := w.log.add(body)
	for p, c := range w.census {
		changes, err := c.Apply(r)
		if err != nil {
			w.t.Fatalf("the registry: %v", err)
		}
		for _, ch := range changes {
			switch d := w.shards[p]; ch.Kind {
			case census.Joined:
				d.Join(ch.Device, ch.At)
			case census.Left:
				d.Leave(ch.Device, ch.At)
			case census.Moved:
				d.Move(ch.Device, ch.Was, ch.Cohort, ch.At)
			case census.Described:
				d.Describe(ch.Device, ch.At)
			}
		}
	}
}

// settle enrols devices of a new cohort, heard each interval from now on.
func (w *town) settle(cohort, region string, n int, interval int64, sleep ...event.Sleep) []*person {
	w.registry(event.CohortDefined{Cohort: cohort, Interval: interval, Region: region, Sleep: sleep})
	var out []*person
	for i := range n {
		p := w.enrol(fmt.Sprintf("%s-%04d", cohort, i), cohort, interval)
		p.next = w.now + (int64(i)*7919+1)*sec%interval
		out = append(out, p)
	}
	return out
}

func (w *town) enrol(id, cohort string, every int64) *person {
	p := &person{id: id, no: uint32(len(w.people) + 1), every: every, next: w.now + every/2}
	w.registry(event.DeviceEnrolled{Device: id, No: p.no, Cohort: cohort, Serial: "01", SPKI: make([]byte, 32)})
	for s, c := range w.census {
		if i, ok := c.LookupNo(p.no); ok {
			p.shard, p.index = s, i
		}
	}
	w.people = append(w.people, p)
	return p
}

func (w *town) of(p *person) *Devices { return w.shards[p.shard] }

// pass lets time go by: cuts each 5 seconds, as a fleet of many intervals has.
func (w *town) pass(d int64) {
	for until := w.now + d; w.now < until; {
		w.now += step
		for _, p := range w.people {
			for p.next <= w.now {
				if !p.off {
					w.of(p).Heard(p.index, p.next)
					if p.say != nil {
						p.say(p.next)
					}
				}
				p.next += p.every
			}
		}
		w.cut()
	}
}

func (w *town) cut() {
	if w.again {
		w.restart()
	}
	var slots []page.Slot
	for _, d := range w.shards {
		for _, o := range w.outages {
			d.Outage(o)
		}
		slots = append(slots, d.Cut(w.now)...)
	}
	got := w.cohorts.Cut(w.now, slots, w.outages)
	w.signals = append(w.signals, got...)
	w.incidents = append(w.incidents, w.book.Take(w.now, got)...)
	w.incidents = append(w.incidents, w.book.Tick(w.now, false)...)
	w.outages = slices.DeleteFunc(w.outages, func(o page.Outage) bool { return o.Until != 0 })
}

// restart goes on from what was written.
func (w *town) restart() {
	for p := range w.shards {
		var b bytes.Buffer
		d := NewDevices(w.census[p], DefaultSettings())
		if err := w.shards[p].Snapshot(&b); err != nil {
			w.t.Fatal(err)
		}
		if err := d.Restore(&b); err != nil {
			w.t.Fatal(err)
		}
		w.shards[p] = d
	}
	var b bytes.Buffer
	c := NewCohorts(DefaultSettings())
	if err := w.cohorts.Snapshot(&b); err != nil {
		w.t.Fatal(err)
	}
	if err := c.Restore(&b); err != nil {
		w.t.Fatal(err)
	}
	w.cohorts = c
}

// out begins or ends an outage of ours with the next cut; nothing gets through in it.
func (w *town) out(all bool, region string, from, until int64) {
	w.outages = slices.DeleteFunc(w.outages, func(o page.Outage) bool { return o.All == all && o.Region == region })
	w.outages = append(w.outages, page.Outage{All: all, Region: region, From: from, Until: until})
}

// opened gives the incidents that were opened, one for each.
func (w *town) opened() (out []event.Incident) {
	for _, i := range w.incidents {
		if i.Type() == event.TypeIncidentOpened {
			out = append(out, i)
		}
	}
	return out
}

// last gives the newest record of an incident.
func (w *town) last(id string) event.Incident {
	for _, i := range slices.Backward(w.incidents) {
		if i.ID == id {
			return i
		}
	}
	w.t.Fatalf("there is no incident %s", id)
	return event.Incident{}
}

// one gives the only incident.
func (w *town) one() event.Incident {
	w.t.Helper()
	all := w.opened()
	if len(all) != 1 {
		for _, i := range all {
			w.t.Logf("%s %s %+v: %s", i.Kind, i.Cause, i.Subject, i.Why)
		}
		w.t.Fatalf("%d incidents were opened, want one", len(all))
	}
	return w.last(all[0].ID)
}

func (w *town) nothing(what string) {
	w.t.Helper()
	for _, i := range w.opened() {
		w.t.Errorf("%s: an incident was opened at +%d s: %s %s %+v: %s", what, (i.At-w.begin)/sec, i.Kind, i.Cause, i.Subject, i.Why)
	}
}

func number64(i event.Incident, name string) int64 {
	for _, n := range i.Numbers {
		if n.Name == name {
			return n.Micro
		}
	}
	return -1
}

func off(people []*person) {
	for _, p := range people {
		p.off = true
	}
}

func on(people []*person) {
	for _, p := range people {
		p.off = false
	}
}
