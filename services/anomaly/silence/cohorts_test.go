package silence

import (
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

const min1 = 60 * sec

func TestPartOfACohortThatFallsSilentIsOneIncidentUntilItIsBack(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.settle("south", "", 50, min1)
	w.pass(6 * hourMS)
	w.nothing("all is well")
	off(north[:20])
	at := w.now
	w.pass(hourMS)
	got := w.one()
	if got.Subject != (event.Subject{Cohort: "north"}) || got.Kind != event.SilentCohort || got.Cause != incident.CauseUnknown {
		t.Errorf("%s of %+v because of %s", got.Kind, got.Subject, got.Cause)
	}
	if got.Count != 20 || len(got.Devices) != 20 {
		t.Errorf("it is about %d devices and names %d, want 20", got.Count, len(got.Devices))
	}
	for _, d := range got.Devices {
		if d.ID >= north[20].id || d.Since > at || d.Since < at-min1 {
			t.Errorf("it names %s, silent since %d s before", d.ID, (at-d.Since)/sec)
		}
	}
	if got.Since > at || got.Since < at-min1 {
		t.Errorf("it began %d s before the silence", (at-got.Since)/sec)
	}
	if delay := w.opened()[0].At - at; delay > 3*min1 {
		t.Errorf("it was told after %d s, want three intervals at most", delay/sec)
	}
	if number64(got, "expected") != 50e6 || number64(got, "missing") != 20e6 {
		t.Errorf("the numbers are %+v", got.Numbers)
	}
	on(north)
	w.pass(hourMS)
	if got = w.one(); got.State != event.IncidentResolved || got.ResolvedAt > w.now-hourMS+10*min1 {
		t.Errorf("an hour after they came back it is %s, resolved at %d", got.State, got.ResolvedAt)
	}
}

func TestASilenceIsToldMinutesAfterTheFirstSlot(t *testing.T) {
	w := newTown(t, 1)
	all := w.settle("bench", "", 50, 10*sec)
	w.pass(8 * min1)
	off(all[:20])
	at := w.now
	w.pass(5 * min1)
	got := w.one()
	if delay := w.opened()[0].At - at; delay > 2*min1 {
		t.Errorf("it was told after %d s", delay/sec)
	}
	if got.Count != 20 {
		t.Errorf("it is about %d", got.Count)
	}
}

func TestAWholeCohortThatFallsSilentInItsFirstMinutesIsTold(t *testing.T) {
	w := newTown(t, 1)
	all := w.settle("bench", "", 20, 10*sec)
	w.pass(2 * min1)
	off(all)
	w.pass(2 * min1)
	w.one()
}

func TestAPartOfACohortThatFallsSilentInItsFirstFiveMinutesIsToldInFiveIntervals(t *testing.T) {
	for _, after := range []int64{4 * min1, 5 * min1, 10 * min1} {
		w := newTown(t, 1)
		all := w.settle("bench", "", 20, 10*sec)
		w.pass(after)
		off(all[:12])
		at := w.now
		w.pass(3 * min1)
		if got := w.one(); got.Count != 12 || w.opened()[0].At-at > 50*sec {
			t.Errorf("after %d s it is told of %d devices %d s late", after/sec, got.Count, (w.opened()[0].At-at)/sec)
		}
	}
}

func TestWhoUsuallyMissesIsNotNamedBesideWhoIsGone(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 40, min1)
	miss := 0
	blink := func(hours int) { // each minute another two devices of the last thirty lose three messages in a row
		for range hours * 60 {
			on(north[10:])
			for i := range 6 {
				north[10+(miss+i)%30].off = true
			}
			miss += 2
			w.pass(min1)
		}
	}
	blink(36)
	w.nothing("some miss a few")
	off(north[:4])
	blink(8)
	got := w.one()
	gone := 0
	for _, d := range got.Devices {
		if d.ID < "north-0004" {
			gone++
		}
	}
	if gone != 4 || len(got.Devices) > 5 || got.Count > 5 {
		t.Errorf("of four that are gone it names %d, in %d of %d: %s", gone, len(got.Devices), got.Count, got.Why)
	}
}

func TestAFewOfManyThatAreGoneAreNoIncidentEachTimeThatOthersMiss(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 500, min1)
	w.pass(8 * hourMS)
	off(north[:8]) // less than two in a hundred
	for k := range 6 * 60 {
		on(north[8:])
		if k%20 < 3 {
			off(north[100+k%300 : 105+k%300])
		}
		w.pass(min1)
	}
	w.nothing("eight of 500 are gone")
}

func TestPowerIsTheCauseWhereDevicesBrownedOut(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.pass(6 * hourMS)
	for _, p := range north[:20] {
		w.of(p).Boot(p.index, w.now, "brownout")
	}
	w.of(north[40]).Boot(north[40].index, w.now, "software")
	w.pass(10 * min1)
	off(north[:20])
	w.pass(10 * min1)
	got := w.one()
	if got.Cause != incident.CausePower || number64(got, "power_silent") != 20e6 || number64(got, "power_others") != 0 {
		t.Errorf("the cause is %s: %s; %+v", got.Cause, got.Why, got.Numbers)
	}
	if page.Marks(got.Devices[0].Marks)&page.MarkPower == 0 {
		t.Error("the devices are not marked")
	}
}

func TestPowerIsTheCauseWhereBatteriesAreLow(t *testing.T) {
	for _, c := range []struct {
		metric    string
		low, good float64
	}{{"battery_pct", 4, 80}, {"battery_mv", 3_050, 3_900}, {"battery_v", 3.1, 4}} {
		w := newTown(t, 1)
		north := w.settle("north", "", 30, min1)
		for i, p := range north {
			value := c.good
			if i < 12 {
				value = c.low
			}
			p.say = func(at int64) { w.of(p).Battery(p.index, at, value, c.metric) }
		}
		w.pass(6 * hourMS)
		off(north[:12])
		w.pass(10 * min1)
		if got := w.one(); got.Cause != incident.CausePower {
			t.Errorf("%s: the cause is %s: %s", c.metric, got.Cause, got.Why)
		}
	}
}

func TestPowerIsTheCauseOnceDevicesComeBackAndSayThatItWasGone(t *testing.T) {
	for _, reason := range []string{"power_on", "power-on", "Power On Reset", "BROWNOUT"} {
		w := newTown(t, 1)
		north := w.settle("north", "", 50, min1)
		w.pass(6 * hourMS)
		off(north[:20])
		w.pass(hourMS)
		if got := w.one(); got.Cause != incident.CauseUnknown {
			t.Fatalf("the cause is %s before anybody came back", got.Cause)
		}
		on(north)
		for _, p := range north[:20] {
			w.of(p).Heard(p.index, w.now)
			w.of(p).Boot(p.index, w.now, reason)
		}
		w.pass(hourMS)
		if got := w.one(); got.Cause != incident.CausePower || got.State != event.IncidentResolved {
			t.Errorf("%s: the cause is %s: %s, %s", reason, got.Cause, got.Why, got.State)
		}
	}
}

func TestDevicesThatComeBackAfterAResetBlameNoPower(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.pass(6 * hourMS)
	off(north[:20])
	w.pass(hourMS)
	on(north)
	for _, p := range north[:20] {
		w.of(p).Heard(p.index, w.now)
		w.of(p).Boot(p.index, w.now, "watchdog")
	}
	w.pass(hourMS)
	if got := w.one(); got.Cause != incident.CauseUnknown {
		t.Errorf("the cause is %s: %s", got.Cause, got.Why)
	}
}

func TestRadioIsTheCauseWhereTheSignalFellBefore(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	fall := 0.
	for i, p := range north {
		p.say = func(at int64) {
			dBm := -71 + float64(i%5)
			if i < 30 {
				dBm -= fall
			}
			w.of(p).Radio(p.index, at, dBm)
		}
	}
	w.pass(12 * hourMS)
	for range 8 * 60 { // 25 dB in eight hours
		fall += 25. / 480
		w.pass(min1)
	}
	off(north[:30])
	w.pass(10 * min1)
	if got := w.one(); got.Cause != incident.CauseRadio || number64(got, "radio_others") != 0 {
		t.Errorf("the cause is %s: %s", got.Cause, got.Why)
	}
}

func TestAnUpdateIsTheCauseWhereThoseWhoHadItFellSilent(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.pass(6 * hourMS)
	for _, p := range north[:15] {
		w.of(p).Updated(p.index, w.now)
	}
	w.pass(hourMS)
	off(north[:14])
	w.pass(10 * min1)
	if got := w.one(); got.Cause != incident.CauseUpdate {
		t.Errorf("the cause is %s: %s", got.Cause, got.Why)
	}
}

func TestASignThatAllDevicesShowIsNoCause(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.pass(6 * hourMS)
	for _, p := range north {
		w.of(p).Updated(p.index, w.now)
		w.of(p).Battery(p.index, w.now, 3, "battery_pct")
	}
	w.pass(hourMS)
	off(north[:20])
	w.pass(10 * min1)
	if got := w.one(); got.Cause != incident.CauseUnknown {
		t.Errorf("the cause is %s: %s", got.Cause, got.Why)
	}
}

func TestACohortOfOneIsOverdue(t *testing.T) {
	w := newTown(t, 1)
	buoy := w.settle("buoy", "", 1, 5*min1)
	w.settle("shore", "", 20, 5*min1)
	w.pass(48 * hourMS)
	for range 20 { // restarts and a few lost messages: how its runs go on is known
		off(buoy)
		w.pass(9 * min1)
		on(buoy)
		w.pass(3 * hourMS)
	}
	w.nothing("a message is lost now and then")
	w.of(buoy[0]).Boot(buoy[0].index, w.now, "brownout")
	off(buoy)
	at := w.now
	w.pass(6 * hourMS)
	got := w.one()
	if got.Cause != incident.CausePower || got.Count != 1 || got.Devices[0].ID != "buoy-0000" {
		t.Errorf("%s of %d %+v", got.Cause, got.Count, got.Devices)
	}
	if late := (got.Since - at) / sec; late > 0 || late < -300 {
		t.Errorf("it began %d s after the silence", late)
	}
	if delay := w.opened()[0].At - at; delay > 2*hourMS {
		t.Errorf("it was told after %d s", delay/sec)
	}
	on(buoy)
	w.pass(2 * hourMS)
	if got = w.one(); got.State != event.IncidentResolved {
		t.Error("it is not resolved two hours after the device came back")
	}
}

func TestACohortThatIsEmptiedWhileSilentIsResolvedAtOnce(t *testing.T) {
	for _, members := range []int{12, 1} {
		w := newTown(t, 4)
		trial := w.settle("trial", "", members, min1)
		w.settle("other", "", 30, min1)
		w.pass(6 * hourMS)
		off(trial)
		w.pass(hourMS)
		if got := w.one(); got.State != event.IncidentOpen {
			t.Fatal("it is not open")
		}
		for _, p := range trial {
			w.registry(event.DeviceRevoked{No: p.no})
		}
		w.pass(min1)
		got := w.one()
		if got.State != event.IncidentResolved || got.Why != "the cohort was emptied: none of its devices is expected any more" {
			t.Errorf("%d members: it is %s: %s", members, got.State, got.Why)
		}
		w.pass(hourMS)
		w.one()
	}
}

func TestASilenceThatComesAndGoesIsOneIncident(t *testing.T) {
	w := newTown(t, 1)
	north := w.settle("north", "", 50, min1)
	w.pass(6 * hourMS)
	for range 8 {
		off(north[:25])
		w.pass(6 * min1)
		on(north)
		w.pass(6 * min1)
	}
	w.pass(hourMS)
	if got := w.one(); got.State != event.IncidentResolved {
		t.Errorf("it is %s", got.State)
	}
}

func TestDevicesEnrolledAndNeverHeardAreToldWhereTheyAreMany(t *testing.T) {
	w := newTown(t, 2)
	w.settle("north", "", 40, min1)
	w.pass(6 * hourMS)
	w.enrol("dead-1", "north", min1).off = true // one of forty is nobody's news
	w.pass(2 * hourMS)
	w.nothing("one device was never heard")
	var dead []*person
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		p := w.enrol("dead-"+id, "north", min1)
		p.off = true
		dead = append(dead, p)
	}
	w.pass(hourMS)
	got := w.one()
	if at := w.opened()[0].At; at < w.now-40*min1 {
		t.Errorf("it was told after %d s: some take their time", (at-w.now+hourMS)/sec)
	}
	if number64(got, "never_heard") != 9e6 || got.Count < 8 || got.Severity != event.SeverityInfo {
		t.Errorf("%d devices, %s: %+v", got.Count, got.Severity, got.Numbers)
	}
	on(dead)
	w.pass(hourMS)
	if got = w.one(); got.State != event.IncidentResolved {
		t.Error("they were heard, and it is not resolved")
	}
}
