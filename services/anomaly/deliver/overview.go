package deliver

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muster.dev/proto/event"
)

// overview is what a summary says.
type overview struct {
	ids      []string
	count    int
	severity string // the worst
	kinds    map[string]int
	worst    []string // titles, with the cohort
	since    time.Time
}

// shown is how many incidents a summary names.
const shown = 10

// overviewOf counts a list in which the worst come first.
func overviewOf(list []*entry) *overview {
	o := &overview{count: len(list), severity: event.SeverityInfo, kinds: map[string]int{}}
	for i, e := range list {
		if i == 0 {
			o.severity = e.inc.Severity
		}
		if i < shown {
			o.worst = append(o.worst, e.inc.ID+" "+headline(&e.inc))
		}
		o.kinds[string(e.inc.Kind)]++
		o.ids = append(o.ids, e.inc.ID)
	}
	return o
}

// title is the summary in one line.
func (o *overview) title() string {
	if o.count == 0 {
		return "All open incidents are told on their own"
	}
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(o.kinds), func(a, b string) int { return cmp.Or(cmp.Compare(o.kinds[b], o.kinds[a]), cmp.Compare(a, b)) }) {
		parts = append(parts, fmt.Sprintf("%d %s", o.kinds[k], k))
	}
	return fmt.Sprintf("%d more incidents are open: %s", o.count, strings.Join(parts, ", "))
}

// headline is an incident in one line. What it is about leads, unless the title has the name already.
func headline(i *event.Incident) string {
	words := strings.FieldsFunc(i.Title, func(r rune) bool { return strings.ContainsRune(" ,:;", r) })
	if about := subject(i); about != "" && !slices.Contains(words, about) {
		return about + ": " + i.Title
	}
	return i.Title
}

// subject is what an incident is about, in a word.
func subject(i *event.Incident) string {
	s := i.Subject
	return cmp.Or(s.Device, s.Cohort, s.Rollout, s.Gateway, s.Region)
}
