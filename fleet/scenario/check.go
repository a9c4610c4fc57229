package scenario

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// fill sets what stands for something else unless told.
func (s *Scenario) fill() {
	for i := range s.Cohorts {
		c := &s.Cohorts[i]
		if c.ID == "" {
			c.ID = c.Name + "-%04d"
		}
		if c.Profile == "" {
			c.Profile = c.Name
		}
	}
}

// at reports something that two places say together. It stays quiet where the value itself was at fault.
func (d *decoder) at(path, what, limit, do string) {
	if d.bad[path] {
		return
	}
	n := d.places[path]
	for p := path; n == nil; { // a default: the nearest mapping around it
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			n = &yaml.Node{Line: 1, Column: 1}
			break
		}
		p = p[:i]
		n = d.places[p]
	}
	d.problem(n, path, what, limit, do)
}

func key(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// check looks at what no single key says.
func (d *decoder) check(s *Scenario) {
	d.cohorts(s)
	d.firmware(s)
	d.rollouts(s)
	devices := 0
	for i := range s.Cohorts {
		devices += s.Cohorts[i].Devices
	}
	for i := range s.Faults {
		d.fault(s, i)
		if b := s.Faults[i].EnrolmentBurst; b != nil {
			devices += b.Devices
		}
	}
	if devices > MaxDevices {
		d.at("cohorts", fmt.Sprintf("has %d devices in all", devices), fmt.Sprintf("at most %d", MaxDevices), "make the cohorts smaller")
	}
}

func (d *decoder) cohorts(s *Scenario) {
	names := map[string]bool{}
	for i := range s.Cohorts {
		c, at := &s.Cohorts[i], key("cohorts", i)
		if names[c.Name] && c.Name != "" {
			d.at(at+".name", strconv.Quote(c.Name)+" is the name of two cohorts", "", "give one of them another")
		}
		names[c.Name] = true
		if c.Name != "" && !(field{form: "pattern"}).ok(c.ID) {
			d.at(at+".id", strconv.Quote(clip(c.ID))+" makes ids of more than 63 bytes", "", "set a shorter id")
			c.ID = ""
		}
		if c.Sites > c.Devices && c.Devices > 0 {
			d.at(at+".sites", fmt.Sprintf("are %d for %d devices", c.Sites, c.Devices), "at most one a device", "")
		}
		for j := range i {
			if collide(c.ID, s.Cohorts[j].ID) {
				d.at(at+".id", fmt.Sprintf("ids of %s and of cohort %s may be the same", clip(c.ID), s.Cohorts[j].Name), "", "set another pattern")
				break
			}
		}
		d.metrics(c, at)
		if c.Sleep != nil && (c.Sleep.For >= c.Sleep.Every || time.Duration(c.Sleep.From) >= c.Sleep.Every) {
			d.at(at+".sleep", "goes on for its whole period, or begins after it", "want from and for below every", "")
		}
		if c.Clock.Wrong.Share > 0 && c.Clock.Wrong.By == 0 {
			d.at(at+".clock.wrong.by", "is 0s", "", "say by how much the clocks are wrong, as -3y")
		}
	}
}

// ok says whether a text has the field's form.
func (f field) ok(s string) bool { return f.wrong(s) == "" }

// collide says whether two patterns can make the same id: what one has more than the other could be digits.
func collide(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	headA, tailA := split(a)
	headB, tailB := split(b)
	if len(headA) > len(headB) {
		headA, headB = headB, headA
	}
	if len(tailA) > len(tailB) {
		tailA, tailB = tailB, tailA
	}
	moreHead, ok := strings.CutPrefix(headB, headA)
	moreTail, ends := strings.CutSuffix(tailB, tailA)
	return ok && ends && strings.Trim(moreHead+moreTail, "0123456789") == ""
}

func split(pattern string) (head, tail string) {
	head, tail, _ = strings.Cut(pattern, "%")
	return head, tail[strings.IndexByte(tail, 'd')+1:]
}

func (d *decoder) metrics(c *Cohort, at string) {
	names := map[string]bool{}
	values := 0.0
	for i := range c.Metrics {
		m, at := &c.Metrics[i], at+"."+key("metrics", i)
		if names[m.Name] && m.Name != "" {
			d.at(at+".name", strconv.Quote(m.Name)+" is the name of two metrics", "", "give one of them another")
		}
		names[m.Name] = true
		switch {
		case m.Kind == "state" && len(m.Of) < 2:
			d.at(at+".of", fmt.Sprintf("has %d texts", len(m.Of)), "a state has at least two", "list them, as of: [idle, run]")
		case m.Kind != "state" && len(m.Of) > 0:
			d.at(at+".of", "is for metrics of kind state", "", "set kind: state, or leave it out")
		}
		for k, text := range m.Of {
			if len(text) > maxState {
				d.at(at+"."+key("of", k), fmt.Sprintf("has %d bytes", len(text)), fmt.Sprintf("at most %d", maxState), "")
			}
		}
		if m.Min != nil && m.Max != nil && *m.Min >= *m.Max {
			d.at(at+".min", "is not below max", "", "")
		}
		if m.Model.Follows == "battery" && c.Battery == nil {
			d.at(at+".model.follows", "follows a battery that the cohort does not have", "", "add battery: {lasts: 90d} to the cohort")
		}
		if m.Every > 0 && c.Interval > 0 && m.Every%c.Interval != 0 && c.Interval%m.Every != 0 {
			d.at(at+".every", FormatSpan(m.Every)+" does not fit the interval of "+FormatSpan(c.Interval), "a part or a multiple of it", "")
		}
		if m.Every > 0 {
			values += float64(c.Interval) / float64(m.Every)
		} else {
			values++
		}
	}
	if values > MaxValues {
		d.at(at+".metrics", fmt.Sprintf("make %.0f values an interval", values), fmt.Sprintf("at most %d", MaxValues), "measure less often, or send more often")
	}
}

// maxState bounds a state's text: a message holds hundreds of them.
const maxState = 128

// MaxValues that a device makes in one interval.
const MaxValues = 100_000

func (d *decoder) firmware(s *Scenario) {
	used := map[string]bool{}
	for i := range s.Cohorts {
		used[s.Cohorts[i].Firmware] = true
	}
	for i := range s.Rollouts {
		used[s.Rollouts[i].Firmware] = true
	}
	seen := map[string]bool{}
	battery := false
	for i := range s.Cohorts {
		battery = battery || s.Cohorts[i].Battery != nil
	}
	for i := range s.Firmware {
		f, at := &s.Firmware[i], key("firmware", i)
		if seen[f.Version] {
			d.at(at+".version", strconv.Quote(f.Version)+" is there twice", "", "keep one of the two")
		}
		seen[f.Version] = true
		if !used[f.Version] {
			d.at(at+".version", strconv.Quote(f.Version)+" is run by no cohort and brought by no rollout", "", "add a rollout, or leave the version out")
		}
		if f.Leaks != nil {
			d.numeric(s, at+".leaks.metric", f.Leaks.Metric)
		}
		for j := range f.Shifts {
			d.numeric(s, at+"."+key("shifts", j)+".metric", f.Shifts[j].Metric)
		}
		if f.Drains != nil && !battery {
			d.at(at+".drains", "drains batteries, and no cohort has one", "", "add battery: {lasts: 90d} to a cohort")
		}
		if f.Fails+f.RollsBack+f.Paper > 1 {
			d.at(at+".fails", "and rolls-back and paper are more than all updates", "want at most 100% together", "")
		}
	}
}

// numeric reports a metric that no cohort has as a number.
func (d *decoder) numeric(s *Scenario, path, name string) {
	for i := range s.Cohorts {
		if j := s.Cohorts[i].MetricNamed(name); j >= 0 && s.Cohorts[i].Metrics[j].numeric() {
			return
		}
	}
	d.at(path, strconv.Quote(clip(name))+" is no metric of a cohort, or no gauge and no float", "", "name one that is")
}

func (m *Metric) numeric() bool { return m.Kind == "gauge" || m.Kind == "float" }

func (d *decoder) rollouts(s *Scenario) {
	type span struct {
		name    string
		at, end time.Duration
	}
	busy := map[string][]span{}
	for i := range s.Rollouts {
		r, at := &s.Rollouts[i], key("rollouts", i)
		if s.CohortNamed(r.Cohort) < 0 {
			d.unknown(at+".cohort", r.Cohort, "cohort", cohortNames(s))
		}
		if s.FirmwareNamed(r.Firmware) == nil {
			var versions []string
			for j := range s.Firmware {
				versions = append(versions, s.Firmware[j].Version)
			}
			d.unknown(at+".firmware", r.Firmware, "firmware", versions, "add it to firmware, with no more than its version if it behaves")
		}
		end := r.At
		for j := range r.Stages {
			st, at := &r.Stages[j], at+"."+key("stages", j)
			if end >= s.Lasts && s.Lasts > 0 {
				d.at(at, "begins "+FormatSpan(end)+" after the beginning, when the scenario is over", "it lasts "+FormatSpan(s.Lasts), "begin earlier, or soak less")
			}
			end += st.Soak
			if j > 0 && st.Share <= r.Stages[j-1].Share {
				d.at(at+".share", fmt.Sprintf("%g%% is not above that of the stage before, %g%%", 100*float64(st.Share), 100*float64(r.Stages[j-1].Share)), "", "shares include the earlier stages")
			} else if st.Share == 0 {
				d.at(at+".share", "is 0%", "", "a stage takes someone")
			}
		}
		for _, b := range busy[r.Cohort] {
			if r.At < b.end && b.at < end {
				d.at(at+".at", "begins while the rollout of "+b.name+" to the same cohort goes on", "that one goes from "+FormatSpan(b.at)+" to "+FormatSpan(b.end), "begin after it")
			}
		}
		busy[r.Cohort] = append(busy[r.Cohort], span{r.Firmware, r.At, end})
	}
}

func cohortNames(s *Scenario) (out []string) {
	for i := range s.Cohorts {
		if s.Cohorts[i].Name != "" {
			out = append(out, s.Cohorts[i].Name)
		}
	}
	return out
}

func (d *decoder) unknown(path, name, what string, there []string, or ...string) {
	do := "there is none"
	if len(there) > 0 {
		if len(there) > 10 {
			there = append(there[:10:10], "...")
		}
		do = "there are " + strings.Join(there, ", ")
		if len(there) == 1 {
			do = "there is only " + there[0]
		}
	}
	d.at(path, strconv.Quote(clip(name))+" is no "+what+" of the scenario", "", strings.Join(append([]string{do}, or...), "; "))
}
