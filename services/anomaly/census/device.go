package census

import (
	"hash/maphash"
	"math"
	"unsafe"
)

// Device is a device of this shard.
type Device struct {
	ID       string
	No       uint32
	Cohort   int32
	Region   string // its own, else its cohort's
	Interval int64  // ms: its own, else what its cohort was told, else 0
	Enrolled int64  // ms
	Active   bool
	Stratum  string // site|model: devices that can be compared
}

// device is a device as it is kept: 32 bytes.
type device struct {
	enrolled int64
	id       uint32 // in the arena
	no       uint32
	kind     uint32
	stratum  uint32
	region   uint16
	length   uint8
	flags    uint8
}

const (
	revoked = 1 << iota
	heldOff
)

// Len is the number of devices of this shard that there ever were.
func (s *State) Len() int { return len(s.devices) }

// Device gives a device by its index, which is dense, stable and never reused.
func (s *State) Device(i int32) Device {
	d := &s.devices[i]
	k := &s.kinds[d.kind]
	c := &s.cohorts[k.cohort]
	out := Device{
		ID: s.arena.text(d.id, d.length), No: d.no, Cohort: k.cohort, Region: s.regions.list[d.region],
		Interval: k.interval, Enrolled: d.enrolled, Active: s.active(d), Stratum: s.strata.list[d.stratum],
	}
	if out.Region == "" {
		out.Region = c.Region
	}
	if out.Interval == 0 {
		out.Interval = c.Told
	}
	return out
}

// CohortOf gives a device's cohort, and whether the device is active, at less cost than Device.
func (s *State) CohortOf(i int32) (cohort int32, active bool) {
	d := &s.devices[i]
	return s.kinds[d.kind].cohort, s.active(d)
}

// No gives a device's number.
func (s *State) No(i int32) uint32 { return s.devices[i].no }

func (s *State) active(d *device) bool {
	c := &s.cohorts[s.kinds[d.kind].cohort]
	return d.flags == 0 && !c.Revoked && !c.Quarantined
}

// Lookup finds a device of this shard by its id.
func (s *State) Lookup(id []byte) (int32, bool) {
	if len(s.ids.slots) == 0 {
		return 0, false
	}
	for at := s.ids.hash(id); ; at++ {
		i := s.ids.slots[at&s.ids.mask]
		if i == 0 {
			return 0, false
		}
		if d := &s.devices[i-1]; int(d.length) == len(id) && s.arena.text(d.id, d.length) == string(id) {
			return int32(i - 1), true
		}
	}
}

// LookupNo finds a device of this shard by its number.
func (s *State) LookupNo(no uint32) (int32, bool) {
	if uint64(no) >= uint64(len(s.fleet)) || s.fleet[no]&own == 0 {
		return 0, false
	}
	return int32(s.fleet[no] &^ own), true
}

// What fleet says of a number: unknown, ended, own|index of a device of this shard, or else 1 + the kind.
const (
	unknown = 0
	own     = 1 << 31
	ended   = own - 1
)

// kind is what devices have in common of which a cohort's interval is made.
type kind struct {
	cohort   int32
	devices  uint32
	interval int64
}

type kindKey struct {
	cohort   int32
	interval int64
}

// maxKinds bounds the intervals that are told apart in one cohort. A device with yet another one has told none.
const maxKinds = 4_096

func (s *State) kind(cohort int32, interval int64) uint32 {
	key := kindKey{cohort, interval}
	if k, ok := s.kindOf[key]; ok {
		return k
	}
	c := &s.cohorts[cohort]
	if interval != 0 && len(c.kinds) >= maxKinds {
		return s.kind(cohort, 0)
	}
	k := uint32(len(s.kinds))
	s.kinds = append(s.kinds, kind{cohort: cohort, interval: interval})
	s.kindOf[key] = k
	c.kinds = append(c.kinds, k)
	return k
}

// index finds devices by their ids: open addressing, half to three quarters full.
type index struct {
	seed  maphash.Seed
	slots []uint32 // 1 + index; 0 is free
	mask  uint64
}

func (x *index) hash(id []byte) uint64 { return maphash.Bytes(x.seed, id) }

// add makes the last of the devices findable.
func (s *State) index() {
	if 4*len(s.devices) > 3*len(s.ids.slots) {
		size := max(64, 2*len(s.ids.slots))
		s.ids = index{seed: maphash.MakeSeed(), slots: make([]uint32, size), mask: uint64(size - 1)}
		for i := range s.devices {
			s.put(i)
		}
		return
	}
	s.put(len(s.devices) - 1)
}

func (s *State) put(i int) {
	d := &s.devices[i]
	at := s.ids.hash(s.arena.bytes(d.id, d.length))
	for s.ids.slots[at&s.ids.mask] != 0 {
		at++
	}
	s.ids.slots[at&s.ids.mask] = uint32(i + 1)
}

// arena holds the ids, in chunks: it grows without being copied.
type arena struct {
	chunks [][]byte
}

const chunkSize = 1 << 16

func (a *arena) add(id string) uint32 {
	if n := len(a.chunks); n == 0 || len(a.chunks[n-1])+len(id) > chunkSize {
		a.chunks = append(a.chunks, make([]byte, 0, chunkSize))
	}
	last := len(a.chunks) - 1
	at := uint32(last*chunkSize + len(a.chunks[last]))
	a.chunks[last] = append(a.chunks[last], id...)
	return at
}

func (a *arena) bytes(at uint32, length uint8) []byte {
	from := at % chunkSize
	return a.chunks[at/chunkSize][from : from+uint32(length)]
}

// text gives the bytes themselves: they are never changed.
func (a *arena) text(at uint32, length uint8) string {
	p := a.bytes(at, length)
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// names holds texts that many devices have in common.
type names struct {
	list []string
	at   map[string]uint32
}

// add gives a text's place; beyond math.MaxUint16 texts all others are the first, which is none.
func (n *names) add(text string) uint32 {
	if at, ok := n.at[text]; ok {
		return at
	}
	if len(n.list) > math.MaxUint16 {
		return 0
	}
	if n.at == nil {
		n.at = map[string]uint32{}
	}
	at := uint32(len(n.list))
	text = string([]byte(text))
	n.list = append(n.list, text)
	n.at[text] = at
	return at
}
