package silence

import (
	"maps"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

func TestCohortsOfARegionThatFallSilentTogetherAreOneIncident(t *testing.T) {
	w := newTown(t, 3)
	harbour := w.settle("harbour", "west", 40, min1)
	depot := w.settle("depot", "west", 25, min1)
	w.settle("quarry", "east", 40, min1)
	w.pass(6 * hourMS)
	off(harbour)
	off(depot)
	w.pass(hourMS)
	got := w.one()
	if got.Kind != event.SilentCohort || got.Cause != incident.CauseRegion || got.Subject != (event.Subject{Region: "west"}) || got.Count != 65 {
		t.Errorf("%s of %+v because of %s, %d devices: %s", got.Kind, got.Subject, got.Cause, got.Count, got.Why)
	}
	on(harbour)
	on(depot)
	w.pass(hourMS)
	if got = w.one(); got.State != event.IncidentResolved {
		t.Error("it is not resolved")
	}
}

func TestARegionWithAllOfOneCohortInItIsTheCause(t *testing.T) {
	w := newTown(t, 1)
	harbour := w.settle("harbour", "west", 40, min1)
	w.settle("quarry", "east", 40, min1)
	w.settle("mine", "east", 40, min1)
	w.pass(6 * hourMS)
	off(harbour)
	w.pass(hourMS)
	if got := w.one(); got.Cause != incident.CauseRegion || got.Subject.Region != "west" {
		t.Errorf("%+v because of %s", got.Subject, got.Cause)
	}
}

func TestPowerComesBeforeARegionThatIsTheCohort(t *testing.T) {
	w := newTown(t, 1)
	harbour := w.settle("harbour", "west", 40, min1)
	w.settle("quarry", "east", 40, min1)
	w.settle("mine", "east", 40, min1)
	w.pass(6 * hourMS)
	for _, p := range harbour {
		w.of(p).Boot(p.index, w.now, "brownout")
	}
	off(harbour)
	w.pass(hourMS)
	if got := w.one(); got.Cause != incident.CausePower || got.Subject.Cohort != "harbour" {
		t.Errorf("%+v because of %s", got.Subject, got.Cause)
	}
}

func TestUnrelatedCohortsThatFallSilentTogetherAreOurOwnSide(t *testing.T) {
	w := newTown(t, 2)
	var all []*person
	for _, c := range []string{"a", "b", "c", "d", "e"} {
		all = append(all, w.settle(c, "", 20, min1)...)
	}
	w.pass(6 * hourMS)
	off(all[:60])
	w.pass(hourMS)
	got := w.one()
	if got.Kind != event.Pipeline || got.Subject != (event.Subject{}) || got.Count != 60 {
		t.Errorf("%s of %+v, %d devices: %s", got.Kind, got.Subject, got.Count, got.Why)
	}
	on(all)
	w.pass(hourMS)
	if got = w.one(); got.State != event.IncidentResolved {
		t.Error("it is not resolved")
	}
}

func TestALateCohortJoinsItsRegionsIncident(t *testing.T) {
	w := newTown(t, 1)
	a, b := w.settle("a", "west", 20, min1), w.settle("b", "west", 20, min1)
	c := w.settle("c", "west", 20, 5*min1)
	for _, name := range []string{"d", "e", "f", "g"} {
		w.settle(name, "", 20, min1)
	}
	w.pass(48 * hourMS)
	off(a)
	off(b)
	off(c)
	w.pass(2 * hourMS)
	if got := w.one(); got.Subject.Region != "west" || got.Count != 60 {
		t.Errorf("%+v, %d devices", got.Subject, got.Count)
	}
}

func TestOurOwnOutageIsToldAndNoSilence(t *testing.T) {
	for _, again := range []bool{false, true} {
		w := newTown(t, 2)
		w.again = again
		all := append(w.settle("north", "west", 50, min1), w.settle("south", "", 3, min1)...)
		w.pass(2 * hourMS)
		before := w.cohorts.byName["north"].b
		for range 3 {
			from := w.now
			off(all)
			for range 10 { // ten minutes
				w.out(true, "", from, 0)
				w.pass(min1)
			}
			w.out(true, "", from, w.now)
			w.pass(step)
			w.pass(90 * sec) // and some time to come back
			on(all)
			w.pass(hourMS)
		}
		for _, i := range w.opened() {
			if i.Kind != event.Pipeline || i.Cause != incident.CauseLog || w.last(i.ID).State != event.IncidentResolved {
				t.Errorf("%s %s %+v %s: %s", i.Kind, i.Cause, i.Subject, w.last(i.ID).State, i.Why)
			}
		}
		if n := len(w.opened()); n != 3 {
			t.Errorf("%d incidents of three outages", n)
		}
		if after := w.cohorts.byName["north"].b; after.p > before.p {
			t.Errorf("the outages taught a baseline: %g, before %g", after.p, before.p)
		}
	}
}

func TestTheOutageOfARegionsGatewayIsToldForTheRegionAlone(t *testing.T) {
	w := newTown(t, 2)
	harbour, beacons := w.settle("harbour", "west", 40, min1), w.settle("beacons", "west", 20, min1)
	quarry := w.settle("quarry", "east", 40, min1)
	w.pass(2 * hourMS)
	from := w.now
	off(harbour)
	off(beacons)
	for k := range 45 {
		if k == 20 { // in the meantime somebody else falls silent
			off(quarry[:20])
		}
		w.out(false, "west", from, 0)
		w.pass(min1)
	}
	w.out(false, "west", from, w.now)
	on(harbour)
	on(beacons)
	w.pass(hourMS)
	all := w.opened()
	if len(all) != 2 || all[0].Cause != incident.CauseGateway || all[0].Subject.Region != "west" || all[1].Subject.Cohort != "quarry" {
		t.Errorf("%d incidents were opened: %+v", len(all), all)
	}
}

func TestWhereAGatewayOwesASignNothingIsDecided(t *testing.T) {
	w := newTown(t, 2)
	harbour := w.settle("harbour", "west", 40, min1)
	w.settle("quarry", "east", 40, min1)
	w.pass(2 * hourMS)
	from := w.now
	off(harbour)
	w.pass(min1)
	for w.now < from+3*min1 { // beats are long: after a minute one is owed, after three it is an outage
		for _, d := range w.shards {
			d.Owed([]string{"west"})
		}
		w.pass(step)
	}
	w.nothing("a mark is owed")
	for range 10 {
		w.out(false, "west", from, 0)
		w.pass(min1)
	}
	w.out(false, "west", from, w.now)
	on(harbour)
	w.pass(hourMS)
	if got := w.one(); got.Kind != event.Pipeline || got.State != event.IncidentResolved {
		t.Errorf("%s is %s", got.Kind, got.State)
	}
}

func TestAnOutageThatIsKnownLateTakesBackWhatWasTold(t *testing.T) {
	w := newTown(t, 1)
	harbour := w.settle("harbour", "west", 40, 10*sec)
	w.settle("quarry", "", 40, 10*sec)
	w.settle("mine", "", 40, 10*sec)
	w.pass(2 * hourMS)
	from := w.now
	off(harbour)
	w.pass(min1) // beats are long: it takes a minute until somebody knows
	for range 10 {
		w.out(false, "west", from, 0)
		w.pass(min1)
	}
	for _, i := range w.opened() {
		if got := w.last(i.ID); got.Kind == event.SilentCohort && got.State != event.IncidentResolved {
			t.Errorf("%+v is still told", got.Subject)
		}
	}
	off(nil)
	if n := len(w.opened()); n != 2 {
		t.Errorf("%d incidents, want the one taken back and our own", n)
	}
}

func TestTwoCausesInOneRegionAreTwoIncidents(t *testing.T) {
	for _, same := range []bool{false, true} {
		w := newTown(t, 2)
		pumps := w.settle("pumps", "west", 50, min1)
		valves := w.settle("valves", "west", 30, min1)
		gates := w.settle("gates", "west", 30, min1)
		w.settle("kiosks", "west", 20, 5*min1)
		w.settle("quarry", "east", 40, min1)
		fall := 0.
		for i, p := range append(valves[:30:30], gates...) {
			p.say = func(at int64) {
				dBm := -71 + float64(i%5)
				if i%30 < 20 {
					dBm -= fall
				}
				w.of(p).Radio(p.index, at, dBm)
			}
		}
		w.pass(12 * hourMS)
		for range 8 * 60 {
			fall += 25. / 480
			w.pass(min1)
		}
		first := gates[:20]
		if !same {
			first = pumps[:30]
			for _, p := range first {
				w.of(p).Boot(p.index, w.now, "brownout")
			}
		}
		off(first)
		w.pass(3 * min1)
		off(valves[:20])
		w.pass(hourMS)
		told := map[string]string{}
		for _, i := range w.incidents {
			if i.State != event.IncidentResolved {
				told[i.Subject.Region+"/"+i.Subject.Cohort] = i.Cause
			} else {
				delete(told, i.Subject.Region+"/"+i.Subject.Cohort)
			}
		}
		want := map[string]string{"/pumps": incident.CausePower, "/valves": incident.CauseRadio}
		if same { // of one cause they are one
			want = map[string]string{"west/": incident.CauseRegion}
		}
		if !maps.Equal(told, want) {
			t.Errorf("one cause %v: told are %v, and %v is right", same, told, want)
		}
	}
}
