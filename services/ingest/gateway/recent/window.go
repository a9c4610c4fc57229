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
	// Flying is a key with the same hash on its way to the log: the Joiner hears how that ends.
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
	key    packed
	in     *shard
	hash   uint32
	joined []Joiner // guarded by the shard
}

// Joiner is one who brings a message that is on its way already.
type Joiner interface {
	// Joined is told how the other's flight ended, once. It is called by whoever settles that, and must not wait.
	Joined(err error)
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

// Begin looks the key up. With Fresh the flight f is under way; the caller owns it until it is settled, and must settle it
// exactly once. With Flying j hears how the other's flight ends, maybe before Begin returns; with anything else it hears
// nothing. back is how far a fresh key's seq lies below the highest that this boot used before; 0 is not at all.
func (w *Window) Begin(k Key, hash uint32, f *Flight, j Joiner) (v Verdict, back uint64) {
	s, id := w.shard(k), k.pack()
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.flying[id]; other != nil {
		if other.hash != hash {
			return Conflict, 0
		}
		other.joined = append(other.joined, j)
		return Flying, 0
	}
	if known, ok := s.known[id]; ok {
		if known != hash {
			return Conflict, 0
		}
		return Known, 0
	}
	*f = Flight{key: id, in: s, hash: hash}
	s.flying[id] = f
	return Fresh, s.count(k)
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

// Settle ends a flight and tells those that joined. With a nil err its key is remembered as confirmed; with an error it
// is forgotten, since nobody knows whether the log has it: a retry must go to the log again. The flight's memory is the
// caller's again.
func (*Window) Settle(f *Flight, err error) {
	for _, j := range f.in.settle(f, err) {
		j.Joined(err)
	}
}

func (s *shard) settle(f *Flight, err error) (joined []Joiner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying, f.key)
	if err == nil {
		s.remember(f.key, f.hash)
	}
	joined, f.joined = f.joined, nil
	return joined
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
