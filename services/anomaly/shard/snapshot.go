package shard

import (
	"io"
	"maps"
	"math"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/state"
)

const (
	room    = "shard"
	version = 1
)

// part is a room that keeps a state of its own.
type part interface {
	Snapshot(w io.Writer) error
	Restore(r io.Reader) error
}

func (s *State) rooms() []part {
	return []part{s.census, s.silence, s.arms, s.series, s.meter, s.watch}
}

// Snapshot writes the state: everything but pages that nobody took, and records that wait for the other topic or for the
// registry. Position says where reading goes on after it.
func (s *State) Snapshot(to io.Writer) error {
	w := state.NewWriter(to)
	w.Head(room, version)
	w.U32(uint32(s.part))
	w.U32(uint32(s.parts))
	for t := range s.streams {
		w.I64(s.streams[t].next)
	}
	w.I64(s.start)
	w.I64(s.until)
	w.I64(s.due)
	w.U64(s.n)
	s.counts.write(w)
	s.clock.write(w)
	w.Len(len(s.held.all))
	for i := range s.held.all {
		h := &s.held.all[i]
		w.Int(h.at)
		w.Int(h.offset)
		w.U8(uint8(h.form))
		w.Bytes(h.key)
		w.Bytes(h.value)
	}
	w.Len(len(s.schemas))
	for _, id := range slices.Sorted(maps.Keys(s.schemas)) {
		w.U32(id)
		w.Len(len(s.schemas[id]))
		for _, name := range s.schemas[id] {
			w.Text(name)
		}
	}
	w.Len(len(s.firmware))
	for _, sum := range s.firmware {
		w.U32(sum)
	}
	for _, p := range s.rooms() {
		if err := p.Snapshot(w); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Restore reads a state that Snapshot wrote, into a shard to which nothing was told. After an error the shard is to be
// thrown away.
func (s *State) Restore(from io.Reader) error {
	r := state.NewReader(from)
	r.Head(room, version)
	if part, parts := int32(r.U32()), int32(r.U32()); r.Err() == nil && (part != s.part || parts != s.parts) {
		r.Spoil("it is shard %d of %d, not %d of %d", part, parts, s.part, s.parts)
	}
	for t := range s.streams {
		s.streams[t].next = r.I64()
	}
	s.start, s.until, s.due, s.n = r.I64(), r.I64(), r.I64(), r.U64()
	s.counts.read(r)
	s.clock.read(r)
	s.clock.fixed = s.n > 0
	for range r.Len(math.MaxInt32) {
		h := held{at: r.Int(), offset: r.Int(), form: form(r.U8()), key: r.Bytes(maxKey), value: r.Bytes(maxValue)}
		if r.Err() != nil {
			return r.Err()
		}
		s.held.add(h)
	}
	for range r.Len(math.MaxInt32) {
		id := r.U32()
		names := []string{}
		for range r.Len(event.MaxSchemaMetrics) {
			names = append(names, r.Text())
		}
		if r.Err() != nil {
			return r.Err()
		}
		s.schemas[id] = names
	}
	for range r.Len(math.MaxInt32) {
		if s.firmware = append(s.firmware, r.U32()); r.Err() != nil {
			return r.Err()
		}
	}
	for _, p := range s.rooms() {
		if err := p.Restore(r); err != nil {
			return err
		}
	}
	if len(s.firmware) > s.census.Len() {
		r.Spoil("it knows what %d devices run, of %d", len(s.firmware), s.census.Len())
	}
	s.grid()
	s.asking, s.answered = false, false
	return r.Err()
}

// Bounds of what a snapshot may hold in one record.
const (
	maxKey   = 1 << 16
	maxValue = 16 << 20
)

func (c *Counts) all() []*uint64 {
	return []*uint64{&c.Records, &c.Marks, &c.Late, &c.Unknown, &c.Malformed, &c.Unnamed, &c.Moved, &c.Rows, &c.Stale}
}

func (c *Counts) write(w *state.Writer) {
	for _, n := range c.all() {
		w.U64(*n)
	}
}

func (c *Counts) read(r *state.Reader) {
	for _, n := range c.all() {
		*n = r.U64()
	}
}

func (c *clock) write(w *state.Writer) {
	w.I64(c.now)
	w.I64(c.elapsed)
	w.I64(c.moved)
	w.U64(c.tooMany)
	w.Len(len(c.gateways))
	for i := range c.gateways {
		g := &c.gateways[i]
		w.Bytes([]byte(g.name))
		w.Bytes([]byte(g.region))
		for _, n := range []int64{g.last, g.raw, g.beat, int64(g.run), g.elapsed, g.heard} {
			w.Int(n)
		}
		w.Bool(g.wrong)
	}
	w.Len(len(c.outages))
	for i := range c.outages {
		o := &c.outages[i]
		w.Bytes([]byte(o.Region))
		w.Int(o.From)
		w.Int(o.Until)
		w.Bool(o.All)
		w.Bool(o.told)
		w.Bool(o.closed)
	}
}

func (c *clock) read(r *state.Reader) {
	c.now, c.elapsed, c.moved, c.tooMany = r.I64(), r.I64(), r.I64(), r.U64()
	for range r.Len(maxGateways) {
		g := gateway{name: string(r.Bytes(maxKey)), region: string(r.Bytes(maxKey)), last: r.Int(), raw: r.Int(), beat: r.Int(), run: int(r.Int()), elapsed: r.Int(), heard: r.Int(), wrong: r.Bool()}
		if r.Err() != nil {
			return
		}
		c.gateways = append(c.gateways, g)
	}
	c.room()
	for range r.Len(math.MaxInt32) {
		o := outage{Region: string(r.Bytes(maxKey)), From: r.Int(), Until: r.Int(), All: r.Bool(), told: r.Bool(), closed: r.Bool()}
		if r.Err() != nil {
			return
		}
		c.outages = append(c.outages, o)
	}
}
