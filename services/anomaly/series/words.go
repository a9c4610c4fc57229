package series

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

// says is what a finding's kind means, the gravest first.
var says = []struct{ kind, verb string }{
	{"flat-line", "says the same for longer than it ever did"},
	{"rate", "comes at another rate"},
	{"noise", "swings more than it does"},
	{"unlike-peers", "has left its place among its peers"},
	{"jump", "has jumped"},
	{"drift", "drifts"},
	{"unusual", "is unusual"},
}

func gravity(kind string) int {
	for i, s := range says {
		if s.kind == kind {
			return i
		}
	}
	return len(says) - 1
}

// gravest of some findings, at least one.
func gravest(items []item) item {
	return slices.MinFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(gravity(a.kind), gravity(b.kind)), cmp.Compare(b.score, a.score))
	})
}

func (i item) verb() string {
	if i.kind == "rate" && i.value == 0 {
		return "is missing"
	}
	return says[gravity(i.kind)].verb
}

// numbers behind a finding.
func (i item) numbers() []event.Number {
	unit := ""
	if i.kind == "rate" {
		unit = "rows in 5 min"
	}
	return []event.Number{{Name: "score", Micro: i.score}, {Name: "usual", Micro: i.usual, Unit: unit}, {Name: "value", Micro: i.value, Unit: unit}}
}

func (p *Peers) thresholds() []event.Number {
	return []event.Number{{Name: "score", Micro: micro(p.s.Threshold)}}
}

// ofDevice is the signal of one device, and of those that its incident names with it; where none has a finding it is over.
func (p *Peers) ofDevice(at int64, key pairOf, d *suspect, own []item) incident.Signal {
	s := incident.Signal{
		Kind: event.TelemetryAnomaly, Cause: incident.CauseDevice, Severity: event.SeverityInfo, Back: slices.Clone(d.back),
		Subject: event.Subject{Cohort: key.cohort, Metric: d.metric, Device: key.name}, At: at, Period: bucketMS, Thresholds: p.thresholds(),
	}
	all, since, metrics := []item{}, at, []string{}
	name := func(id string, d *suspect, own []item) {
		began := at
		for _, i := range own {
			began = min(began, i.since)
			if i.kind != "unusual" {
				s.Severity = event.SeverityWarning
			}
			if !slices.Contains(metrics, i.metric) {
				metrics = append(metrics, i.metric)
			}
		}
		all, since = append(all, own...), min(since, began)
		s.Devices = append(s.Devices, event.Member{ID: id, No: d.no, Since: began})
	}
	if len(own) > 0 {
		name(key.name, d, own)
	} else {
		s.Back = append(s.Back, d.no)
	}
	for _, id := range d.joined {
		other := p.suspects[pairOf{key.cohort, id}]
		if its := p.own(key.cohort, other); len(its) > 0 {
			name(id, other, its)
		}
	}
	if len(all) == 0 {
		s.Over, s.Why = true, "its metrics are what they usually are"
		if len(d.items) > 0 {
			s.Now, s.Why = true, "others of its cohort do the same, or it is a matter of costs: one incident says so"
		}
		return s
	}
	worst := gravest(all)
	s.Since, s.Count = since, uint32(len(s.Devices))
	s.Numbers = append(worst.numbers(), event.Number{Name: "metrics", Micro: int64(len(metrics)) * 1e6})
	if c := p.companies[pairOf{key.cohort, worst.metric}]; c != nil {
		s.Numbers = append(s.Numbers, event.Number{Name: "series", Micro: int64(c.series) * 1e6})
	}
	of, others := key.name, "its peers do not"
	if n := len(s.Devices); n > 1 {
		of, others = fmt.Sprintf("%s and %d more", s.Devices[0].ID, n-1), fmt.Sprintf("%d devices do so since, their peers do not", n)
	}
	s.Title = fmt.Sprintf("%s of %s %s", worst.metric, of, worst.verb())
	s.Why = fmt.Sprintf("%s %s (%s, usually %s); %s", worst.metric, worst.verb(), plain(worst.value), plain(worst.usual), others)
	if len(metrics) > 1 {
		s.Why += "; also: " + strings.Join(slices.DeleteFunc(metrics, func(m string) bool { return m == worst.metric }), ", ")
	}
	return s
}

// ofPeers is the signal of a metric that all move together.
func (p *Peers) ofPeers(at int64, group pairOf, c *company) incident.Signal {
	s := incident.Signal{
		Kind: event.TelemetryAnomaly, Cause: incident.CauseDevice, Severity: event.SeverityWarning,
		Subject: event.Subject{Cohort: group.cohort, Metric: group.name}, Since: c.since, At: at, Period: bucketMS,
		Back: p.gone(group, c), Count: max(c.moved, uint32(len(c.members))), Thresholds: append(p.thresholds(), event.Number{Name: "together", Micro: micro(togetherAt)}),
	}
	if c.most {
		s.Cause = incident.CausePeers
	}
	if !c.many {
		s.Over, s.Why = true, "most of them are what they usually are"
		return s
	}
	type named struct {
		event.Member
		worst item
	}
	var all []named
	kinds := map[string]int{}
	for _, id := range c.members {
		d := p.suspects[pairOf{group.cohort, id}]
		var mine []item
		for _, i := range d.items {
			if i.metric == group.name && !i.dear && !d.paced(i) {
				mine = append(mine, i)
			}
		}
		if len(mine) == 0 {
			continue
		}
		worst := gravest(mine)
		kinds[worst.verb()]++
		all = append(all, named{event.Member{ID: id, No: d.no, Since: worst.since}, worst})
	}
	slices.SortStableFunc(all, func(a, b named) int { return cmp.Compare(b.worst.score, a.worst.score) })
	verb, most := "", 0
	for _, k := range says { // in a fixed order, whatever the map's is
		if kinds[k.verb] > most {
			verb, most = k.verb, kinds[k.verb]
		}
	}
	if kinds["is missing"] > most {
		verb = "is missing"
	}
	for _, n := range all[:min(len(all), event.MaxMembers)] {
		s.Devices = append(s.Devices, n.Member)
	}
	worst := c.by
	if c.moved == 0 && len(all) > 0 {
		worst = all[0].worst
	} else if c.moved > 0 {
		verb = c.by.verb()
	}
	s.Numbers = append(worst.numbers(), event.Number{Name: "devices", Micro: int64(len(all)) * 1e6}, event.Number{Name: "moved", Micro: int64(c.moved) * 1e6}, event.Number{Name: "series", Micro: int64(c.series) * 1e6})
	s.Title = fmt.Sprintf("%s of %d devices of %s %s", group.name, c.top, group.cohort, verb)
	s.Why = fmt.Sprintf("%s %s (%s, usually %s): %d devices of %d changed at the same time", group.name, verb, plain(worst.value), plain(worst.usual), c.top, max(c.series, c.top))
	if c.most {
		s.Title = fmt.Sprintf("%s of %s %s, in all its devices alike", group.name, group.cohort, verb)
		s.Why = fmt.Sprintf("%s %s (%s, usually %s) in most of %d devices at the same time: it is no fault of one of them", group.name, verb, plain(worst.value), plain(worst.usual), max(c.series, c.top))
	}
	return s
}

// gone are those who left since the cut before and did not come back, whatever the order of the shards was.
func (p *Peers) gone(group pairOf, c *company) []uint32 {
	if len(c.back) == 0 {
		return nil
	}
	here := map[uint32]bool{}
	for _, id := range c.members {
		here[p.suspects[pairOf{group.cohort, id}].no] = true
	}
	slices.Sort(c.back)
	back := slices.DeleteFunc(slices.Compact(c.back), func(no uint32) bool { return here[no] })
	return slices.Clip(append([]uint32(nil), back...))
}

// plain writes millionths for a reader.
func plain(v int64) string { return strconv.FormatFloat(float64(v)/1e6, 'g', 5, 64) }
