package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what an audit found. Its Head is worth keeping where who can change the log can not change it.
type Report struct {
	Source string `json:"source"`
	Events uint64 `json:"events"` // of the chain
	First  *Place `json:"first,omitempty"`
	Last   *Place `json:"last,omitempty"`
	Head   Hash   `json:"head"` // SHA-256 of the last event; zeros if there is none
	// Part is set where the first event is not the log's first: what comes before it was not looked at.
	Part bool `json:"part,omitempty"`
	// Kept is how many heads that were kept elsewhere were found again.
	Kept int `json:"kept,omitempty"`
	// Later are events of types that this program does not know, by type: their links were followed.
	Later    map[string]uint64 `json:"later,omitempty"`
	Holes    []Hole            `json:"holes,omitempty"`
	Findings []Finding         `json:"findings"`
	// More is how many findings are not listed.
	More uint64 `json:"more,omitempty"`
}

// Place is an event, where it stands and when it was written.
type Place struct {
	Event  uint64    `json:"event"`
	Offset int64     `json:"offset"`
	Time   time.Time `json:"time"`
}

// Hole is offsets at which no record can be read, though no event is missing there.
type Hole struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Aborted is a write that its writer gave up. Otherwise nothing tells why: something that was no event was deleted.
	Aborted bool `json:"aborted"`
}

// maxHoles bounds what is listed of them.
const maxHoles = 1_000

// Hole notes offsets without a record.
func (v *Verifier) Hole(h Hole) {
	if len(v.holes) < maxHoles {
		v.holes = append(v.holes, h)
	}
}

// Report ends the walk: what was held back is settled.
func (v *Verifier) Report(source string) Report {
	v.settle()
	kept := 0
	for _, k := range v.kept {
		if k.found {
			kept++
		} else {
			v.missed(k)
		}
	}
	r := Report{Source: source, Events: v.events, Head: v.tip.sum, Part: v.part, Kept: kept, Holes: v.holes, Findings: []Finding{}, More: v.more}
	if len(v.later) > 0 {
		r.Later = maps.Clone(v.later)
	}
	if v.events > 0 {
		r.First, r.Last = v.first.place(), v.tip.place()
	} else {
		r.Head = Hash{}
	}
	for _, f := range v.findings {
		if f.Kind != "" {
			r.Findings = append(r.Findings, f)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Offset, b.Offset))
	})
	return r
}

func (n node) place() *Place { return &Place{n.n, n.offset, time.UnixMilli(n.time).UTC()} }

// settle judges what nothing came behind.
func (v *Verifier) settle() {
	for len(v.strays) > 0 {
		s := v.strays[0]
		switch {
		case s.err != nil && len(v.strays) == 1 && s.first.offset > v.tip.offset:
			v.strays = nil
			v.find(Finding{Kind: Unreadable, Offset: s.first.offset, Expected: fmt.Sprintf("event %d, or the end", v.tip.n+1),
				Stands: fmt.Sprintf("a record of SHA-256 %s that is no event: %v", s.first.sum, s.err)})
		case s.err != nil || s.tip.n <= v.tip.n:
			if i := slices.IndexFunc(v.strays, func(o stray) bool { return o.err == nil && o.tip.n > v.tip.n }); i > 0 {
				v.follow(i) // it tells what the one before it was
				continue
			}
			v.strays = v.strays[1:]
			v.foreign(s)
		default:
			// One record, and nothing behind it that would say whether it or what is before it is wrong.
			v.follow(0)
		}
	}
}

// OK says whether nothing was found.
func (r Report) OK() bool { return len(r.Findings) == 0 && r.More == 0 }

// String is the report as a person reads it.
func (r Report) String() string {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(f.String())
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more findings\n", r.More)
	}
	if r.First == nil {
		fmt.Fprintf(&b, "%s: no events\n", r.Source)
		return b.String()
	}
	verdict := "each follows the one before it"
	if !r.OK() {
		verdict = "NOT in order"
	}
	fmt.Fprintf(&b, "%s: %d events, %s\n", r.Source, r.Events, verdict)
	fmt.Fprintf(&b, "first  event %d at offset %d, %s\n", r.First.Event, r.First.Offset, stamp(r.First.Time.UnixMilli()))
	fmt.Fprintf(&b, "last   event %d at offset %d, %s\n", r.Last.Event, r.Last.Offset, stamp(r.Last.Time.UnixMilli()))
	fmt.Fprintf(&b, "head   %s\n", r.Head)
	if r.Part {
		fmt.Fprintf(&b, "a part of the log: what comes before event %d was not looked at\n", r.First.Event)
	}
	for _, h := range r.Holes {
		if !h.Aborted {
			fmt.Fprintf(&b, "offsets %d to %d hold no record; no event is missing there\n", h.From, h.To)
		}
	}
	if n := len(slices.DeleteFunc(slices.Clone(r.Holes), func(h Hole) bool { return !h.Aborted })); n > 0 {
		fmt.Fprintf(&b, "%d writes were given up and count for nothing\n", n)
	}
	for _, t := range slices.Sorted(maps.Keys(r.Later)) {
		fmt.Fprintf(&b, "%d events of type %s, which this release does not know: their links were followed\n", r.Later[t], t)
	}
	switch r.Kept {
	case 0:
		b.WriteString("an end that was cut off cannot be seen from here: keep the head elsewhere, and compare with --head or --since\n")
	case 1:
		b.WriteString("the head that was kept is in it\n")
	default:
		fmt.Fprintf(&b, "the %d heads that were kept are in it\n", r.Kept)
	}
	return b.String()
}
