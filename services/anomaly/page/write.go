package page

import (
	"encoding/binary"
	"math"
	"slices"
)

// writer writes a page in MsgPack, each thing as a map of its fields that are not zero, or as an array of all of them. Numbers
// have as few bytes as they can. It is by hand because a detector writes a page for each look at its cohorts: a library takes
// eight times as long.
type writer struct {
	out    []byte
	arrays bool
}

// thing is a map that is being written.
type thing struct{ at, fields int }

// begin begins a thing of so many fields.
func (w *writer) begin(fields int) thing {
	if w.arrays {
		w.array(fields)
		return thing{}
	}
	w.out = append(w.out, 0x80)
	return thing{at: len(w.out) - 1}
}

func (w *writer) end(t thing) {
	switch {
	case w.arrays:
	case t.fields < 16:
		w.out[t.at] |= byte(t.fields)
	default: // it takes more than its first byte to say how many there are
		w.out[t.at] = 0xde
		w.out = slices.Insert(w.out, t.at+1, byte(t.fields>>8), byte(t.fields))
	}
}

// field says whether a field is to be written, which is zero or not, and writes its name.
func (w *writer) field(t *thing, name string, zero bool) bool {
	if w.arrays {
		return true
	}
	if zero {
		return false
	}
	t.fields++
	w.string(name)
	return true
}

func (w *writer) array(n int) {
	switch {
	case n < 16:
		w.out = append(w.out, 0x90|byte(n))
	case n <= math.MaxUint16:
		w.out = append(w.out, 0xdc, byte(n>>8), byte(n))
	default:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xdd), uint32(n))
	}
}

func (w *writer) string(s string) {
	switch n := len(s); {
	case n < 32:
		w.out = append(w.out, 0xa0|byte(n))
	case n <= math.MaxUint8:
		w.out = append(w.out, 0xd9, byte(n))
	case n <= math.MaxUint16:
		w.out = append(w.out, 0xda, byte(n>>8), byte(n))
	default:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xdb), uint32(n))
	}
	w.out = append(w.out, s...)
}

func (w *writer) number(n uint64) {
	switch {
	case n <= math.MaxInt8:
		w.out = append(w.out, byte(n))
	case n <= math.MaxUint8:
		w.out = append(w.out, 0xcc, byte(n))
	case n <= math.MaxUint16:
		w.out = append(w.out, 0xcd, byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xce), uint32(n))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, 0xcf), n)
	}
}

func (w *writer) below(n int64) {
	switch {
	case n >= -32:
		w.out = append(w.out, byte(n))
	case n >= math.MinInt8:
		w.out = append(w.out, 0xd0, byte(n))
	case n >= math.MinInt16:
		w.out = append(w.out, 0xd1, byte(n>>8), byte(n))
	case n >= math.MinInt32:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xd2), uint32(n))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, 0xd3), uint64(n))
	}
}

func (w *writer) text(t *thing, name, v string) {
	if w.field(t, name, v == "") {
		w.string(v)
	}
}

func (w *writer) uint(t *thing, name string, v uint64) {
	if w.field(t, name, v == 0) {
		w.number(v)
	}
}

func (w *writer) int(t *thing, name string, v int64) {
	switch {
	case !w.field(t, name, v == 0):
	case v >= 0:
		w.number(uint64(v))
	default:
		w.below(v)
	}
}

func (w *writer) bool(t *thing, name string, v bool) {
	switch {
	case !w.field(t, name, !v):
	case v:
		w.out = append(w.out, 0xc3)
	default:
		w.out = append(w.out, 0xc2)
	}
}

func (w *writer) sum(t *thing, name string, v []byte) {
	switch n := len(v); {
	case !w.field(t, name, n == 0):
	case v == nil:
		w.out = append(w.out, 0xc0)
	default: // 32 bytes, or none
		w.out = append(append(w.out, 0xc4, byte(n)), v...)
	}
}

func list[T any](w *writer, t *thing, name string, all []T, each func(*writer, *T)) {
	if !w.field(t, name, len(all) == 0) {
		return
	}
	if all == nil {
		w.out = append(w.out, 0xc0)
		return
	}
	w.array(len(all))
	for i := range all {
		each(w, &all[i])
	}
}

// page writes the form: what is in it, in the order of the fields of each type.
func (w *writer) page(p *Page) {
	t := w.begin(2)
	w.uint(&t, "V", formVersion)
	w.field(&t, "Page", false)
	in := w.begin(17)
	w.int(&in, "Part", int64(p.Part))
	w.uint(&in, "N", p.N)
	w.int(&in, "From", p.From)
	w.int(&in, "Until", p.Until)
	w.int(&in, "Telemetry", p.Telemetry)
	w.int(&in, "Events", p.Events)
	w.int(&in, "Registry", p.Registry)
	w.uint(&in, "Late", p.Late)
	w.uint(&in, "Cut", uint64(p.Cut))
	list(w, &in, "Outages", p.Outages, (*writer).outage)
	list(w, &in, "Slots", p.Slots, (*writer).slot)
	list(w, &in, "Arms", p.Arms, (*writer).arm)
	list(w, &in, "Ranks", p.Ranks, (*writer).rank)
	list(w, &in, "Findings", p.Findings, (*writer).finding)
	list(w, &in, "Volumes", p.Volumes, (*writer).volume)
	list(w, &in, "Signs", p.Signs, (*writer).sign)
	if s := &p.Snapshot; w.field(&in, "Snapshot", s.N == 0 && s.Telemetry == 0 && s.Events == 0 && s.Registry == 0 && len(s.SHA256) == 0) {
		w.snapshot(s)
	}
	w.end(in)
	w.end(t)
}

func (w *writer) outage(o *Outage) {
	t := w.begin(4)
	w.bool(&t, "All", o.All)
	w.text(&t, "Region", o.Region)
	w.int(&t, "From", o.From)
	w.int(&t, "Until", o.Until)
	w.end(t)
}

func (w *writer) slot(s *Slot) {
	t := w.begin(24)
	w.text(&t, "Cohort", s.Cohort)
	w.text(&t, "Region", s.Region)
	w.int(&t, "At", s.At)
	w.int(&t, "Interval", s.Interval)
	w.bool(&t, "Whole", s.Whole)
	w.bool(&t, "Ours", s.Ours)
	w.uint(&t, "Expected", uint64(s.Expected))
	w.uint(&t, "Missing", uint64(s.Missing))
	w.uint(&t, "Heard", uint64(s.Heard))
	w.uint(&t, "Fresh", uint64(s.Fresh))
	w.uint(&t, "Never", uint64(s.Never))
	w.uint(&t, "Asleep", uint64(s.Asleep))
	w.uint(&t, "Members", uint64(s.Members))
	w.uint(&t, "Returned", uint64(s.Returned))
	w.uint(&t, "PowerBack", uint64(s.PowerBack))
	w.uint(&t, "Power", uint64(s.Power))
	w.uint(&t, "Radio", uint64(s.Radio))
	w.uint(&t, "Updated", uint64(s.Updated))
	w.uint(&t, "PowerAll", uint64(s.PowerAll))
	w.uint(&t, "RadioAll", uint64(s.RadioAll))
	w.uint(&t, "UpdatedAll", uint64(s.UpdatedAll))
	list(w, &t, "Gone", s.Gone, (*writer).gone)
	list(w, &t, "Back", s.Back, func(w *writer, no *uint32) { w.number(uint64(*no)) })
	w.uint(&t, "Left", uint64(s.Left))
	w.end(t)
}

func (w *writer) gone(g *Gone) {
	t := w.begin(11)
	w.text(&t, "ID", g.ID)
	w.uint(&t, "No", uint64(g.No))
	w.int(&t, "Since", g.Since)
	w.uint(&t, "Marks", uint64(g.Marks))
	w.int(&t, "Every", g.Every)
	w.uint(&t, "Phi", uint64(g.Phi))
	w.text(&t, "Kind", g.Kind)
	w.uint(&t, "Part", uint64(g.Part))
	w.uint(&t, "Runs", uint64(g.Runs))
	w.uint(&t, "More", uint64(g.More))
	w.uint(&t, "Gaps", uint64(g.Gaps))
	w.end(t)
}

func (w *writer) arm(a *Arm) {
	t := w.begin(21)
	w.text(&t, "Rollout", a.Rollout)
	w.uint(&t, "Stage", uint64(a.Stage))
	w.text(&t, "Stratum", a.Stratum)
	w.int(&t, "At", a.At)
	w.uint(&t, "RiskT", uint64(a.RiskT))
	w.uint(&t, "RiskC", uint64(a.RiskC))
	w.uint(&t, "FailT", uint64(a.FailT))
	w.uint(&t, "FailC", uint64(a.FailC))
	list(w, &t, "Failed", a.Failed, (*writer).gone)
	w.int(&t, "ExposureMS", a.ExposureMS)
	w.uint(&t, "InstallOK", uint64(a.InstallOK))
	w.uint(&t, "InstallBad", uint64(a.InstallBad))
	w.uint(&t, "Paper", uint64(a.Paper))
	w.uint(&t, "Postponed", uint64(a.Postponed))
	w.uint(&t, "Assigned", uint64(a.Assigned))
	w.uint(&t, "Entered", uint64(a.Entered))
	w.int(&t, "SoakedUntil", a.SoakedUntil)
	w.uint(&t, "DrawnT", uint64(a.DrawnT))
	w.uint(&t, "DrawnC", uint64(a.DrawnC))
	w.uint(&t, "DrawnFailT", uint64(a.DrawnFailT))
	w.uint(&t, "DrawnFailC", uint64(a.DrawnFailC))
	w.end(t)
}

func (w *writer) rank(r *Rank) {
	t := w.begin(9)
	w.text(&t, "Rollout", r.Rollout)
	w.uint(&t, "Stage", uint64(r.Stage))
	w.text(&t, "Stratum", r.Stratum)
	w.text(&t, "Metric", r.Metric)
	w.text(&t, "ID", r.ID)
	w.bool(&t, "Treated", r.Treated)
	w.int(&t, "At", r.At)
	w.int(&t, "Micro", r.Micro)
	w.bool(&t, "Trend", r.Trend)
	w.end(t)
}

func (w *writer) finding(f *Finding) {
	t := w.begin(11)
	w.text(&t, "Kind", f.Kind)
	w.text(&t, "Cohort", f.Cohort)
	w.text(&t, "Metric", f.Metric)
	w.text(&t, "ID", f.ID)
	w.uint(&t, "No", uint64(f.No))
	w.int(&t, "At", f.At)
	w.int(&t, "Score", f.Score)
	w.int(&t, "Value", f.Value)
	w.int(&t, "Usual", f.Usual)
	w.bool(&t, "Over", f.Over)
	w.uint(&t, "Reporting", uint64(f.Reporting))
	w.end(t)
}

func (w *writer) volume(v *Volume) {
	t := w.begin(6)
	w.text(&t, "Cohort", v.Cohort)
	w.text(&t, "Metric", v.Metric)
	w.int(&t, "Hour", v.Hour)
	w.int(&t, "Until", v.Until)
	w.uint(&t, "Values", v.Values)
	w.uint(&t, "Bytes", v.Bytes)
	w.end(t)
}

func (w *writer) sign(s *Sign) {
	t := w.begin(7)
	w.text(&t, "Kind", s.Kind)
	w.text(&t, "ID", s.ID)
	w.uint(&t, "No", uint64(s.No))
	w.text(&t, "Cohort", s.Cohort)
	w.int(&t, "At", s.At)
	w.uint(&t, "Count", s.Count)
	w.text(&t, "Detail", s.Detail)
	w.end(t)
}

func (w *writer) snapshot(s *Snapshot) {
	t := w.begin(5)
	w.uint(&t, "N", s.N)
	w.int(&t, "Telemetry", s.Telemetry)
	w.int(&t, "Events", s.Events)
	w.int(&t, "Registry", s.Registry)
	w.sum(&t, "SHA256", s.SHA256)
	w.end(t)
}
