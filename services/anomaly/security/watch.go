package security

import (
	"cmp"
	"io"
	"math"
	"slices"
	"strings"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

// Kinds of page.Sign.
const (
	kindClone     = "clone"
	kindKnocking  = "knocking"
	kindEnrolment = "enrolment-burst"
)

const (
	maxGateways = 1_000 // that are remembered; a watermark of one more is counted
	maxTold     = 1_000 // signs of one kind in a tick; the rest are one that names nobody

	// whereRegistry is the place of attempts at the registry. It can be no region's name.
	whereRegistry = "(registry)"
)

// Watch is a shard's part.
type Watch struct {
	census   *census.State
	set      Settings
	clones   []page.Sign // of the tick that is open
	knocks   []page.Sign
	enrolled []page.Sign
	gateways []gateway // in order of name
	turns    []uint64  // bits, of each device: it was at two addresses in turns when it was new
	seqs     sequences // of messages
	unread   uint64    // signs that are none
	over     uint64    // what no room was for
}

type gateway struct {
	name    string
	refused uint64
	at      int64
}

// NewWatch has seen nothing yet. It only reads the census.
func NewWatch(c *census.State, s Settings) *Watch { return &Watch{census: c, set: s} }

// Unread is how many values of signs could not be read.
func (w *Watch) Unread() uint64 { return w.unread }

// Over is how much was seen that there was no room for.
func (w *Watch) Over() uint64 { return w.over }

// Sign takes the value of a gateway's sign about a device. One that cannot be read is counted.
func (w *Watch) Sign(i int32, at int64, value []byte) {
	s, ok := decode(value)
	if !ok {
		w.unread++
		return
	}
	d := w.census.Device(i)
	if s.kind == twoAddresses && w.always(i, at-d.Enrolled < w.set.Settled) {
		return
	}
	w.add(&w.clones, page.Sign{Kind: kindClone, ID: d.ID, No: d.No, Cohort: w.census.Cohort(d.Cohort).Name, At: at, Count: 1 + s.more, Detail: s.kind})
}

// always says whether a device has two networks, as it had when it was new.
func (w *Watch) always(i int32, isNew bool) bool {
	word, bit := int(i/64), uint64(1)<<(i%64)
	if isNew {
		w.turns = append(w.turns, make([]uint64, max(0, word+1-len(w.turns)))...)
		w.turns[word] |= bit
	}
	return word < len(w.turns) && w.turns[word]&bit != 0
}

// add counts a sign to those of the same device or cohort and detail in this tick.
func (w *Watch) add(list *[]page.Sign, s page.Sign) {
	for i := range *list {
		if t := &(*list)[i]; t.ID == s.ID && t.Cohort == s.Cohort && t.Detail == s.Detail {
			t.Count = sum(t.Count, s.Count)
			t.At = max(t.At, s.At)
			return
		}
	}
	if len(*list) >= maxTold {
		w.over++
		return
	}
	*list = append(*list, s)
}

func sum(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// Registry takes what an event of the registry changed.
func (w *Watch) Registry(at int64, change census.Change) {
	switch b := change.Body.(type) {
	case event.DeviceEnrolled:
		if change.Kind == census.Joined {
			w.add(&w.enrolled, page.Sign{Kind: kindEnrolment, Cohort: b.Cohort, At: at, Count: 1})
		}
	case event.AttemptRefused: // each shard sees it: the judge counts it once
		w.add(&w.knocks, page.Sign{Kind: kindKnocking, Detail: whereRegistry, At: at, Count: sum(1, b.More)})
	}
}

// Mark takes a gateway's watermark. Those of both topics may come; each shard sees them all.
func (w *Watch) Mark(at int64, m event.Watermark) {
	var refused uint64
	for _, why := range [...]string{"revoked", "certificate-revoked", "authority-revoked"} {
		refused = sum(refused, m.Refused[why])
	}
	i, known := slices.BinarySearchFunc(w.gateways, m.Gateway, func(g gateway, name string) int { return strings.Compare(g.name, name) })
	if !known {
		if len(w.gateways) >= maxGateways && !w.forget(at) {
			w.over++
			return
		}
		i, _ = slices.BinarySearchFunc(w.gateways, m.Gateway, func(g gateway, name string) int { return strings.Compare(g.name, name) })
		w.gateways = slices.Insert(w.gateways, i, gateway{name: strings.Clone(m.Gateway)})
	}
	g := &w.gateways[i]
	if known && m.Time < g.at {
		return // it was overtaken
	}
	before := g.refused
	if refused < before { // it was started anew, and counts from nothing
		before = 0
	}
	if !known {
		before = refused // nobody knows when they were
	}
	g.refused, g.at = refused, m.Time
	if n := refused - before; n > 0 {
		where := "gateway " + m.Gateway
		if m.Region != "" {
			where = "region " + m.Region
		}
		w.add(&w.knocks, page.Sign{Kind: kindKnocking, Detail: strings.ToValidUTF8(where[:min(len(where), page.MaxText)], ""), At: at, Count: n})
	}
}

// forget makes room: gateways that were not heard for a day are no more.
func (w *Watch) forget(at int64) bool {
	before := len(w.gateways)
	w.gateways = slices.DeleteFunc(w.gateways, func(g gateway) bool { return g.at < at-day })
	return len(w.gateways) < before
}

// Tick tells what was seen until an instant.
func (w *Watch) Tick(until int64) []page.Sign {
	out := slices.Concat(w.clones, w.knocks, w.enrolled)
	for i := range out {
		out[i].At = min(out[i].At, until)
	}
	slices.SortFunc(out, func(a, b page.Sign) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID), strings.Compare(a.Cohort, b.Cohort), strings.Compare(a.Detail, b.Detail))
	})
	w.clones, w.knocks, w.enrolled = nil, nil, nil
	w.seqs.expire(until)
	return out
}

// Snapshot writes the state.
func (w *Watch) Snapshot(to io.Writer) error {
	out := state.NewWriter(to)
	out.Head("security.watch", watchForm)
	out.Uint(w.unread)
	out.Uint(w.over)
	for _, list := range [][]page.Sign{w.clones, w.knocks, w.enrolled} {
		out.Len(len(list))
		for i := range list {
			writeSign(out, &list[i])
		}
	}
	out.Len(len(w.gateways))
	for _, g := range w.gateways {
		out.Text(g.name)
		out.U64(g.refused)
		out.I64(g.at)
	}
	out.Len(len(w.turns))
	for _, word := range w.turns {
		out.U64(word)
	}
	w.seqs.write(out)
	return out.Flush()
}

const (
	watchForm   = 2
	mostDevices = math.MaxInt32
)

func writeSign(w *state.Writer, s *page.Sign) {
	w.Text(s.Kind)
	w.Text(s.ID)
	w.U32(s.No)
	w.Text(s.Cohort)
	w.I64(s.At)
	w.U64(s.Count)
	w.Text(s.Detail)
}

func readSign(r *state.Reader) page.Sign {
	return page.Sign{Kind: r.Text(), ID: r.Text(), No: r.U32(), Cohort: r.Text(), At: r.I64(), Count: r.U64(), Detail: r.Text()}
}

// Restore reads a state that Snapshot wrote. After an error the state is to be thrown away.
func (w *Watch) Restore(from io.Reader) error {
	in := state.NewReader(from)
	in.Head("security.watch", watchForm)
	*w = *NewWatch(w.census, w.set)
	w.unread, w.over = in.Uint(), in.Uint()
	for _, list := range []*[]page.Sign{&w.clones, &w.knocks, &w.enrolled} {
		for range in.Len(maxTold) {
			*list = append(*list, readSign(in))
			if in.Err() != nil {
				return in.Err()
			}
		}
	}
	for range in.Len(maxGateways) {
		g := gateway{in.Text(), in.U64(), in.I64()}
		if n := len(w.gateways); in.Err() == nil && n > 0 && w.gateways[n-1].name >= g.name {
			in.Spoil("gateway %.80q stands out of order", g.name)
		}
		if in.Err() != nil {
			return in.Err()
		}
		w.gateways = append(w.gateways, g)
	}
	for range in.Len(mostDevices / 64) {
		w.turns = append(w.turns, in.U64())
		if in.Err() != nil {
			return in.Err()
		}
	}
	w.seqs = readSequences(in)
	return in.Err()
}
