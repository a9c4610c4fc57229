package update

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

func TestSilenceAfterAnUpdateIsAFailure(t *testing.T) {
	f := lay(t, plan{treated: 20, devices: 100, sites: 4, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 20, f.now)
	f.pass(10, nil)
	for i := range 6 {
		f.mute[i] = true
	}
	begin := f.now
	f.pass(60, nil)
	v := f.last()
	if v.Verdict != event.VerdictFail || !v.Final || v.FailedTreated != 4 || v.FailedControl != 0 || v.Treated != 20 || v.Control != 80 ||
		!reflect.DeepEqual(v.Kinds, []event.KindCount{{Kind: "silence", Treated: 4}}) || v.At > begin+45*minutes || v.Stage != 1 {
		t.Fatalf("%+v", v)
	}
	if v.Effect != most*1e6 || v.Low <= 1e6 || v.EFail < 2e6 || len(v.Devices) != 4 || v.Devices[0].Since > begin {
		t.Errorf("%+v", v)
	}
	if len(f.signals) != 3 || f.signals[2].Count != 6 { // and one for each tick in which more of them are missed
		t.Fatalf("%d signals", len(f.signals))
	}
	s := f.signals[0]
	if want := "rollout r of firmware 2 to cohort c fails: 4 devices with it worse off"; s.Title != want {
		t.Errorf("%q, want %q", s.Title, want)
	}
	if s.Kind != event.UpdateFailure || s.Cause != incident.CauseFailures || s.Subject != (event.Subject{Cohort: "c", Rollout: "r"}) || s.Count != 4 || s.Since > begin || s.Why != v.Why {
		t.Errorf("%+v", s)
	}
	f.say(event.RolloutChanged{Rollout: "r", State: event.RolloutRollingBack})
	f.pass(1, nil)
	f.say(event.RolloutChanged{Rollout: "r", State: event.RolloutRolledBack})
	f.pass(1, nil)
	if s := f.signals[len(f.signals)-1]; !s.Over || !s.Now || len(f.signals) != 4 || len(f.verdicts) != 2 || f.verdicts[0].Verdict != event.VerdictHold {
		t.Errorf("%+v", s)
	}
	if len(f.judge.rollouts) != 0 || len(f.arms.rollouts) != 0 {
		t.Error("a rollout that is over is kept")
	}
}

func TestBothArmsFallSilentByTheSameRule(t *testing.T) {
	f := lay(t, plan{treated: 20, devices: 40, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 20, f.now)
	f.pass(10, nil)
	for i := range 40 { // a power cut
		f.mute[i] = true
	}
	f.pass(60, nil)
	failed := map[int64][2]uint32{}
	for _, a := range f.pages {
		n := failed[a.At]
		failed[a.At] = [2]uint32{n[0] + a.FailT, n[1] + a.FailC}
	}
	for at, n := range failed {
		if n[0] != n[1] {
			t.Errorf("at %d fail %d treated and %d others", at, n[0], n[1])
		}
	}
	if a, b := f.total(); a != 20 || b != 20 || f.judge.rollouts[0].on.final || f.judge.rollouts[0].on.drawnFail != [2]uint32{20, 20} {
		t.Errorf("%d and %d fail: %+v", a, b, f.verdicts)
	}
}

func TestOurOwnOutageIsNobodysSilence(t *testing.T) {
	f := lay(t, plan{treated: 20, devices: 40, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 20, f.now)
	f.pass(5, nil)
	from := f.now
	for i := 0; i < 40; i += 2 { // the region r0
		f.mute[i] = true
	}
	f.arms.Outage(page.Outage{Region: "r0", From: from})
	f.pass(120, nil)
	if a, b := f.total(); a+b != 0 {
		t.Fatalf("%d and %d fail while their region's gateways are away", a, b)
	}
	f.arms.Outage(page.Outage{Region: "r0", From: from, Until: f.now})
	f.pass(20, nil)
	if a, b := f.total(); a+b != 0 {
		t.Fatalf("%d and %d fail before they could speak", a, b)
	}
	f.pass(20, nil)
	if a, b := f.total(); a != 10 || b != 10 {
		t.Errorf("%d and %d stay silent", a, b)
	}
	f.mute[1] = true
	f.arms.Outage(page.Outage{All: true, From: f.now, Until: f.now + 1})
	f.pass(29, nil)
	if a, b := f.total(); a+b != 20 {
		t.Errorf("%d and %d", a, b)
	}
}

func TestAPostponedUpdateIsNeitherAFailureNorAnEntry(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: hour})
	f.pass(10, nil)
	for i := range 10 {
		f.ota(i, f.now+1, "postponed")
	}
	f.pass(10, nil)
	f.crash(3, f.now+1)
	f.pass(200, nil)
	a, _ := f.total()
	risk, controls := f.risk(1)
	if s := &f.judge.rollouts[0].on; a != 0 || risk != 0 || controls != 40 || s.late != 10 || s.entered != 0 || len(f.verdicts) != 0 {
		t.Errorf("%d fail of %d, %d controls, %d postponed: %+v", a, risk, controls, s.late, f.verdicts)
	}
	f.update(0, 10, f.now+1)
	f.pass(10, nil)
	risk, _ = f.risk(1)
	if s := &f.judge.rollouts[0].on; risk != 10 || s.late != 0 || s.entered != 10 || s.ok != 10 {
		t.Errorf("%d at risk, %d postponed, %d entered, %d are ok", risk, s.late, s.entered, s.ok)
	}
}

func TestAnUpdateOnPaperOnlyIsCaught(t *testing.T) {
	f := lay(t, plan{treated: 30, devices: 150, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 18, f.now+1)
	for i := 18; i < 30; i++ { // they say ok, and go on with what they had
		f.ota(i, f.now+1, "started")
		f.ota(i, f.now+2, "ok")
	}
	f.pass(12, nil)
	if len(f.verdicts) > 0 {
		t.Fatalf("before anybody can know: %+v", f.last())
	}
	f.pass(20, nil)
	v := f.last()
	if v.Verdict != event.VerdictFail || v.EInstall < 3e6 || v.FailedTreated != 0 || !strings.Contains(v.Why, "of 30 installs failed, ") {
		t.Fatalf("%+v", v)
	}
	if s := f.signals[0]; s.Cause != incident.CauseInstall {
		t.Errorf("%+v", s)
	}
	f.runs[20] = "2" // it had only waited to boot
	f.pass(10, nil)
	if s := &f.judge.rollouts[0].on; s.paper != 11 || s.ok != 19 {
		t.Errorf("%d on paper, %d ok", s.paper, s.ok)
	}
}

func TestSomeInstallsMayFail(t *testing.T) {
	f := lay(t, plan{treated: 30, devices: 150, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 28, f.now+1)
	f.ota(28, f.now+1, "started")
	f.ota(28, f.now+2, "failed")
	f.ota(29, f.now+1, "rolled_back")
	f.pass(60, nil)
	if s := &f.judge.rollouts[0].on; s.bad != 2 || len(f.verdicts) != 0 {
		t.Errorf("%d are bad: %+v", s.bad, f.verdicts)
	}
}

func TestADeviceThatLeavesIsWatchedNoFurther(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 10, f.now+1)
	f.pass(10, nil)
	for _, i := range []int32{0, 1, 40} {
		f.arms.Leave(i, f.now)
	}
	f.arms.Move(41, 0, 0, f.now) // to the cohort that has no name
	for _, i := range []int{0, 1, 40, 41} {
		f.crash(i, f.now+1)
	}
	// another update, by whoever does it
	f.event(2, f.now+1, event.Device{Type: event.OTA, Fields: map[string]any{"to": "3", "result": "started"}})
	f.runs[42] = "2" // a control that was updated by hand
	f.pass(60, nil)
	a, b := f.total()
	treated, control := f.risk(1)
	if a+b != 0 || treated != 7 || control != 37 {
		t.Errorf("%d and %d fail of %d and %d", a, b, treated, control)
	}
}

func TestOnlyTheFirstFailureCounts(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 10, f.now+1)
	for range 5 {
		f.pass(10, func(at int64) { f.crash(0, at); f.crash(30, at) })
	}
	if a, b := f.total(); a != 1 || b != 1 {
		t.Errorf("%d and %d", a, b)
	}
	if treated, control := f.risk(1); treated != 9 || control != 39 {
		t.Errorf("%d and %d are left", treated, control)
	}
}

func TestThreeBootsInAQuarterOfAnHourAreALoop(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 10, f.now+1)
	boot := func(i int, at int64, reason string) {
		f.event(i, at, event.Device{Type: event.Boot, Fields: map[string]any{"reason": reason}})
	}
	f.pass(1, func(at int64) { boot(0, at, "ota"); boot(1, at, "watchdog"); boot(2, at, "watchdog") })
	f.pass(5, nil)
	f.pass(1, func(at int64) { boot(0, at, "watchdog"); boot(1, at, "watchdog") })
	f.pass(5, nil)
	f.pass(1, func(at int64) { boot(0, at, "watchdog"); boot(1, at, "watchdog"); boot(2, at, "watchdog") })
	f.pass(20, nil)
	f.pass(1, func(at int64) { boot(2, at, "watchdog") })
	if f.judge.rollouts[0].on.kinds != [4][2]uint32{bootLoop: {1, 0}} {
		t.Errorf("%v", f.judge.rollouts[0].on.kinds)
	}
}

func TestErrorsAreHeldAgainstTheDevicesOwnPast(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 48 * hour})
	errors := func(i int, at int64, n int64) {
		f.event(i, at, event.Device{Type: event.OSError, Fields: map[string]any{"code": "EIO", "count": n}})
	}
	f.pass(90, func(at int64) {
		if at%hour == 30*minutes+30_000 {
			errors(0, at, 7) // it always had them
		}
	})
	f.update(0, 10, f.now+1)
	f.pass(120, func(at int64) {
		if at%hour == 40*minutes+30_000 {
			errors(0, at, 9)
			errors(1, at, 2)
			errors(2, at, 3)
		}
	})
	if f.judge.rollouts[0].on.kinds != [4][2]uint32{osErrors: {1, 0}} || f.judge.rollouts[0].on.devices[0].ID != "d0002" {
		t.Errorf("%v", f.judge.rollouts[0].on.kinds)
	}
}

func TestWhatComesLateChangesNoTick(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 12 * hour})
	f.pass(10, nil)
	f.update(0, 10, f.now+1)
	f.pass(10, nil)
	f.crash(0, f.now-5*minutes)
	f.crash(30, f.now-5*minutes)
	f.pass(2, nil)
	if a, b := f.total(); a+b != 0 || f.arms.late != 4 { // heard, and crashed
		t.Errorf("%d and %d, %d late", a, b, f.arms.late)
	}
	before := f.judge.rollouts[0].on.found
	f.judge.Cut(f.now+1, []page.Arm{{Rollout: "r", Stage: 1, Stratum: "0|m", At: f.now - 10*minutes, FailT: 1}}, nil)
	f.judge.Cut(f.now+2, []page.Arm{{Rollout: "r", Stage: 7, Stratum: "0|m", At: f.now + 10*minutes, FailT: 1}, {Rollout: "q", Stage: 1, At: f.now}}, nil)
	if f.judge.rollouts[0].on.found != before || f.judge.late != 3 {
		t.Errorf("%d late", f.judge.late)
	}
}

func TestTheDesignNeverChanges(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 50, soak: 12 * hour})
	design := f.judge.rollouts[0].started
	other := design
	other.Design.AlphaPPM, other.Design.MarginPermille, other.Design.TickMS = 500_000, 9_000, 1_000
	f.say(other)
	if !reflect.DeepEqual(f.judge.rollouts[0].started, design) || !reflect.DeepEqual(f.arms.rollouts[0].started, design) || f.judge.refused != 1 || f.arms.refused != 1 {
		t.Error("a second first event is believed")
	}
	f.say(event.RolloutAssigned{Rollout: "r", Stage: 0, Devices: []uint32{1, 2, 3}}) // they are of stage 1
	if f.arms.rollouts[0].units[0].stage != 1 || len(f.arms.rollouts[0].units) != 50 || f.arms.in[0] != 1 {
		t.Error("a device has another stage")
	}
	for _, body := range []event.Body{event.RolloutAssigned{Rollout: "q", Devices: []uint32{1}}, event.RolloutStageStarted{Rollout: "q", Stage: 1}, event.RolloutChanged{Rollout: "q", State: event.RolloutDone}, event.RolloutStageStarted{Rollout: "r", Stage: 9}} {
		f.say(body) // of a rollout, or a stage, that is not known
	}
	if f.arms.rollouts[0].stage != 1 || f.judge.rollouts[0].stage != 1 {
		t.Error("a stage is on that the rollout does not have")
	}
}

func TestASoundUpdatePassesWhenThereIsEnoughToSaySo(t *testing.T) {
	f := lay(t, plan{treated: 100, devices: 400, soak: 2 * hour, design: func(d *event.RolloutDesign) { d.AbsolutePPM, d.MinExposureMS = 50_000, 100*3*hour }})
	f.pass(10, nil)
	f.update(0, 100, f.now+1)
	f.pass(121, nil)
	if v := f.last(); v.Verdict != event.VerdictInconclusive || v.Final || v.EAbsolute < 1.3e6 {
		t.Fatalf("before the exposure that was planned: %+v", v)
	}
	f.pass(70, nil)
	if v := f.last(); v.Verdict != event.VerdictPass || !v.Final || len(f.verdicts) != 2 || v.ExposureMS < 100*3*hour {
		t.Errorf("%+v", f.verdicts)
	}
	f.pass(100, nil)
	if len(f.verdicts) != 2 || len(f.signals) != 0 {
		t.Errorf("it is said again: %+v", f.verdicts)
	}
}

func TestAStageThatIsLeftHasALastWordAndItsEvidenceGoesOn(t *testing.T) {
	f := lay(t, plan{treated: 10, devices: 60, soak: hour, stages: 2})
	f.pass(10, nil)
	f.update(0, 10, f.now+1)
	f.pass(30, nil)
	f.crash(15, f.now+1) // of stage 2: a control of stage 1
	f.crash(40, f.now+1)
	f.pass(2, nil)
	if a, b := f.total(); a != 0 || b != 2 {
		t.Fatalf("%d and %d", a, b)
	}
	f.say(event.RolloutStageStarted{Rollout: "r", Stage: 2})
	f.pass(1, nil)
	v := f.last()
	if v.Verdict != event.VerdictInconclusive || !v.Final || v.Stage != 1 || v.FailedControl != 2 || v.At != f.now {
		t.Fatalf("%+v", v)
	}
	if f.judge.rollouts[0].won >= 0 {
		t.Errorf("two failures of controls are no evidence against the update: %d", f.judge.rollouts[0].won)
	}
	f.pass(10, nil)
	f.update(10, 20, f.now+1)
	f.pass(10, nil)
	if treated, control := f.risk(2); treated != 20 || control != 40 { // those of stage 1 go on, and all are at risk anew
		t.Errorf("%d and %d at risk", treated, control)
	}
	n := len(f.verdicts)
	f.pass(60, nil)
	f.say(event.RolloutChanged{Rollout: "r", State: event.RolloutDone})
	f.pass(1, nil)
	if v := f.last(); !v.Final || v.Stage != 2 || len(f.verdicts) != n+2 || f.verdicts[n].Final {
		t.Errorf("%+v", f.verdicts[n:])
	}
}

func TestAWholeSiteIsOneUnit(t *testing.T) {
	play := func(bySite bool) *field {
		f := lay(t, plan{treated: 2, devices: 200, sites: 20, bySite: bySite, soak: 48 * hour})
		f.pass(10, nil)
		for i := range 200 {
			if f.arms.rollouts[0].units[i].stage == 1 {
				f.update(i, i+1, f.now+1)
			}
		}
		f.pass(10, nil)
		for i := 0; i < 200; i += 20 { // the power of site 0 fails
			f.mute[i] = true
		}
		f.pass(90, nil)
		return f
	}
	f := play(true)
	s := &f.judge.rollouts[0].on
	if len(f.verdicts) != 0 || s.failT != 10 {
		t.Errorf("%d fail: %+v", s.failT, f.verdicts)
	}
	// one of two sites against eighteen: as one round of one failure
	var one evidence
	one.add(round{2, 18, 1, 0}, 2)
	if s.found != one {
		t.Errorf("fail %g, want %g", s.found.fail(), one.fail())
	}
}

func TestHealthIsComparedByRank(t *testing.T) {
	play := func(shift float64, worse int8, treated int) *field {
		f := lay(t, plan{treated: treated, devices: 6 * treated, sites: 3, soak: 2 * hour, health: []event.RolloutHealth{{Metric: "heap", Worse: worse}}})
		f.pass(10, nil)
		f.update(0, treated, f.now+1)
		noise := seeded(9)
		f.pass(125, func(at int64) {
			for i := range f.devices {
				x := noise.NormFloat64() / 2
				if i < treated {
					x += shift
				}
				f.arms.Metric(int32(i), at, []byte("heap"), x+float64(i%7))
				f.arms.Metric(int32(i), at, []byte("other"), 1e9)
			}
		})
		if f.arms.Wants([]byte("other")) {
			t.Error("a metric is wanted that nobody named")
		}
		return f
	}
	if f := play(20, 1, 40); f.last().Verdict != event.VerdictFail || f.signals[0].Cause != incident.CauseHealth {
		t.Errorf("%+v", f.last())
	}
	for _, x := range []struct {
		shift float64
		worse int8
	}{{-20, 1}, {20, -1}, {0, 0}, {0, 1}} {
		for _, v := range play(x.shift, x.worse, 30).verdicts {
			if v.Verdict == event.VerdictFail || v.Verdict == event.VerdictHold {
				t.Errorf("%+v: %+v", x, v)
			}
		}
	}
	if f := play(-20, 0, 40); f.last().Verdict != event.VerdictFail {
		t.Errorf("either: %+v", f.last())
	}
}

func TestABatteryThatGoesFasterIsSeenByItsFallBeforeTheStageEnds(t *testing.T) {
	const treated = 30
	play := func(faster float64) *field {
		f := lay(t, plan{treated: treated, devices: 6 * treated, sites: 3, soak: 4 * hour, health: []event.RolloutHealth{{Metric: "battery", Worse: -1}}})
		f.pass(10, nil)
		f.update(0, treated, f.now+1)
		noise, levels := seeded(9), seeded(10)
		full := make([]float64, f.devices) // batteries are in all states: a mean says nothing
		for i := range full {
			full[i] = 40 + 60*levels.Float64()
		}
		began := f.now
		f.pass(4*60-10-2, func(at int64) {
			for i := range f.devices {
				fall := float64(at-began) / float64(hour)
				if i < treated {
					fall *= faster
				}
				f.arms.Metric(int32(i), at, []byte("battery"), math.Round(full[i]-fall+noise.NormFloat64()/10))
			}
		})
		return f
	}
	if f := play(4); f.last().Verdict != event.VerdictFail || f.signals[0].Cause != incident.CauseHealth {
		t.Errorf("four times as fast: %+v", f.last())
	}
	for _, v := range play(1).verdicts {
		if v.Verdict == event.VerdictFail || v.Verdict == event.VerdictHold {
			t.Errorf("as fast as ever: %+v", v)
		}
	}
}

// wild plays many things at once.
func wild(t testing.TB, fork bool, order uint64) *field {
	f := lay(t, plan{treated: 30, devices: 150, sites: 6, soak: 3 * hour, stages: 2, health: []event.RolloutHealth{{Metric: "heap", Worse: 0}}})
	f.fork = fork
	r, shuffled := seeded(1), seeded(order)
	f.pass(300, func(at int64) {
		var does []func()
		for i := range f.devices {
			switch n := r.IntN(3_000); {
			case n == 0:
				does = append(does, func() { f.crash(i, at) })
			case n == 1:
				f.mute[i] = !f.mute[i]
			case n == 2:
				does = append(does, func() { f.arms.Leave(int32(i), at) })
			case n < 6:
				does = append(does, func() {
					f.event(i, at, event.Device{Type: event.OSError, Fields: map[string]any{"count": int64(2)}})
				})
			case n < 60:
				does = append(does, func() { f.arms.Metric(int32(i), at, []byte("heap"), float64(n)/7) })
			case n < 80 && i < 60:
				what := []string{"started", "ok", "failed", "postponed", "rolled_back", "ok"}[n%6]
				if what == "ok" && n < 76 {
					f.runs[i] = "2"
				}
				does = append(does, func() { f.ota(i, at, what) })
			}
		}
		switch at / minutes {
		case 100:
			f.arms.Outage(page.Outage{Region: "r1", From: f.now})
		case 120:
			f.arms.Outage(page.Outage{Region: "r1", From: f.now - 20*minutes, Until: f.now})
		case 200:
			f.say(event.RolloutStageStarted{Rollout: "r", Stage: 2})
		}
		shuffled.Shuffle(len(does), func(a, b int) { does[a], does[b] = does[b], does[a] })
		for _, do := range does {
			do()
		}
	})
	return f
}

func TestOrderOfDevicesAndRestartsChangeNothing(t *testing.T) {
	want := wild(t, false, 1)
	if a, b := want.total(); a == 0 || b == 0 || len(want.verdicts) == 0 {
		t.Fatalf("%d and %d fail, %d verdicts", a, b, len(want.verdicts))
	}
	for i := range uint64(3) {
		got := wild(t, i > 0, i+2)
		if !reflect.DeepEqual(got.pages, want.pages) || !reflect.DeepEqual(got.verdicts, want.verdicts) || !reflect.DeepEqual(got.signals, want.signals) {
			t.Fatalf("order %d: something else is said", i+2)
		}
	}
}

func TestAMillionDevicesFit(t *testing.T) {
	if n := unsafe.Sizeof(unit{}); n > 24 {
		t.Errorf("a device at risk is %d bytes", n)
	}
	w := watch{place: map[string]uint16{}}
	for i := range 50_000 {
		if at := w.stratum(fmt.Sprint(i, "|m")); int(at) >= len(w.strata) {
			t.Fatal("a stratum has no place")
		}
	}
	if len(w.strata) > maxStrata+buckets {
		t.Errorf("%d strata", len(w.strata))
	}
}

// What there is no room for is told later, whole: the judge knows in the end what it would have known.
func TestArmsThatThereIsNoRoomForAreToldLater(t *testing.T) {
	play := func(most int) *field {
		f := lay(t, plan{treated: 30, devices: 120, sites: 12, soak: 12 * hour})
		f.arms.most = most
		f.pass(10, nil)
		f.update(0, 30, f.now)
		f.pass(10, nil)
		for i := range 24 {
			f.crash(5*i, f.now+1)
			f.pass(1, nil)
		}
		for i := range 12 { // all strata at once
			f.crash(5*i+1, f.now+1)
		}
		f.pass(40, nil)
		return f
	}
	whole := play(maxArms)
	for _, most := range []int{1, 5} {
		few := play(most)
		told := map[int64]int{}
		for _, a := range few.pages {
			told[a.At]++
		}
		for at, n := range told {
			if n > most {
				t.Errorf("at %d %d arms are told of, there is room for %d", at, n, most)
			}
		}
		a, b := &few.judge.rollouts[0].on, &whole.judge.rollouts[0].on
		if !reflect.DeepEqual(a.strata, b.strata) || a.failT != b.failT || a.failC != b.failC || a.kinds != b.kinds || a.entered != b.entered || a.ok != b.ok || few.judge.late != 0 {
			t.Errorf("room for %d:\n%+v\n%+v", most, a, b)
		}
	}
}
