package update

import (
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

func TestWhoIsNeverHeardAgainOnceItWasOfferedTheUpdateIsCounted(t *testing.T) {
	f := lay(t, plan{treated: 20, devices: 100, sites: 4, soak: 12 * hour})
	f.pass(10, nil)
	f.update(10, 20, f.now+1)
	for i := range 6 { // they had not said that they begin
		f.mute[i] = true
	}
	f.pass(60, nil)
	v := f.last()
	if v.Verdict != event.VerdictFail || v.FailedTreated != 0 || v.Treated != 10 || v.DrawnTreated != 20 || v.DrawnControl != 80 || v.DrawnFailedTreated < 4 || v.DrawnFailedControl != 0 ||
		!strings.Contains(v.Why, "of all that were offered it, begun or not") {
		t.Fatalf("%+v", v)
	}
	if s := f.signals[len(f.signals)-1]; s.Count != 6 || len(s.Devices) != 6 || s.Cause != incident.CauseFailures {
		t.Errorf("%+v", s)
	}
}

func TestADeviceThatWasSilentBeforeTheStageIsAtRiskWhenItIsHeard(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 12 * hour, stages: 2})
	f.pass(10, nil)
	if s := &f.judge.rollouts[0].on; s.strata[0].drawnT != 10 || s.strata[0].drawnC != 40 { // those of stage 2 are a control
		t.Fatalf("%+v", s.strata)
	}
	for i := range 20 {
		f.mute[i] = i%2 == 0
	}
	f.pass(40, nil)
	f.say(event.RolloutStageStarted{Rollout: "r", Stage: 2})
	f.pass(2, nil)
	s := &f.judge.rollouts[0].on
	if s.strata[0].drawnT != 10 || s.strata[0].drawnC != 30 {
		t.Fatalf("%+v", s.strata)
	}
	f.mute = map[int]bool{}
	f.pass(10, nil)
	if s.strata[0].drawnT != 20 || s.drawnFail != [2]uint32{} {
		t.Errorf("%+v, %d fail", s.strata, s.drawnFail)
	}
}

func TestWhatWasHeardBeforeTheRolloutIsRemembered(t *testing.T) {
	f := lay(t, plan{treated: 5, devices: 20, soak: 12 * hour})
	f.now = 3 * hour
	f.arms.Remember(func(i int32) (int64, bool) { return f.now - int64(i)*10*minutes, i != 7 })
	f.say(event.RolloutStarted{Rollout: "s", Cohort: "c", Firmware: "3", From: "1", Stages: []event.RolloutStage{{SharePPM: 1, SoakMS: hour}}, Design: event.DefaultRolloutDesign()})
	f.say(event.RolloutAssigned{Rollout: "s", Stage: 1, Devices: []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9}})
	f.say(event.RolloutStageStarted{Rollout: "s", Stage: 1})
	for _, u := range f.arms.find("s").units {
		if want := u.device < 3; want != (u.flags&drawn != 0) { // heard less than half an hour ago
			t.Errorf("device %d: %b", u.device, u.flags)
		}
	}
}

// A stage that began although the one before had failed keeps what that lost.
func TestAFailedRolloutThatGoesOnForgetsNoDevice(t *testing.T) {
	f := lay(t, plan{treated: 20, devices: 100, sites: 4, soak: 2 * hour, stages: 2})
	f.pass(10, nil)
	f.update(0, 20, f.now+1)
	f.pass(10, nil)
	for i := range 8 {
		f.crash(i, f.now+1)
	}
	f.pass(10, nil)
	if v := f.last(); v.Verdict != event.VerdictFail || len(f.signals[len(f.signals)-1].Devices) != 8 {
		t.Fatalf("%+v", v)
	}
	f.say(event.RolloutStageStarted{Rollout: "r", Stage: 2})
	f.pass(10, nil)
	f.fork = true
	f.update(20, 40, f.now+1)
	f.pass(5, nil)
	f.crash(0, f.now+1) // again
	f.crash(30, f.now+1)
	f.pass(5, nil)
	s := f.signals[len(f.signals)-1]
	if len(s.Devices) != 9 || s.Count != 9 || !strings.HasPrefix(s.Why, "Stage 1 fails: 8 of 20 updated devices failed") || !strings.Contains(s.Why, "Stage 2 went on all the same: 2 of ") {
		t.Errorf("%+v", s)
	}
}
