package recent

import "sync"

// Key names one message of one device for ever.
type Key struct {
	Device uint32
	Boot   uint32
	Seq    uint64
	Stream uint8
}

// packed is a Key in 16 bytes: maps of it are smaller, and hashed at once. A seq has 53 bits.
type packed struct{ who, what uint64 }

func (k Key) pack() packed {
	return packed{uint64(k.Device)<<32 | uint64(k.Boot), uint64(k.Stream)<<56 | k.Seq&(1<<56-1)}
}

// Verdict is what a key is to the window.
type Verdict uint8

const (
	// Fresh is a key that is not remembered: publish it, then Settle the flight.
	Fresh Verdict = iota
	// Flying is a key with the same hash on its way to the log: wait for its flight.
	Flying
	// Known is a key with the same hash that the log confirmed.
	Known
	// Conflict is a key that stands for another payload.
	Conflict
)

// Window is the bounded memory. Safe for concurrent use.
type Window struct {
	shards [shards]shard
}

const shards = 32

type shard struct {
	mu     sync.Mutex
	known  map[packed]uint32  // guarded by mu: hashes of what the log confirmed; no pointers, so that the GC skips it
	order  []packed           // guarded by mu: ring of known's keys, oldest at next
	next   int                // guarded by mu
	flying map[packed]*Flight // guarded by mu; as many as the producer may hold
	high   map[uint64]counter // guarded by mu: per device and stream
	most   int
}

type counter struct {
	boot uint32
	seq  uint64
}

// Flight is one message on its way to the log.
type Flight struct {
	key  packed
	in   *shard
	hash uint32
	wait chan struct{} // made by the first that joins, closed when settled; guarded by the shard
	err  error         // written before wait closes
}

// NewWindow remembers about most confirmed keys, and the counters of as many devices.
func NewWindow(most int) *Window {
	w := &Window{}
	for i := range w.shards {
		s := &w.shards[i]
		s.most = max(most/shards, 1)
		s.known = make(map[packed]uint32)
		s.flying = map[packed]*Flight{}
		s.high = map[uint64]counter{}
	}
	return w
}

func (w *Window) shard(k Key) *shard { return &w.shards[k.Device%shards] }

// Begin looks the key up. With Fresh and Flying a flight comes back: for Fresh it is f, which the caller owns until it
// is settled and must settle exactly once; for Flying it is another's, to be waited for. back is how far a fresh key's seq
// lies below the highest that this boot used before; 0 is not at all.
func (w *Window) Begin(k Key, hash uint32, f *Flight) (v Verdict, flight *Flight, back uint64) {
	s, id := w.shard(k), k.pack()
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.flying[id]; other != nil {
		if other.hash != hash {
			return Conflict, nil, 0
		}
		if other.wait == nil {
			other.wait = make(chan struct{})
		}
		return Flying, other, 0
	}
	if known, ok := s.known[id]; ok {
		if known != hash {
			return Conflict, nil, 0
		}
		return Known, nil, 0
	}
	*f = Flight{key: id, in: s, hash: hash}
	s.flying[id] = f
	return Fresh, f, s.count(k)
}

// count moves the high mark of the device's stream.
func (s *shard) count(k Key) (back uint64) {
	id := uint64(k.Device)<<8 | uint64(k.Stream)
	last, ok := s.high[id]
	if ok && last.boot == k.Boot && k.Seq < last.seq {
		return last.seq - k.Seq
	}
	if !ok && len(s.high) >= s.most {
		for other := range s.high { // any: a device that is forgotten only loses a warning
			delete(s.high, other)
			break
		}
	}
	s.high[id] = counter{boot: k.Boot, seq: k.Seq}
	return 0
}

// Settle ends a flight. With a nil err its key is remembered as confirmed; with an error it is forgotten, since
// nobody knows whether the log has it: a retry must go to the log again.
func (*Window) Settle(f *Flight, err error) {
	s := f.in
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying, f.key)
	if err == nil {
		s.remember(f.key, f.hash)
	}
	f.err = err
	if f.wait != nil {
		close(f.wait)
	}
}

func (s *shard) remember(k packed, hash uint32) {
	if len(s.order) < s.most {
		s.order = append(s.order, k)
	} else {
		delete(s.known, s.order[s.next])
		s.order[s.next] = k
		s.next = (s.next + 1) % s.most
	}
	s.known[k] = hash
}

// Done closes when another's flight is settled; Err is valid from then on.
func (f *Flight) Done() <-chan struct{} { return f.wait }

// Err is how the flight ended.
func (f *Flight) Err() error { return f.err }

// Joined tells whether somebody waits, or ever waited, for the flight: its memory must not be used again then.
// Only valid once it is settled.
func (f *Flight) Joined() bool { return f.wait != nil }

// Len is how many keys are known and how many are flying.
func (w *Window) Len() (known, flying int) {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		known += len(s.known)
		flying += len(s.flying)
		s.mu.Unlock()
	}
	return known, flying
}
