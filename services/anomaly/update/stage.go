package update

import (
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

const (
	few = 8 // devices at risk below which a stratum is judged with the others of its model

	// rest is how long a site that failed is left out, where the site is the unit: its devices' silences are recognised one
	// after the other. It is longer where the devices are slow to be missed.
	rest = 2 * hour
)

// stage is what the judge knows of a rollout's stage.
type stage struct {
	design   event.RolloutDesign
	bySite   bool
	health   []event.RolloutHealth
	begun    int64
	at       int64 // until when it is judged
	strata   []stratum
	found    evidence       // of those that began, against the control
	drawn    evidence       // of all that were drawn for the stage
	orders   [][sides]order // of each metric
	compared [2]uint32      // treated and control devices, or sites, whose health was held against each other
	ok       uint32
	bad      uint32
	paper    uint32
	late     uint32 // postponed
	offered  uint32
	entered  uint32
	soaked   int64
	failT    uint32
	failC    uint32
	kinds    [len(kinds)][2]uint32
	devices  []event.Member // treated ones that failed, first come
	first    int64          // since when a treated one fails
	timeT    int64          // ms that treated devices were at risk, together; and control ones
	timeC    int64
	heldAt   int64
	unsure   bool // it was said that nothing can be said
	final    bool
	told     uint32    // treated failures at the last signal
	fell     [2]uint32 // treated and control devices that failed in the last tick that was told of

	// Of those that were drawn: treated and control ones that failed, and those of the last tick.
	drawnFail, drawnFell [2]uint32
}

// stratum is what all shards have of one together.
type stratum struct {
	name           string
	riskT, riskC   uint32
	drawnT, drawnC uint32
	rests          [2]int64 // until when it is left out: of those that began, and of the draw
}

func newStage(at int64, s *event.RolloutStarted) stage {
	return stage{design: s.Design, bySite: s.BySite, health: s.Health, begun: at, at: at, orders: make([][sides]order, len(s.Health))}
}

// until counts the time that devices are at risk.
func (s *stage) until(at int64) {
	if at <= s.at {
		return
	}
	for i := range s.strata {
		s.timeT += int64(s.strata[i].riskT) * (at - s.at)
		s.timeC += int64(s.strata[i].riskC) * (at - s.at)
	}
	s.at = at
}

// tick takes the arms of one tick, in order of stratum. It says whether they came in time: else the numbers at risk are
// taken, which are sums, and the failures are not.
func (s *stage) tick(arms []page.Arm) bool {
	at := arms[0].At
	inTime := at > s.at
	if inTime {
		s.until(at - s.design.TickMS)
	}
	type fell struct{ t, c, drawnT, drawnC uint32 }
	before, drawnBefore := [2]uint32{s.failT, s.failC}, s.drawnFail
	falls := map[int]fell{} // looked up, never walked through
	var hit []int
	for i := range arms {
		a := &arms[i]
		k := s.stratum(a.Stratum)
		s.strata[k].riskT += a.RiskT
		s.strata[k].riskC += a.RiskC
		s.strata[k].drawnT += a.DrawnT
		s.strata[k].drawnC += a.DrawnC
		s.ok, s.bad, s.paper, s.late = s.ok+a.InstallOK, s.bad+a.InstallBad, s.paper+a.Paper, s.late+a.Postponed
		s.offered, s.entered, s.soaked = s.offered+a.Assigned, s.entered+a.Entered, max(s.soaked, a.SoakedUntil)
		if a.FailT+a.FailC+a.DrawnFailT+a.DrawnFailC == 0 || !inTime {
			continue
		}
		f, known := falls[k]
		if !known {
			hit = append(hit, k)
		}
		falls[k] = fell{f.t + a.FailT, f.c + a.FailC, f.drawnT + a.DrawnFailT, f.drawnC + a.DrawnFailC}
		s.name(a)
	}
	if !inTime {
		return false
	}
	s.fell = [2]uint32{s.failT - before[0], s.failC - before[1]}
	s.drawnFell = [2]uint32{s.drawnFail[0] - drawnBefore[0], s.drawnFail[1] - drawnBefore[1]}
	defer s.until(at)
	if len(hit) == 0 {
		return true
	}
	rounds := [2][]round{make([]round, len(s.strata)), make([]round, len(s.strata))}
	for i := range s.strata {
		f, t := falls[i], &s.strata[i]
		rounds[0][i] = round{int(t.riskT), int(t.riskC), int(f.t), int(f.c)}
		rounds[1][i] = round{int(t.drawnT), int(t.drawnC), int(f.drawnT), int(f.drawnC)}
	}
	own := float64(s.design.MarginPermille) / 1000
	for which, into := range [...]*evidence{&s.found, &s.drawn} {
		if s.bySite {
			s.sites(into, which, rounds[which], at, arms, own)
		} else {
			s.devicesOf(into, rounds[which], own)
		}
	}
	return true
}

// devicesOf judges device by device: a stratum for itself, and those with few devices together by model. Which is which
// follows from who is at risk, so it is fixed before anybody fails.
func (s *stage) devicesOf(into *evidence, rounds []round, own float64) {
	small := map[string]int{}
	var together []round
	for i, r := range rounds {
		switch {
		case r.riskT+r.riskC < few:
			m := model(s.strata[i].name)
			k, ok := small[m]
			if !ok {
				k = len(together)
				small[m], together = k, append(together, round{})
			}
			t := &together[k]
			t.riskT, t.riskC, t.failT, t.failC = t.riskT+r.riskT, t.riskC+r.riskC, t.failT+r.failT, t.failC+r.failC
		default: // with one arm alone it says nothing
			into.add(r, own)
		}
	}
	for _, r := range together {
		into.add(r, own)
	}
}

// sites judges site by site: one that has a device at risk is at risk, and fails once, however many of its devices do.
func (s *stage) sites(into *evidence, which int, rounds []round, at int64, arms []page.Arm, own float64) {
	slow := map[string]int64{} // of each stratum that failed: how long its devices had been silent
	for i := range arms {
		for _, g := range arms[i].Failed {
			slow[arms[i].Stratum] = max(slow[arms[i].Stratum], at-g.Since)
		}
	}
	type unit struct {
		round
		rests, silent int64
	}
	var units []unit
	place := map[string]int{} // looked up, never walked through
	for i, r := range rounds {
		t := &s.strata[i]
		k, ok := place[site(t.name)]
		if !ok {
			k = len(units)
			place[site(t.name)], units = k, append(units, unit{})
		}
		u := &units[k]
		u.riskT, u.riskC, u.failT, u.failC = max(u.riskT, min(r.riskT, 1)), max(u.riskC, min(r.riskC, 1)), max(u.failT, min(r.failT, 1)), max(u.failC, min(r.failC, 1))
		u.rests, u.silent = max(u.rests, t.rests[which]), max(u.silent, slow[t.name])
	}
	var sum round
	for _, u := range units {
		if u.rests <= at {
			sum.riskT, sum.riskC, sum.failT, sum.failC = sum.riskT+u.riskT, sum.riskC+u.riskC, sum.failT+u.failT, sum.failC+u.failC
		}
	}
	into.add(sum, own)
	for i := range s.strata {
		if u := &units[place[site(s.strata[i].name)]]; u.rests <= at && u.failT+u.failC > 0 {
			s.strata[i].rests[which] = at + max(rest, u.silent/3)
		}
	}
}

// site is what a stratum's name says before the model.
func site(stratum string) string {
	name, _, _ := strings.Cut(stratum, "|")
	return name
}

func (s *stage) stratum(name string) int {
	i, ok := slices.BinarySearchFunc(s.strata, name, func(t stratum, name string) int { return strings.Compare(t.name, name) })
	if ok {
		return i
	}
	s.strata = slices.Insert(s.strata, i, stratum{name: name})
	return i
}

// name takes down who failed, and how.
func (s *stage) name(a *page.Arm) {
	s.failT, s.failC = s.failT+a.FailT, s.failC+a.FailC
	s.drawnFail = [2]uint32{s.drawnFail[0] + a.DrawnFailT, s.drawnFail[1] + a.DrawnFailC}
	for _, g := range a.Failed {
		if k := slices.Index(kinds[:], g.Kind); k >= 0 && g.Part < drawnPart {
			s.kinds[k][1-g.Part]++
		}
		if g.Part&treatedPart == 0 {
			continue
		}
		if s.first == 0 || g.Since < s.first {
			s.first = g.Since
		}
		if len(s.devices) < event.MaxMembers {
			s.devices = append(s.devices, event.Member{ID: g.ID, No: g.No, Since: g.Since, Marks: uint8(g.Marks)})
		}
	}
}

// model is what a stratum's name says behind the site.
func model(stratum string) string {
	_, m, _ := strings.Cut(stratum, "|")
	return m
}
