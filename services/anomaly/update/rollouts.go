package update

import (
	"cmp"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// Rollouts is the judge's part.
type Rollouts struct {
	set      Settings
	rollouts []*rollout // in order of name
	late     uint64     // arms of a tick, a stage or a rollout that was over: their failures count nowhere
	refused  uint64     // rollouts that are one too many
}

// rollout is one that runs, as the judge sees it.
type rollout struct {
	started event.RolloutStarted
	stage   uint8
	won     int64 // nanonats: the evidence against it of the stages that are over
	on      stage
	open    bool  // there is an incident
	since   int64 // when it began: the first failure that counts
	lost    lost  // what an earlier stage failed by
	waiting []event.Verdict
	over    bool // nothing more is judged
	closing string
}

// lost is what is kept of the stage that failed, when the rollout goes on: its devices do not come back by that.
type lost struct {
	stage   uint8 // 0: none failed
	why     string
	count   uint32
	devices []event.Member
}

// with is the devices that were lost before and those of now, each once.
func (l *lost) with(now []event.Member) []event.Member {
	if len(l.devices) == 0 {
		return now
	}
	known := map[string]bool{} // looked up, never walked through
	for _, m := range l.devices {
		known[m.ID] = true
	}
	out := slices.Clone(l.devices)
	for _, m := range now {
		if len(out) < event.MaxMembers && !known[m.ID] {
			out = append(out, m)
		}
	}
	return out
}

// NewRollouts knows no rollout yet.
func NewRollouts(s Settings) *Rollouts { return &Rollouts{set: s} }

func rolloutByName(r *rollout, name string) int { return strings.Compare(r.started.Rollout, name) }

func (r *Rollouts) find(name string) *rollout {
	if i, ok := slices.BinarySearchFunc(r.rollouts, name, rolloutByName); ok {
		return r.rollouts[i]
	}
	return nil
}

// Registry takes an event of a rollout. Others say nothing here. What the design says is never changed by a later event.
func (r *Rollouts) Registry(at int64, body event.Body) {
	switch b := body.(type) {
	case event.RolloutStarted:
		i, ok := slices.BinarySearchFunc(r.rollouts, b.Rollout, rolloutByName)
		if ok || len(r.rollouts) >= r.set.Rollouts {
			r.refused++
			return
		}
		r.rollouts = slices.Insert(r.rollouts, i, &rollout{started: b})
	case event.RolloutStageStarted:
		if x := r.find(b.Rollout); x != nil {
			x.begin(at, b.Stage)
		}
	case event.RolloutChanged:
		x := r.find(b.Rollout)
		if x == nil {
			return
		}
		switch b.State {
		case event.RolloutRollingBack:
			x.end(at)
		case event.RolloutAborted, event.RolloutRolledBack, event.RolloutDone:
			x.end(at)
			x.closing = b.State
		}
	}
}

// begin opens a stage, and closes the one before.
func (x *rollout) begin(at int64, number uint8) {
	if x.over || number <= x.stage || int(number) > len(x.started.Stages) {
		return
	}
	x.leave(at)
	x.stage, x.on = number, newStage(at, &x.started)
}

func (x *rollout) end(at int64) {
	if !x.over {
		x.leave(at)
		x.over = true
	}
}

// leave says the last word on the stage that is on: devices that had not soaked to their end when the rollout went on are
// no reason to doubt what is known. What was found against the rollout goes on: over all stages together a sound one is
// failed by chance as seldom as its design says.
func (x *rollout) leave(at int64) {
	if x.stage == 0 {
		return
	}
	if !x.on.final {
		what := event.VerdictInconclusive
		if x.passes(at, x.on.begun) {
			what = event.VerdictPass
		}
		v := x.verdict(what, at)
		v.Final, x.on.final = true, true
		x.waiting = append(x.waiting, v)
	}
	x.won += toNano(x.evidence())
	if x.open {
		s := &x.on
		if x.lost.stage == 0 {
			v := x.verdict(event.VerdictFail, at)
			x.lost.stage, x.lost.why = x.stage, v.Why
		}
		x.lost.devices = x.lost.with(s.devices)
		x.lost.count = max(x.lost.count, s.failT, s.drawnFail[0], uint32(len(x.lost.devices)))
	}
}

// Cut takes what all shards told until an instant, and says what is new. Of a verdict, N, Evidence, Incident and
// Detector are the judge's to fill in.
func (r *Rollouts) Cut(at int64, arms []page.Arm, ranks []page.Rank) ([]event.Verdict, []incident.Signal) {
	r.take(arms)
	r.rank(ranks)
	var verdicts []event.Verdict
	var signals []incident.Signal
	for _, x := range r.rollouts {
		for _, v := range x.waiting {
			v.At = at
			verdicts = append(verdicts, v)
		}
		x.waiting = nil
		if !x.over && x.stage != 0 {
			x.on.until(at)
			if v, ok := x.judge(at); ok {
				verdicts = append(verdicts, v)
			}
			if s, ok := x.signal(at); ok {
				signals = append(signals, s)
			}
		}
		if x.closing != "" && x.open {
			signals = append(signals, x.resolve(at))
			x.open = false
		}
	}
	r.rollouts = slices.DeleteFunc(r.rollouts, func(x *rollout) bool { return x.closing != "" })
	return verdicts, signals
}

// take adds up the arms of all shards, tick by tick.
func (r *Rollouts) take(arms []page.Arm) {
	arms = slices.Clone(arms)
	slices.SortStableFunc(arms, func(a, b page.Arm) int {
		return cmp.Or(strings.Compare(a.Rollout, b.Rollout), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.At, b.At), strings.Compare(a.Stratum, b.Stratum))
	})
	for len(arms) > 0 {
		n := 1
		for n < len(arms) && arms[n].Rollout == arms[0].Rollout && arms[n].Stage == arms[0].Stage && arms[n].At == arms[0].At {
			n++
		}
		x := r.find(arms[0].Rollout)
		switch {
		case x != nil && !x.over && x.stage == arms[0].Stage:
			if !x.on.tick(arms[:n]) {
				r.late += uint64(n)
			}
		default:
			r.late += uint64(n)
		}
		arms = arms[n:]
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// rank compares what the health metrics came to, of all shards together.
func (r *Rollouts) rank(ranks []page.Rank) {
	ranks = slices.Clone(ranks)
	slices.SortStableFunc(ranks, func(a, b page.Rank) int {
		return cmp.Or(strings.Compare(a.Rollout, b.Rollout), cmp.Compare(a.Stage, b.Stage), strings.Compare(a.Metric, b.Metric), compareBool(a.Trend, b.Trend), strings.Compare(a.Stratum, b.Stratum),
			strings.Compare(a.ID, b.ID))
	})
	for len(ranks) > 0 {
		n, first := 1, &ranks[0]
		for n < len(ranks) && ranks[n].Rollout == first.Rollout && ranks[n].Stage == first.Stage && ranks[n].Metric == first.Metric && ranks[n].Trend == first.Trend {
			n++
		}
		if x := r.find(first.Rollout); x != nil && !x.over && x.stage == first.Stage {
			x.on.compare(ranks[:n])
		} else {
			r.late += uint64(n)
		}
		ranks = ranks[n:]
	}
}
