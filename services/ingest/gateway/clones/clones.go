package clones

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"muster.dev/proto/identity"
	"muster.dev/services/ingest/sign"
)

const (
	// Window is the time in which turns count.
	Window = 5 * time.Minute
	// returns to the place before that make a sign: here, there, here again, there again.
	returns = 2
	// Every is the time between two signs of one kind of one device.
	Every = time.Minute
)

// Place is where messages come from: one address, one certificate.
type Place struct {
	Address netip.Addr
	Serial  string
	Key     [32]byte // SHA-256 of the certificate's public key
}

func sameAddress(a, b *Place) bool { return network(a.Address) == network(b.Address) }

// network is what tells two addresses apart: an IPv6 host picks a new one of its /64 every day, and several at once.
func network(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

func sameKey(a, b *Place) bool { return a.Key == b.Key }

// Watch remembers devices. Safe for concurrent use.
type Watch struct {
	most   int // devices per shard
	shards [shards]shard
}

const shards = 32

type shard struct {
	mu      sync.Mutex
	devices map[identity.Device]*device // guarded by mu
}

// NewWatch remembers about most devices; one that is forgotten loses the beginning of a sign, no more.
func NewWatch(most int) *Watch {
	w := &Watch{most: max(most/shards, 1)}
	for i := range w.shards {
		w.shards[i].devices = map[identity.Device]*device{}
	}
	return w
}

// device is one, with all its connections.
type device struct {
	last atomic.Pointer[Place] // of the last message: whoever sends again from there costs one comparison

	mu        sync.Mutex
	places    [2]*Place              // guarded by mu: one copy for all connections of a place; the last two
	addresses turns                  // guarded by mu
	keys      turns                  // guarded by mu
	told      map[sign.Kind]*telling // guarded by mu
}

// telling is when a kind was told last, and how many were not told since.
type telling struct {
	at   int64
	more uint64
}

// Seat is one connection of a device.
type Seat struct {
	device *device
	place  *Place
}

// Enter gives a new connection its seat.
func (w *Watch) Enter(id identity.Device, p Place) *Seat {
	s := &w.shards[shardOf(id)]
	s.mu.Lock()
	d := s.devices[id]
	if d == nil {
		if len(s.devices) >= w.most {
			for other := range s.devices { // any
				delete(s.devices, other)
				break
			}
		}
		d = &device{told: map[sign.Kind]*telling{}}
		s.devices[id] = d
	}
	s.mu.Unlock()
	return &Seat{d, d.place(p)}
}

func shardOf(id identity.Device) uint32 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return h % shards
}

// place is the one copy of p, as long as the device is in no more than two.
func (d *device) place(p Place) *Place {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, known := range d.places {
		if known != nil && *known == p {
			return known
		}
	}
	d.places[0], d.places[1] = &p, d.places[0]
	return &p
}

// Place is where the connection comes from.
func (s *Seat) Place() Place { return *s.place }

// Came says that a message came, and gives what it is a sign of: mostly nothing, at the price of a comparison. other is
// where the device was before.
func (s *Seat) Came(at time.Time) (kinds []sign.Kind, other Place) {
	if s.device.last.Load() == s.place {
		return nil, Place{}
	}
	return s.device.came(s.place, at.UnixNano())
}

func (d *device) came(p *Place, at int64) (kinds []sign.Kind, other Place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last.Store(p)
	if from := d.addresses.came(p, at, sameAddress); from != nil {
		kinds, other = append(kinds, sign.TwoAddresses), *from
	}
	if from := d.keys.came(p, at, sameKey); from != nil {
		kinds, other = append(kinds, sign.TwoCertificates), *from
	}
	return kinds, other
}

// turns follows a device between two places that differ in one respect.
type turns struct {
	here, there *Place
	returns     int
	since       int64 // when it left for the first time
}

// came is the place before, when the device has come and gone once too often.
func (t *turns) came(p *Place, at int64, same func(a, b *Place) bool) *Place {
	switch {
	case t.here == nil || same(p, t.here):
		t.here = p
		return nil
	case t.there != nil && same(p, t.there) && at-t.since <= int64(Window):
		t.here, t.there = p, t.here
		if t.returns++; t.returns >= returns {
			return t.there
		}
		return nil
	}
	// Somewhere new; or back, after a while.
	t.here, t.there, t.returns, t.since = p, t.here, 0, at
	return nil
}

// Tell says whether a sign of this kind is to be told now, and if so how many were not since the last one.
func (s *Seat) Tell(kind sign.Kind, at time.Time) (more uint64, ok bool) {
	d := s.device
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.told[kind]
	switch now := at.UnixNano(); {
	case t == nil:
		d.told[kind] = &telling{at: now}
		return 0, true
	case now-t.at < int64(Every):
		t.more++
		return 0, false
	default:
		more = t.more
		*t = telling{at: now}
		return more, true
	}
}

// Devices is how many are remembered.
func (w *Watch) Devices() int {
	sum := 0
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		sum += len(s.devices)
		s.mu.Unlock()
	}
	return sum
}
