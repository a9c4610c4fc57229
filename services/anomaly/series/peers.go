package series

import (
	"cmp"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

const (
	settleMS   = 2 * bucketMS // before one device is told: its peers may follow
	settleInfo = 6 * bucketMS // where it is no more than an unusual value, or its peers are in other shards
	togetherMS = int64(3_600_000)

	fewSeries  = 3   // below them there are no peers
	togetherAt = .30 // of the series that begin within an hour: they move together
	movedAt    = .50 // of the series, by the medians of their shards
	apartAt    = .05 // below it they do so no longer
	muchSeries = 20  // of a large cohort, and a hundredth of it, are together too: an incident each would be a storm
	alike      = 3   // devices with the same kind of finding that begins at the same time have one cause
	alikeMS    = 3 * bucketMS
	joinMS     = 3 * togetherMS // who leaves the same way so soon after another is told of with it
	boundMS    = dayMS          // who is flat at the same value is, too

	// MaxOpen findings are kept, MaxGroups pairs of cohort and metric.
	MaxOpen   = 200_000
	MaxGroups = 100_000
)

// pairOf names: cohort and metric, or cohort and device.
type pairOf struct{ cohort, name string }

func (a pairOf) compare(b pairOf) int {
	return cmp.Or(strings.Compare(a.cohort, b.cohort), strings.Compare(a.name, b.name))
}

// company is the series of one cohort and metric.
type company struct {
	series  uint32
	many    bool // several are told as one incident
	most    bool // it is of so many that it is no device's fault
	since   int64
	top     uint32   // members at most
	moved   uint32   // series of the shards whose median has moved
	by      item     // how
	dear    bool     // its volume is an incident of costs
	members []string // devices with something open, in order
	back    []uint32 // of these, who is no longer, since the last cut
}

// item is a finding that is open.
type item struct {
	metric, kind        string
	since, told         int64
	score, value, usual int64
	peers               uint32 // series in the device's shard
	dear                bool   // an incident of costs tells it
	along               bool   // its peers in other shards go the same way
}

// suspect is a device with findings.
type suspect struct {
	no     uint32
	told   bool
	metric string   // of its incident; empty for several
	items  []item   // in order of metric and kind
	with   string   // device whose incident names it, too
	joined []string // devices that its incident names, in order
	back   []uint32 // who was one of them, since the last cut
}

// Peers makes incidents of findings: of one device that is unlike its peers, whatever its metrics do, or of a metric that
// all of a cohort's devices move together.
type Peers struct {
	s         Settings
	companies map[pairOf]*company
	suspects  map[pairOf]*suspect
	items     int
	waiting   map[pairOf]struct{} // suspects that are not told
	lost      uint64
}

// NewPeers knows no finding yet.
func NewPeers(s Settings) *Peers {
	return &Peers{s: s, companies: map[pairOf]*company{}, suspects: map[pairOf]*suspect{}, waiting: map[pairOf]struct{}{}}
}

// Lost is how many findings there was no room for.
func (p *Peers) Lost() uint64 { return p.lost }

// Cut takes the findings of all shards at one instant, and gives what to say. They may be in any order, but for those of
// one series.
func (p *Peers) Cut(at int64, findings []page.Finding) []incident.Signal {
	groups, devices := map[pairOf]struct{}{}, map[pairOf]struct{}{}
	for i := range findings {
		f := &findings[i]
		group := pairOf{f.Cohort, f.Metric}
		if f.Kind == Series {
			p.counted(group, f)
			continue
		}
		if f.Score < micro(p.s.Threshold) && !f.Over {
			continue
		}
		groups[group] = struct{}{}
		if f.ID == "" {
			p.crowd(at, group, f)
			continue
		}
		p.take(at, f)
		devices[pairOf{f.Cohort, f.ID}] = struct{}{}
	}
	for w := range p.waiting {
		devices[w] = struct{}{}
		for _, i := range p.suspects[w].items {
			groups[pairOf{w.cohort, i.metric}] = struct{}{}
		}
	}
	var out []incident.Signal
	for _, g := range inOrder(groups) {
		out = p.together(out, at, g, devices)
	}
	tell := map[pairOf]struct{}{}
	for _, d := range inOrder(devices) {
		p.apart(at, d, tell)
	}
	for _, d := range inOrder(tell) {
		out = p.tell(out, at, d)
	}
	return out
}

func inOrder(set map[pairOf]struct{}) []pairOf {
	out := make([]pairOf, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.SortFunc(out, pairOf.compare)
	return out
}

// counted takes a shard's number of series. It tells what it said before, so that no shard needs to be known.
func (p *Peers) counted(group pairOf, f *page.Finding) {
	c := p.company(group)
	if c == nil {
		return
	}
	c.series = uint32(max(0, int64(c.series)+int64(f.Reporting)-f.Usual/1e6))
	p.tidy(group, c)
}

func (p *Peers) company(group pairOf) *company {
	c := p.companies[group]
	if c == nil && len(p.companies) < MaxGroups {
		c = &company{}
		p.companies[group] = c
	}
	return c
}

// crowd takes what a shard says of its series' median.
func (p *Peers) crowd(at int64, group pairOf, f *page.Finding) {
	c := p.company(group)
	if c == nil {
		return
	}
	if f.Over {
		c.moved -= min(c.moved, f.Reporting)
		return
	}
	c.moved += f.Reporting
	if c.moved == f.Reporting || f.Score > c.by.score || f.Score == c.by.score && f.Value < c.by.value {
		c.by = item{f.Metric, f.Kind, f.At, at, f.Score, f.Value, f.Usual, f.Reporting, false, false}
	}
}

// Explain takes what is told of costs, before the cut of the same instant: more rows of a metric that is an incident of
// costs are not another one.
func (p *Peers) Explain(costs []incident.Signal) {
	for i := range costs {
		s := &costs[i]
		if s.Kind != event.Spend {
			continue
		}
		group := pairOf{s.Subject.Cohort, s.Subject.Metric} // the metric is empty where it is several
		if c := p.company(group); c != nil {
			c.dear = !s.Over
			p.tidy(group, c)
		}
		for key, d := range p.suspects {
			if key.cohort == group.cohort && !s.Over && p.explain(key.cohort, d.items) {
				p.waiting[key] = struct{}{}
			}
		}
	}
}

// explain marks the findings that an incident of costs tells; it stays so until they are over.
func (p *Peers) explain(cohort string, items []item) (any bool) {
	for k := range items {
		i := &items[k]
		if i.dear || i.kind != "rate" || i.value <= i.usual {
			continue
		}
		one, all := p.companies[pairOf{cohort, i.metric}], p.companies[pairOf{cohort, ""}]
		i.dear = one != nil && one.dear || all != nil && all.dear
		any = any || i.dear
	}
	return any
}

func (p *Peers) tidy(group pairOf, c *company) {
	if c.series == 0 && c.moved == 0 && !c.many && !c.dear && len(c.members) == 0 {
		delete(p.companies, group)
	}
}

// shared says whether peers can have a kind of finding together. What is unlike them they cannot.
func shared(kind string) bool { return kind != "unlike-peers" }

// take puts a finding into the state, or out of it.
func (p *Peers) take(at int64, f *page.Finding) {
	key := pairOf{f.Cohort, f.ID}
	d := p.suspects[key]
	place, there := 0, false
	if d != nil {
		place, there = slices.BinarySearchFunc(d.items, f, func(i item, f *page.Finding) int {
			return cmp.Or(strings.Compare(i.metric, f.Metric), strings.Compare(i.kind, f.Kind))
		})
	}
	switch {
	case f.Over && there:
		d.items = slices.Delete(d.items, place, place+1)
		p.items--
	case f.Over || there:
		return
	default:
		if p.items >= MaxOpen {
			p.lost++
			return
		}
		if d == nil {
			d = &suspect{}
			p.suspects[key] = d
		}
		d.no = f.No
		d.items = slices.Insert(d.items, place, item{f.Metric, f.Kind, f.At, at, f.Score, f.Value, f.Usual, f.Reporting, false, false})
		p.explain(f.Cohort, d.items[place:place+1])
		p.items++
	}
	c := p.company(pairOf{f.Cohort, f.Metric})
	if c == nil {
		return
	}
	in := slices.ContainsFunc(d.items, func(i item) bool { return i.metric == f.Metric })
	if k, was := slices.BinarySearch(c.members, f.ID); in && !was {
		c.members = slices.Insert(c.members, k, f.ID)
	} else if !in && was {
		c.members = slices.Delete(c.members, k, k+1)
		c.back = append(c.back, d.no)
	}
}

// together judges whether a metric moves in so many devices that one incident is to be told of them.
func (p *Peers) together(out []incident.Signal, at int64, group pairOf, devices map[pairOf]struct{}) []incident.Signal {
	c := p.companies[group]
	if c == nil {
		return out
	}
	series := float64(max(int(c.series), len(c.members)))
	fresh, live, since := 0, 0, at
	begun := map[string][]int64{} // when, by kind
	for _, id := range c.members {
		counts, lives := 0, 0
		for _, i := range p.suspects[pairOf{group.cohort, id}].items {
			if i.metric != group.name || i.dear || p.suspects[pairOf{group.cohort, id}].paced(i) {
				continue
			}
			lives = 1
			if i.told <= at-togetherMS {
				continue
			}
			since = min(since, i.since)
			if shared(i.kind) && !i.weather() && !p.bound(group.cohort, id, i) { // of what all of them do their median tells, and it knows weekends
				counts = 1
			}
			if d := p.suspects[pairOf{group.cohort, id}]; !i.weather() && at >= i.told+settleMS && !d.told && d.with == "" {
				begun[i.kind] = append(begun[i.kind], i.since)
			}
		}
		fresh, live = fresh+counts, live+lives
	}
	was := c.many
	moved := p.along(group, c, devices)
	n := float64(fresh)
	most := series >= fewSeries && (n >= max(fewSeries, togetherAt*series) || n >= max(muchSeries, series/100))
	if c.moved > 0 && float64(moved) >= movedAt*series && series >= fewSeries {
		most, since = true, min(since, c.by.since)
	}
	switch {
	case c.many && c.moved == 0 && (live == 0 || c.most && float64(live) < apartAt*series):
		c.many = false
	case c.many:
		c.most = c.most || most
	case most || anyAlike(begun):
		c.many, c.most, c.since, c.top = true, most, since, 0
	}
	c.top = max(c.top, uint32(live))
	if c.many != was {
		for _, id := range c.members {
			devices[pairOf{group.cohort, id}] = struct{}{}
		}
	}
	if c.many || was {
		out = append(out, p.ofPeers(at, group, c))
	}
	c.back, c.most = nil, c.most && c.many
	p.tidy(group, c)
	return out
}

// along marks whom its shard has no peers for, and who leaves as many of those in other shards do; it stays so until that
// is over. It gives how many series the medians that have moved are of, with those who left as they did.
func (p *Peers) along(group pairOf, c *company, devices map[pairOf]struct{}) (moved uint32) {
	var went [2]struct{ all, alone []int64 } // when, by way
	each := func(do func(id string, i *item, way int)) {
		for _, id := range c.members {
			items := p.suspects[pairOf{group.cohort, id}].items
			for k := range items {
				if i := &items[k]; i.metric == group.name && i.departs() {
					do(id, i, i.upward())
				}
			}
		}
	}
	each(func(_ string, i *item, way int) {
		w := &went[way]
		if w.all = append(w.all, i.since); !i.weather() {
			w.alone = append(w.alone, i.since)
		}
	})
	for k := range went {
		slices.Sort(went[k].all)
		slices.Sort(went[k].alone)
	}
	crowd := func(way int, since, within int64) uint32 {
		if c.moved == 0 || !c.by.departs() || c.by.upward() != way || max(c.by.since-since, since-c.by.since) > within {
			return 0
		}
		return c.moved
	}
	least := max(fewSeries, togetherAt*float64(max(int(c.series), len(c.members))))
	each(func(id string, i *item, way int) {
		w, within := went[way], i.within()
		if !i.weather() && !i.along && float64(max(near(w.all, i.since, within), near(w.alone, i.since, within)+crowd(way, i.since, within))) >= least {
			i.along = true
			devices[pairOf{group.cohort, id}] = struct{}{}
		}
	})
	if moved = c.moved; moved > 0 && c.by.departs() {
		moved += near(went[c.by.upward()].alone, c.by.since, c.by.within())
	}
	return moved
}

// near is how many instants of a list, in order, are within so much of another.
func near(when []int64, at, within int64) uint32 {
	from, _ := slices.BinarySearch(when, at-within)
	until, _ := slices.BinarySearch(when, at+within+1)
	return uint32(until - from)
}

// departs says whether a series has left its own place, whatever its peers do.
func (i item) departs() bool { return i.kind == "jump" || i.kind == "drift" }

// upward is 1 for who rises.
func (i item) upward() int {
	if _, up := i.way(); up {
		return 1
	}
	return 0
}

// within is in what time others leave who leave together: nobody knows to the hour when a drift began.
func (i item) within() int64 {
	if i.kind == "drift" {
		return joinMS
	}
	return togetherMS
}

// anyAlike says whether several findings of one kind begin at the same time.
func anyAlike(begun map[string][]int64) bool {
	for _, when := range begun {
		slices.Sort(when)
		for i := alike - 1; i < len(when); i++ {
			if when[i]-when[i-alike+1] <= alikeMS {
				return true
			}
		}
	}
	return false
}

// weather is a series that moves, and is not said to be unlike its peers where these could be asked.
func (i item) weather() bool {
	return i.departs() && i.peers >= leastPeers
}

// paced says whether a rate is the device's own: more than one of its metrics comes at another. Its interval was changed,
// or its clock, which is no metric's fault.
func (d *suspect) paced(i item) bool {
	return i.kind == "rate" && i.value > 0 && slices.ContainsFunc(d.items, func(o item) bool {
		return o.kind == "rate" && o.value > 0 && o.metric != i.metric
	})
}

// own are the findings that are a device's own: not shared by its peers.
func (p *Peers) own(cohort string, d *suspect) (own []item) {
	for _, i := range d.items {
		if c := p.companies[pairOf{cohort, i.metric}]; i.weather() || i.along || i.dear || d.paced(i) || c != nil && c.many {
			continue
		}
		own = append(own, i)
	}
	return own
}

// apart judges one device, and marks whose incident is to be told.
func (p *Peers) apart(at int64, key pairOf, tell map[pairOf]struct{}) {
	d := p.suspects[key]
	if d == nil {
		return
	}
	own := p.own(key.cohort, d)
	delete(p.waiting, key)
	if d.with == "" && !d.told && len(own) > 0 {
		p.join(key, d, own)
	}
	leader := pairOf{key.cohort, d.with}
	switch {
	case d.with != "":
		if tell[leader] = struct{}{}; len(own) == 0 {
			p.leave(leader, key.name, d)
		}
	case len(own) > 0 && !d.told && !p.settled(at, key.cohort, own):
		p.waiting[key] = struct{}{}
	case len(own) > 0:
		if !d.told {
			d.told, d.metric = true, own[0].metric
			if own[len(own)-1].metric != d.metric {
				d.metric = ""
			}
		}
		tell[key] = struct{}{}
	case d.told:
		tell[key] = struct{}{}
	}
	p.forget(key, d)
}

// forget lets go of a device of which there is nothing left to say.
func (p *Peers) forget(key pairOf, d *suspect) {
	if len(d.items) == 0 && !d.told && d.with == "" {
		delete(p.suspects, key)
	}
}

// join finds the device that left the same way not long ago, the first to be told, and has its incident name this one: one
// cause, one incident, however few they are.
func (p *Peers) join(key pairOf, d *suspect, own []item) {
	for _, i := range own {
		c := p.companies[pairOf{key.cohort, i.metric}]
		if c == nil {
			continue
		}
		for _, id := range c.members {
			leader := p.suspects[pairOf{key.cohort, id}]
			if !leader.told || id == key.name || len(leader.joined) >= event.MaxMembers {
				continue
			}
			if slices.ContainsFunc(p.own(key.cohort, leader), i.follows) {
				d.with = id
				place, _ := slices.BinarySearch(leader.joined, key.name)
				leader.joined = slices.Insert(leader.joined, place, key.name)
				return
			}
		}
	}
}

func (p *Peers) leave(leader pairOf, id string, d *suspect) {
	l := p.suspects[leader]
	if k, there := slices.BinarySearch(l.joined, id); there {
		l.joined = slices.Delete(l.joined, k, k+1)
	}
	l.back = append(l.back, d.no)
	d.with = ""
}

// follows says whether another finding is of the same metric, went the same way, and came not long before.
func (i item) follows(o item) bool {
	way, of := i.way()
	oway, oof := o.way()
	if i.metric != o.metric || way != oway || of != oof {
		return false
	}
	if i.bound(o) {
		return true
	}
	return i.since >= o.since-alikeMS && i.since <= o.since+joinMS
}

// bound says whether another finding is flat at the same value: they are at a bound of what they measure, as all wind is 0
// in a calm, and get there in their own time.
func (i item) bound(o item) bool {
	return i.metric == o.metric && i.kind == "flat-line" && o.kind == i.kind && i.value == o.value && max(i.since-o.since, o.since-i.since) <= boundMS
}

// bound says whether the incident of another device names this one for that: it is told.
func (p *Peers) bound(cohort, id string, i item) bool {
	with := p.suspects[pairOf{cohort, id}].with
	return with != "" && slices.ContainsFunc(p.suspects[pairOf{cohort, with}].items, i.bound)
}

// way is which way a value left, or how it changed where there are no ways.
func (i item) way() (of string, up bool) {
	switch i.kind {
	case "rate":
		return i.kind, i.value > i.usual
	case "flat-line", "noise":
		return i.kind, true
	}
	return "value", i.value > i.usual
}

// tell gives the signal of a device's incident. It is over when all are well that it names.
func (p *Peers) tell(out []incident.Signal, at int64, key pairOf) []incident.Signal {
	d := p.suspects[key]
	own := p.own(key.cohort, d)
	out = append(out, p.ofDevice(at, key, d, own))
	d.back = nil
	if len(own) == 0 && len(d.joined) == 0 {
		d.told, d.metric = false, ""
		p.forget(key, d)
	}
	return out
}

// settled says whether its peers had time to follow.
func (p *Peers) settled(at int64, cohort string, own []item) bool {
	for _, i := range own {
		c := p.companies[pairOf{cohort, i.metric}]
		wait := int64(settleMS)
		if i.kind == "unusual" || i.departs() {
			wait = settleInfo
		}
		if at >= i.told+wait || c == nil || c.series < fewSeries {
			return true
		}
	}
	return false
}
