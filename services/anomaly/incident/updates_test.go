package incident

import (
	"bytes"
	"strings"
	"testing"

	"muster.dev/proto/event"
)

// again is a book as it is read back.
func again(t testing.TB, b *Book) *Book {
	t.Helper()
	var state bytes.Buffer
	back := NewBook(b.s, b.ranges)
	if err := b.Snapshot(&state); err != nil {
		t.Fatal(err)
	}
	if err := back.Restore(&state); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestASilenceOfUpdatedDevicesIsTheUpdatesOnceThatFails(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	at := start
	hushed := func(n int) Signal {
		s := silent("boilers", at, n)
		s.Cause, s.All = CauseUpdate, true
		for i := range s.Devices {
			s.Devices[i].Marks = updated
		}
		return s
	}
	fails := func(from, n int) Signal { // the next stage names others
		s := Signal{Kind: event.UpdateFailure, Cause: CauseFailures, Subject: event.Subject{Rollout: "r-7", Cohort: "boilers"}, Since: start, At: at, Count: uint32(n)}
		s.Devices = silent("boilers", at, from+n).Devices[from:]
		return s
	}
	early := cut(t, b, at, hushed(9)) // the verdict is not there yet
	if len(early) != 1 || early[0].Cause != CauseUpdate {
		t.Fatalf("%+v", early)
	}
	at += slot
	got := cut(t, b, at, hushed(9), fails(0, 4))
	if len(got) != 2 || got[1].ID != early[0].ID || got[1].State != event.IncidentResolved ||
		got[1].Why != "it is part of incident "+got[0].ID+": rollout r-7 updated these devices, and fails" {
		t.Fatalf("%+v", got)
	}
	at += slot
	cut(t, b, at, hushed(9), fails(9, 2))
	at += slot
	restarted := again(t, b)
	unsure := hushed(4) // of those whom the first stage named; what they have in common is not seen
	unsure.Cause = CauseUnknown
	if got := cut(t, restarted, at, unsure); len(got) != 0 {
		t.Errorf("the first stage's devices are told a second time: %+v", got)
	}
	other := hushed(12)
	other.Subject.Cohort = "pumps"
	for i := range other.Devices {
		other.Devices[i].No += 100
	}
	if got := cut(t, restarted, at, other); len(got) != 1 || got[0].State != event.IncidentOpen {
		t.Errorf("an update of another cohort is not this one: %+v", got)
	}
	at += slot
	power := hushed(30)
	power.Cause = CausePower
	if got := cut(t, restarted, at, power); len(got) != 1 || got[0].Count != 24 || !strings.Contains(got[0].Why, "6 of them are part of incident") {
		t.Errorf("what has another cause is told, without the update's devices: %+v", got)
	}
}

func TestWhoIsNotNamedAnyMoreIsNoLongerAffected(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	first := silent("boilers", start, 9)
	first.All = true
	cut(t, b, start, first)
	then := silent("boilers", start+slot, 6)
	then.Devices, then.All = then.Devices[2:], true
	if got := cut(t, b, start+slot, then); len(got) != 1 || got[0].Count != 6 || len(got[0].Devices) != 4 || got[0].Devices[0].No != then.Devices[0].No {
		t.Errorf("%+v", got)
	}
}
