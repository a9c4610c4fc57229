package scenario

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Kind of the fault: the key that is set.
func (f *Fault) Kind() string {
	v := reflect.ValueOf(f).Elem()
	for _, k := range fieldsOf(v.Type()) {
		if k.kind && !v.FieldByIndex(k.index).IsNil() {
			return k.key
		}
	}
	return ""
}

// Target of the fault; nil if it does not befall devices that are there.
func (f *Fault) Target() *Target {
	switch {
	case f.PowerLoss != nil:
		return &f.PowerLoss.Target
	case f.RadioLoss != nil:
		return &f.RadioLoss.Target
	case f.Silence != nil:
		return f.Silence
	case f.Restart != nil:
		return f.Restart
	case f.Clone != nil:
		return f.Clone
	case f.ClockStep != nil:
		return &f.ClockStep.Target
	case f.Interval != nil:
		return &f.Interval.Target
	case f.CostSpike != nil:
		return &f.CostSpike.Target
	case f.Anomaly != nil:
		return &f.Anomaly.Target
	case f.Retire != nil:
		return f.Retire
	case f.Revoke != nil:
		return &f.Revoke.Target
	}
	return nil
}

// momentary are the kinds that have no length.
var momentary = []string{"restart", "retire", "revoke"}

func (d *decoder) fault(s *Scenario, i int) {
	f, at := &s.Faults[i], key("faults", i)
	var kinds, all []string
	v := reflect.ValueOf(f).Elem()
	for _, k := range fieldsOf(v.Type()) {
		if k.kind {
			all = append(all, k.key)
			if !v.FieldByIndex(k.index).IsNil() {
				kinds = append(kinds, k.key)
			}
		}
	}
	switch {
	case len(kinds) == 0 && !d.badWithin(at):
		d.at(at, "has no kind", "", "add one of "+strings.Join(all, ", "))
	case len(kinds) > 1:
		d.at(at+"."+kinds[1], "is a second kind beside "+kinds[0], "", "make two faults of it")
	}
	if len(kinds) != 1 {
		return
	}
	kind := at + "." + kinds[0]
	switch {
	case s.Lasts <= 0:
	case f.At >= s.Lasts:
		d.at(at+".at", FormatSpan(f.At)+" is after the scenario's end", "it lasts "+FormatSpan(s.Lasts), "")
	case f.At+f.For > s.Lasts:
		d.at(at+".for", "it ends after the scenario", "it lasts "+FormatSpan(s.Lasts), "leave for out if it goes on to the end")
	}
	if f.For > 0 && slices.Contains(momentary, kinds[0]) {
		d.at(at+".for", "is a length, and "+kinds[0]+" has none", "", "leave it out")
	}
	if t := f.Target(); t != nil {
		d.target(s, t, kind)
	}
	for _, r := range []*RegionFault{f.GatewayOutage, f.RegionOutage} {
		if r != nil && r.Region != "" && !slices.Contains(s.Regions(), r.Region) {
			d.unknown(kind+".region", r.Region, "region", s.Regions())
		}
	}
	switch {
	case f.EnrolmentBurst != nil && s.CohortNamed(f.EnrolmentBurst.Cohort) < 0:
		d.unknown(kind+".cohort", f.EnrolmentBurst.Cohort, "cohort", cohortNames(s))
	case f.ClockStep != nil && f.ClockStep.By == 0:
		d.at(kind+".by", "is 0s", "", "say by how much the clock steps")
	case f.CostSpike != nil:
		d.spike(s, f.CostSpike, kind)
	case f.Anomaly != nil:
		d.anomaly(s, f.Anomaly, kind)
	}
}

// badWithin says whether something under a path is wrong already.
func (d *decoder) badWithin(path string) bool {
	for p := range d.bad {
		if strings.HasPrefix(p, path) {
			return true
		}
	}
	return false
}

func (d *decoder) target(s *Scenario, t *Target, at string) {
	if t.Devices > 0 && d.places[at+".share"] != nil {
		d.at(at+".devices", "and share are both there", "", "keep one of the two")
	}
	if t.Cohort == "" {
		if t.Site > 0 {
			d.at(at+".site", "is a site of no cohort", "", "name the cohort")
		}
		return
	}
	i := s.CohortNamed(t.Cohort)
	if i < 0 {
		d.unknown(at+".cohort", t.Cohort, "cohort", cohortNames(s))
		return
	}
	c := &s.Cohorts[i]
	if t.Site > c.Sites {
		d.at(at+".site", fmt.Sprintf("is %d", t.Site), fmt.Sprintf("cohort %s has %d", c.Name, c.Sites), "")
	}
	if t.Devices > c.Devices {
		d.at(at+".devices", fmt.Sprintf("are %d", t.Devices), fmt.Sprintf("cohort %s has %d", c.Name, c.Devices), "")
	}
}

// each visits the cohorts that a target may befall.
func (s *Scenario) each(t *Target, visit func(c *Cohort)) {
	for i := range s.Cohorts {
		if t.Cohort == "" || s.Cohorts[i].Name == t.Cohort {
			visit(&s.Cohorts[i])
		}
	}
}

func (d *decoder) spike(s *Scenario, f *CostSpike, at string) {
	s.each(&f.Target, func(c *Cohort) {
		if c.MetricNamed(f.Metric) < 0 {
			d.at(at+".metric", strconv.Quote(clip(f.Metric))+" is no metric of cohort "+c.Name, "", "name one that is")
		}
		if n := float64(f.Rate) * c.Interval.Seconds(); n > MaxValues {
			d.at(at+".rate", fmt.Sprintf("makes %.0f values in an interval of %s", n, FormatSpan(c.Interval)), fmt.Sprintf("at most %d", MaxValues), "")
		}
	})
}

func (d *decoder) anomaly(s *Scenario, f *Anomaly, at string) {
	s.each(&f.Target, func(c *Cohort) {
		if j := c.MetricNamed(f.Metric); j < 0 || !c.Metrics[j].numeric() {
			d.at(at+".metric", strconv.Quote(clip(f.Metric))+" is no gauge and no float of cohort "+c.Name, "", "name one that is")
		}
	})
	switch f.Kind {
	case "jump", "drift":
		if f.By == 0 {
			d.at(at+".by", "is 0", "", "say by how much the metric moves")
		}
	case "noise":
		if f.By <= 1 || f.By > 1e6 {
			d.at(at+".by", fmt.Sprintf("is %g", f.By), "above 1, at most 1000000", "say how many times as much")
		}
	case "slow":
		if f.By < 2 || f.By > 1e6 || f.By != float64(int(f.By)) {
			d.at(at+".by", fmt.Sprintf("is %g", f.By), "a whole number from 2 to 1000000", "each by-th value comes")
		}
	default:
		if f.By != 0 {
			d.at(at+".by", "means nothing to "+f.Kind, "", "leave it out")
		}
	}
}
