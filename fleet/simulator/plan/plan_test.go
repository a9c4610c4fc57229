package plan_test

import (
	"reflect"
	"strings"
	"testing"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
)

func newPlan(t *testing.T, text string, seed uint64) *plan.Plan {
	t.Helper()
	s, err := scenario.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(s, seed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const text = `
scenario: planned
lasts: 4w
cohorts:
  - {name: a, devices: 50, sites: 5, metrics: [{name: x}], churn: {joins: 7/w, leaves: 7/w, replaced: 7/w}, site-outages: {rate: 1/w}, sleep: {for: 1h}}
  - {name: b, devices: 40, region: south, firmware: 1.1.0, metrics: [{name: x}]}
firmware: [{version: 2.0.0, silent: {chance: 30%}}]
rollouts: [{firmware: 2.0.0, cohort: b, at: 1w, stages: [{share: 10%, soak: 1d}, {share: 50%}]}]
faults:
  - {at: 1d, for: 1h, power-loss: {cohort: b, share: 25%}}
  - {at: 2d, retire: {cohort: b, devices: 4}}
  - {at: 3d, restart: {cohort: b}}
  - {at: 4d, for: 1h, gateway-outage: {region: south}}
  - {at: 1d, for: 2h, pipeline-stall: {stage: log}}
  - {at: 5d, for: 1h, enrolment-burst: {cohort: b, devices: 9}}
`

func TestAPlanIsAFunctionOfScenarioAndSeed(t *testing.T) {
	one, again, other := newPlan(t, text, 1), newPlan(t, text, 1), newPlan(t, text, 2)
	if !reflect.DeepEqual(one.Devices(), again.Devices()) || !reflect.DeepEqual(one.Truth(), again.Truth()) {
		t.Error("the same seed makes two plans")
	}
	if reflect.DeepEqual(one.Truth(), other.Truth()) {
		t.Error("two seeds make one plan")
	}
}

// TestWhoIsThereIsBefallen counts whom each fault takes: its share of who is there, and nobody else.
func TestWhoIsThereIsBefallen(t *testing.T) {
	p := newPlan(t, text, 1)
	for fault, want := range map[int]int{0: 10, 1: 4, 2: 36, 3: 0} {
		lot, n := p.Lot(fault), 0
		for i, d := range p.Devices() {
			if !lot.Has(i) {
				continue
			}
			n++
			if !strings.HasPrefix(d.ID, "b-") || lot.At < d.Joins || d.Leaves < lot.At {
				t.Errorf("fault %d takes %+v", fault, d)
			}
			if fault == 1 && (d.Leaves != lot.At || d.Cause != "retired") {
				t.Errorf("%+v was retired at %d", d, lot.At)
			}
		}
		if n != want {
			t.Errorf("fault %d takes %d, want %d", fault, n, want)
		}
	}
}

func TestDevicesComeAndGo(t *testing.T) {
	p := newPlan(t, text, 1)
	ids := map[string]plan.Device{}
	came, went, replaced := 0, 0, 0
	for i, d := range p.Devices() {
		if d.Index != i || d.Joins < p.Begins() || d.Joins >= p.Until() || d.Leaves <= d.Joins || ids[d.ID].ID != "" {
			t.Errorf("%+v", d)
		}
		ids[d.ID] = d
		if !strings.HasPrefix(d.ID, "a-") {
			continue
		}
		if d.Joins > p.Begins() {
			came++
		}
		if d.Leaves < p.Until() {
			went++
		}
		if d.Replaces != "" {
			replaced++
			if old := ids[d.Replaces]; old.Leaves != d.Joins || old.Site != d.Site || old.Cause != "replaced" {
				t.Errorf("%+v takes the place of %+v", d, old)
			}
		}
	}
	// Four weeks of seven each, by Poisson: of one seed, so it holds always or never.
	if came < 30 || came > 82 || went < 30 || went > 82 || replaced < 12 || replaced > 44 {
		t.Errorf("%d came, %d went, %d were replaced", came, went, replaced)
	}
}

func TestTheControlIsWhomNoStageTakes(t *testing.T) {
	p := newPlan(t, text, 1)
	r := p.Rollout(0)
	var stages [3]int
	for i, d := range p.Devices() {
		stage, part := r.Stage(i)
		if there := d.Cohort == 1 && d.Joins <= r.Begins[0] && r.Begins[0] < d.Leaves; part != there {
			t.Errorf("%+v takes part: %v", d, part)
		}
		if part {
			stages[stage]++
		}
	}
	if stages != [3]int{22, 5, 18} { // of 40, less 4 retired, and 9 of a burst
		t.Errorf("%v", stages)
	}
	if v := p.Version(r.Brings); v.Name != "2.0.0" || v.Is == nil || p.Version(p.VersionNo("1.1.0")).Is != nil {
		t.Errorf("%+v", v)
	}
	silent := 0
	for i := range 1_000 {
		if p.TraitsOf(i, r.Brings).Silent {
			silent++
		}
	}
	if silent < 250 || silent > 350 || p.TraitsOf(5, p.VersionNo("1.0.0")) != (plan.Traits{}) {
		t.Errorf("30 %% of 1000 are %d", silent)
	}
}

func TestOutagesOfOurOwnAreNoDevices(t *testing.T) {
	p := newPlan(t, text, 1)
	day := int64(24 * 3_600_000)
	want := []plan.Outage{{Kind: plan.LogStalled, At: p.Begins() + day, Until: p.Begins() + day + day/12},
		{Kind: plan.GatewayDown, Region: "south", At: p.Begins() + 4*day, Until: p.Begins() + 4*day + day/24}}
	if got := p.Outages(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	last := int64(0)
	for _, o := range p.SiteOutages(0, 2) {
		if o.From < last || o.Until <= o.From || o.Until > p.Until() {
			t.Errorf("%+v after %d", o, last)
		}
		last = o.Until
	}
	if last == 0 || p.SiteOutages(1, 0) != nil {
		t.Error("a site of a has its outages, and b has none")
	}
	kinds := map[string]int{}
	for _, l := range p.Truth() {
		kinds[l.Kind]++
	}
	for _, kind := range []string{"power-loss", "retire", "restart", "gateway-outage", "pipeline-stall", "enrolment-burst", truth.Rollout, truth.SleepPlanned} {
		if kinds[kind] != 1 {
			t.Errorf("%d lines of %s: %v", kinds[kind], kind, kinds)
		}
	}
	if kinds[truth.Stage] != 2 || kinds[truth.SiteOutage] < 5 {
		t.Errorf("%v", kinds)
	}
}

func TestTooManyDevicesAreRefused(t *testing.T) {
	s, err := scenario.Parse("many.yaml", []byte(strings.Replace(strings.Replace(text, "lasts: 4w", "lasts: 100w", 1), "joins: 7/w", "joins: 100000/w", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.New(s, 1); err == nil || !strings.Contains(err.Error(), "2000000 devices") {
		t.Error(err)
	}
}
