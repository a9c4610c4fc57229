package update

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

// The shares of the four e-values in the one that a rollout is failed by. They are fixed before any rollout, and their
// sum is 1: so the mean is an e-value, however they depend on each other.
const (
	shareFailures = .5  // of those that began, against the control
	shareDrawn    = .35 // of all that were drawn: who is never heard again once it was offered the update is here alone
	shareInstalls = .1
	shareHealth   = .05

	// warn is the part of the evidence for a fail at which a rollout is to be held.
	warn = .2
)

// evidence is the log of the e-value of the stage that is on.
func (x *rollout) evidence() float64 {
	s := &x.on
	return logSum([]float64{
		math.Log(shareFailures) + s.found.fail(),
		math.Log(shareDrawn) + s.drawn.kills(),
		math.Log(shareInstalls) + installs(s.entered, s.bad+s.paper, s.design.InstallPPM),
		math.Log(shareHealth) + s.ill(),
	}, 0)
}

// against is the evidence against the rollout over all its stages, in nanonats, and what it takes to fail it.
func (x *rollout) against() (found, fail, hold int64) {
	need := -math.Log(float64(x.started.Design.AlphaPPM) / 1e6)
	return x.won + toNano(x.evidence()), toNano(need), toNano(need + math.Log(warn))
}

// judge gives a verdict if there is a new one.
func (x *rollout) judge(at int64) (event.Verdict, bool) {
	s := &x.on
	if s.final {
		return event.Verdict{}, false
	}
	found, fail, hold := x.against()
	switch {
	case x.open: // it failed in an earlier stage, and went on
		v := x.verdict(event.VerdictFail, at)
		v.Final, s.final = true, true
		return v, true
	case found >= fail:
		v := x.verdict(event.VerdictFail, at)
		v.Final, s.final, x.open = true, true, true
		x.since = cmp.Or(s.first, s.begun)
		return v, true
	case found >= hold:
		if s.heldAt != 0 {
			return event.Verdict{}, false
		}
		s.heldAt = at
		return x.verdict(event.VerdictHold, at), true
	case s.soaked == 0 || at < max(s.soaked, s.begun+x.started.Stages[x.stage-1].SoakMS):
		return event.Verdict{}, false
	case x.passes(at, s.soaked):
		v := x.verdict(event.VerdictPass, at)
		v.Final, s.final = true, true
		return v, true
	case s.unsure:
		return event.Verdict{}, false
	}
	s.unsure = true // said once; more time may still bring a pass or a fail
	return x.verdict(event.VerdictInconclusive, at), true
}

// passes says whether the update is shown to be no worse than the rollout bears, by devices that have soaked by an
// instant. Time alone shows nothing.
func (x *rollout) passes(at, soaked int64) bool {
	s := &x.on
	if found, _, hold := x.against(); found >= hold || at < max(soaked, s.begun+x.started.Stages[x.stage-1].SoakMS) || s.timeT < max(1, s.design.MinExposureMS) {
		return false
	}
	enough := toNano(-math.Log(float64(s.design.BetaPPM) / 1e6))
	// Both: who never came to begin is in the draw alone.
	return min(toNano(s.found.pass()), toNano(s.drawn.pass())) >= enough || s.design.AbsolutePPM > 0 && at >= s.soaked && toNano(s.rare()) >= enough
}

// rare is the log of the e-value against "too many devices fail, whatever the others do", of those that have soaked.
func (s *stage) rare() float64 {
	watched, _ := s.seen()
	return rare(watched, max(s.failT, s.drawnFail[0]), s.design.AbsolutePPM)
}

// seen is how many devices were at risk, and have not left. Who failed in the last tick is at risk in it still.
func (s *stage) seen() (treated, control uint32) {
	for i := range s.strata {
		treated += s.strata[i].riskT
		control += s.strata[i].riskC
	}
	return treated + s.failT - s.fell[0], control + s.failC - s.fell[1]
}

// drawnSeen is the same of those that were drawn.
func (s *stage) drawnSeen() (treated, control uint32) {
	for i := range s.strata {
		treated += s.strata[i].drawnT
		control += s.strata[i].drawnC
	}
	return treated + s.drawnFail[0] - s.drawnFell[0], control + s.drawnFail[1] - s.drawnFell[1]
}

// log10 of e to the x, in micro; saturated.
func log10(x float64) int64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return micro(max(-1e6, min(1e6, x/math.Ln10)))
}

func (x *rollout) verdict(what string, at int64) event.Verdict {
	s := &x.on
	effect, low, high := s.found.effect()
	treated, control := s.seen()
	v := event.Verdict{Rollout: x.started.Rollout, Stage: x.stage, Verdict: what, At: at, Design: s.design,
		Effect: micro(effect), Low: micro(low), High: micro(high),
		EFail: log10(s.found.fail()), EPass: log10(s.found.pass()), EAbsolute: log10(s.rare()), EInstall: log10(installs(s.entered, s.bad+s.paper, s.design.InstallPPM)),
		Treated: treated, Control: control, FailedTreated: s.failT, FailedControl: s.failC, ExposureMS: s.timeT,
		EDrawn: log10(s.drawn.kills()), DrawnFailedTreated: s.drawnFail[0], DrawnFailedControl: s.drawnFail[1],
		EHealth: log10(s.ill()), ComparedTreated: s.compared[0], ComparedControl: s.compared[1],
		Smallest: micro(x.smallest()), Devices: slices.Clone(s.devices)}
	v.DrawnTreated, v.DrawnControl = s.drawnSeen()
	for k, n := range s.kinds {
		if n[0]+n[1] > 0 {
			v.Kinds = append(v.Kinds, event.KindCount{Kind: kinds[k], Treated: n[0], Control: n[1]})
		}
	}
	slices.SortFunc(v.Kinds, func(a, b event.KindCount) int { return strings.Compare(a.Kind, b.Kind) })
	v.Why = x.why(&v)
	return v
}

// smallest is the effect that would have been seen.
func (x *rollout) smallest() float64 {
	s := &x.on
	need := -math.Log(float64(s.design.AlphaPPM)/1e6) - math.Log(shareFailures/float64(len(failing)))
	return smallest(float64(s.timeT), float64(s.timeC), s.failC, need)
}

func (x *rollout) why(v *event.Verdict) string {
	s := &x.on
	arms := fmt.Sprintf("%d of %d updated devices failed, %d of %d others", v.FailedTreated, v.Treated, v.FailedControl, v.Control)
	if n := s.bad + s.paper; n > 0 {
		arms += fmt.Sprintf("; %d of %d installs failed, %d of them only said to be done", n, s.entered, s.paper)
	}
	if v.DrawnFailedTreated > v.FailedTreated { // some before they began
		arms += fmt.Sprintf("; of all that were offered it, begun or not, %d of %d failed, and %d of %d others", v.DrawnFailedTreated, v.DrawnTreated, v.DrawnFailedControl, v.DrawnControl)
	}
	if v.Verdict != event.VerdictHold {
		arms += x.compared(v)
	}
	switch v.Verdict {
	case event.VerdictFail:
		if x.lost.stage != 0 {
			return fmt.Sprintf("%s Stage %d went on all the same: %s.", x.lost.why, x.stage, arms)
		}
		return fmt.Sprintf("Stage %d fails: %s. By chance that happens to %s of sound rollouts.", x.stage, arms, share(s.design.AlphaPPM))
	case event.VerdictHold:
		return fmt.Sprintf("Hold stage %d: %s. It is not sure yet that the update does it.", x.stage, arms)
	case event.VerdictPass:
		return fmt.Sprintf("Stage %d passes: %s. That is less than the rollout bears.", x.stage, arms)
	}
	if v.Smallest >= most*1e6 {
		return fmt.Sprintf("Stage %d is inconclusive: %s. No effect could have been seen yet.", x.stage, arms)
	}
	return fmt.Sprintf("Stage %d is inconclusive: %s. Odds %.1f times as high would have been seen, less might not.", x.stage, arms, float64(v.Smallest)/1e6)
}

// compared says at a stage's end of how many the health was compared.
func (x *rollout) compared(v *event.Verdict) string {
	what := "devices"
	if x.on.bySite {
		what = "sites"
	}
	switch {
	case len(x.on.health) == 0:
		return "; health was not compared, for the rollout names no metric"
	case v.ComparedTreated == 0 && v.At < x.on.begun+x.started.Stages[x.stage-1].SoakMS-toTell:
		return "; health is compared when the stage ends"
	case v.ComparedTreated == 0:
		return "; health was not compared, for no such metric came from both arms of any group of like devices"
	}
	return fmt.Sprintf("; health was compared of %d and %d %s", v.ComparedTreated, v.ComparedControl, what)
}

func share(ppm uint32) string { return fmt.Sprintf("%g %%", float64(ppm)/1e4) }

func (x *rollout) subject() event.Subject {
	return event.Subject{Cohort: x.started.Cohort, Rollout: x.started.Rollout}
}

// signal says that the rollout has failed, and says it again when more devices did.
func (x *rollout) signal(at int64) (incident.Signal, bool) {
	s := &x.on
	n := 1 + max(s.failT, s.drawnFail[0]) + s.bad + s.paper // 0 is never
	if !x.open || n == s.told {
		return incident.Signal{}, false
	}
	s.told = n
	v := x.verdict(event.VerdictFail, at)
	v.Devices = x.lost.with(v.Devices)
	found, fail, _ := x.against()
	number := func(name string, value float64, unit string) event.Number {
		return event.Number{Name: name, Micro: micro(value), Unit: unit}
	}
	count := max(s.failT, s.drawnFail[0], x.lost.count, uint32(len(v.Devices)))
	devices := "devices"
	if count == 1 {
		devices = "device"
	}
	return incident.Signal{
		Kind: event.UpdateFailure, Cause: x.cause(), Severity: event.SeverityCritical, Subject: x.subject(), Since: x.since, At: at, Evidence: s.begun,
		Title:   fmt.Sprintf("rollout %s of firmware %s to cohort %s fails: %d %s with it worse off", x.started.Rollout, x.started.Firmware, x.started.Cohort, count, devices),
		Devices: v.Devices, Count: count, Why: v.Why,
		Numbers: []event.Number{
			number("stage", float64(x.stage), ""), number("updated", float64(v.Treated), "devices"), number("others", float64(v.Control), "devices"),
			number("updated_failed", float64(v.FailedTreated), "devices"), number("others_failed", float64(v.FailedControl), "devices"),
			number("installs_failed", float64(s.bad), "devices"), number("installs_on_paper", float64(s.paper), "devices"),
			{Name: "odds_ratio", Micro: v.Effect}, {Name: "odds_ratio_low", Micro: v.Low}, {Name: "odds_ratio_high", Micro: v.High},
			{Name: "evidence", Micro: log10(float64(found) / nano), Unit: "log10"},
			{Name: "evidence_failures", Micro: v.EFail, Unit: "log10"}, {Name: "evidence_installs", Micro: v.EInstall, Unit: "log10"},
			{Name: "evidence_health", Micro: log10(s.ill()), Unit: "log10"},
			{Name: "evidence_offered", Micro: v.EDrawn, Unit: "log10"}, number("offered", float64(v.DrawnTreated), "devices"), number("offered_failed", float64(v.DrawnFailedTreated), "devices"),
			number("exposure", float64(v.ExposureMS)/60_000, "device-minutes"),
		},
		Thresholds: []event.Number{{Name: "evidence", Micro: log10(float64(fail) / nano), Unit: "log10"}},
	}, true
}

// cause is what says most against the rollout.
func (x *rollout) cause() string {
	s := &x.on
	failures, install, health := max(shareFailures*math.Exp(s.found.fail()), shareDrawn*math.Exp(s.drawn.kills())), shareInstalls*math.Exp(installs(s.entered, s.bad+s.paper, s.design.InstallPPM)), shareHealth*math.Exp(s.ill())
	switch max(failures, install, health) {
	case failures:
		return incident.CauseFailures
	case install:
		return incident.CauseInstall
	}
	return incident.CauseHealth
}

// resolve closes the incident: nobody is updated any more by a rollout that is over.
func (x *rollout) resolve(at int64) incident.Signal {
	why := map[string]string{event.RolloutAborted: "The rollout was aborted.", event.RolloutRolledBack: "The rollout was rolled back.", event.RolloutDone: "The rollout was declared done."}
	return incident.Signal{Kind: event.UpdateFailure, Severity: event.SeverityCritical, Subject: x.subject(), Since: x.since, At: at, Over: true, Now: true, Why: why[x.closing]}
}
