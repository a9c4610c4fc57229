package judge

import (
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// One shard may have read the registry further than the others when it cut. What it tells of a stage is added to what was told
// before, so a judge that does not know of the stage yet would be wrong for good.
func TestTheJudgeKnowsOfTheRegistryWhatAnyShardKnew(t *testing.T) {
	const first, last = 0, parts - 1
	h := &history{}
	end := func(part int32) *page.Page { return &page.Page{Part: part, Until: start} }
	for p := range int32(last) {
		h.add(end(p))
	}
	h.say(t, start-1, "ada", event.RolloutStarted{Rollout: "r-1", Cohort: "c", Firmware: "2", Stages: []event.RolloutStage{{SharePPM: 1, SoakMS: 60_000}}, Design: event.DefaultRolloutDesign()})
	h.say(t, start-1, "ada", event.RolloutStageStarted{Rollout: "r-1", Stage: 1})
	p := end(last)
	p.Arms = []page.Arm{{Rollout: "r-1", Stage: 1, Stratum: "s|m", At: start, RiskT: 10, RiskC: 90, Assigned: 10, Entered: 10, SoakedUntil: start + 60_000}}
	h.add(p)
	for p := range int32(parts) { // and then it is over
		h.add(&page.Page{Part: p, Until: start + 10*step})
	}
	for _, forward := range []bool{true, false} {
		s, err := New(parts, DefaultSettings())
		if err != nil {
			t.Fatal(err)
		}
		var verdicts []event.Verdict
		s.detect = func(at int64, t *told) ([]event.Verdict, []incident.Signal) {
			v, signals := s.judge(at, t)
			verdicts = append(verdicts, v...)
			return v, signals
		}
		r := readFrom(h, s)
		if !forward {
			for source := last; source >= first; source-- {
				r.give(t, s, source)
			}
			if s.Cuts() != 0 || s.Wants() != 4 {
				t.Errorf("%d cuts, %d is wanted", s.Cuts(), s.Wants())
			}
		}
		r.all(t, s)
		if len(verdicts) == 0 || verdicts[0].Treated != 10 || verdicts[0].Control != 90 {
			t.Errorf("%+v", verdicts)
		}
	}
}
