package census

import (
	"io"
	"maps"
	"math"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/state"
)

const (
	room    = "census"
	version = 1
)

// Snapshot writes the state.
func (s *State) Snapshot(to io.Writer) error {
	w := state.NewWriter(to)
	w.Head(room, version)
	w.U32(uint32(s.part))
	w.U32(uint32(s.parts))
	w.I64(s.next)
	w.U64(s.n)
	_, _ = w.Write(s.prev[:])
	w.U64(s.ignored)
	for _, list := range []names{s.regions, s.strata} {
		w.Len(len(list.list))
		for _, name := range list.list {
			w.Text(name)
		}
	}
	w.Len(len(s.cohorts))
	for i := range s.cohorts {
		s.cohorts[i].write(w)
	}
	w.Len(len(s.kinds))
	for _, k := range s.kinds {
		w.Uint(uint64(k.cohort))
		w.Int(k.interval)
	}
	w.Len(len(s.devices))
	for i := range s.devices {
		d := &s.devices[i]
		w.Text(s.arena.text(d.id, d.length))
		w.U32(d.no)
		w.Uint(uint64(d.kind))
		w.Uint(uint64(d.stratum))
		w.Uint(uint64(d.region))
		w.U8(d.flags)
		w.Int(d.enrolled)
	}
	w.Len(len(s.fleet))
	for _, at := range s.fleet {
		w.U32(at)
	}
	w.Len(len(s.successor))
	for _, old := range slices.Sorted(maps.Keys(s.successor)) {
		w.U32(old)
		w.U32(s.successor[old])
	}
	return w.Flush()
}

func (c *Cohort) write(w *state.Writer) {
	w.Text(c.Name)
	w.Text(c.Region)
	w.Int(c.defined)
	w.Bool(c.Revoked)
	w.Bool(c.Quarantined)
	w.Len(len(c.Sleep))
	for _, s := range c.Sleep {
		w.U8(s.Days)
		w.U16(s.From)
		w.U16(s.To)
	}
}

// Restore reads a state that Snapshot wrote, of the same part. After an error the state is to be thrown away.
func (s *State) Restore(from io.Reader) error {
	r := state.NewReader(from)
	r.Head(room, version)
	part, parts := int32(r.U32()), int32(r.U32())
	if r.Err() == nil && (part != s.part || parts != s.parts) {
		r.Spoil("it is part %d of %d, not %d of %d", part, parts, s.part, s.parts)
	}
	*s = *New(s.part, s.parts)
	s.next, s.n = r.I64(), r.U64()
	if _, err := io.ReadFull(r, s.prev[:]); err != nil {
		r.Spoil("the chain: %w", err)
	}
	s.ignored = r.U64()
	for _, list := range []*names{&s.regions, &s.strata} {
		for i := range r.Len(math.MaxUint16 + 1) {
			if at := list.add(r.Text()); r.Err() == nil && int(at) != i {
				r.Spoil("a name is there twice")
			}
			if r.Err() != nil {
				return r.Err()
			}
		}
	}
	for i := range r.Len(math.MaxInt32) {
		if s.readCohort(r, int32(i)); r.Err() != nil {
			return r.Err()
		}
	}
	for i := range r.Len(math.MaxInt32) {
		cohort, interval := r.Uint(), r.Int()
		if cohort >= uint64(len(s.cohorts)) {
			r.Spoil("a kind of cohort %d", cohort)
		}
		if r.Err() != nil {
			return r.Err()
		}
		if int(s.kind(int32(cohort), interval)) != i {
			r.Spoil("a kind is there twice")
		}
	}
	for range r.Len(math.MaxInt32) {
		if s.readDevice(r); r.Err() != nil {
			return r.Err()
		}
	}
	s.readFleet(r)
	for range r.Len(len(s.fleet)) {
		old, by := r.U32(), r.U32()
		s.successor[old], s.successes[by] = by, true
	}
	s.changes = s.changes[:0]
	return r.Err()
}

func (s *State) readCohort(r *state.Reader, want int32) {
	at := s.place(r.Text())
	if r.Err() == nil && at != want {
		r.Spoil("a cohort is there twice")
	}
	if r.Err() != nil {
		return
	}
	c := &s.cohorts[at]
	c.Region, c.defined, c.Revoked, c.Quarantined = r.Text(), r.Int(), r.Bool(), r.Bool()
	var sleep []event.Sleep
	for range r.Len(event.MaxSleep) {
		sleep = append(sleep, event.Sleep{Days: r.U8(), From: r.U16(), To: r.U16()})
	}
	c.sleep(sleep)
	s.told(at)
}

func (s *State) readDevice(r *state.Reader) {
	id := r.Bytes(math.MaxUint8)
	d := device{no: r.U32(), length: uint8(len(id))}
	k, stratum, region := r.Uint(), r.Uint(), r.Uint()
	d.flags, d.enrolled = r.U8(), r.Int()
	if r.Err() == nil && (k >= uint64(len(s.kinds)) || stratum >= uint64(len(s.strata.list)) || region >= uint64(len(s.regions.list))) {
		r.Spoil("device %q is of something that is not there", id)
	}
	if r.Err() != nil {
		return
	}
	if _, twice := s.Lookup(id); twice {
		r.Spoil("device %q is there twice", id)
		return
	}
	d.id, d.kind, d.stratum, d.region = s.arena.add(string(id)), uint32(k), uint32(stratum), uint16(region)
	s.devices = append(s.devices, d)
	s.index()
	if i := int32(len(s.devices) - 1); s.active(&s.devices[i]) {
		s.cohorts[s.kinds[k].cohort].Members++
	}
}

// readFleet reads what is known by number. What the cohorts were told follows from it.
func (s *State) readFleet(r *state.Reader) {
	n := r.Len(math.MaxInt32)
	s.fleet = s.fleet[:0]
	for range n {
		at := r.U32()
		switch {
		case at == unknown || at == ended:
		case at&own != 0:
			if int64(at&^own) >= int64(len(s.devices)) {
				r.Spoil("number %d is of no device", len(s.fleet))
			} else if d := &s.devices[at&^own]; d.flags&revoked == 0 {
				s.count(d.kind, 1)
			}
		case uint64(at) > uint64(len(s.kinds)):
			r.Spoil("number %d is of no kind", len(s.fleet))
		default:
			s.count(at-1, 1)
		}
		if r.Err() != nil {
			return
		}
		s.fleet = append(s.fleet, at)
	}
	if len(s.fleet) == 0 {
		r.Spoil("no number is known")
	}
}
