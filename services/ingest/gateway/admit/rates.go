package admit

import (
	"sync"
	"time"
)

// Rate is what one device may send.
type Rate struct {
	// Messages a second, and how many at once.
	Messages      float64
	MessagesBurst float64
	// Bytes of bodies a second, as they come over the wire, and how many at once.
	Bytes      float64
	BytesBurst float64
}

// Rates holds one token bucket per device. A bucket that is full again is the same as no bucket, so the map is bounded
// by forgetting full ones, and, when devices send faster than buckets fill, the fullest of a few picked by chance: a
// device gains at most one burst by that. Safe for concurrent use.
type Rates struct {
	rate   Rate
	bound  int // buckets per shard
	shards [rateShards]rateShard
}

const rateShards = 64

type rateShard struct {
	mu      sync.Mutex
	buckets map[uint32]bucket // guarded by mu
	_       [40]byte          // shards on lines of their own
}

type bucket struct {
	at       int64 // ns at which the sums below held
	messages float64
	bytes    float64
}

// NewRates remembers at most about most devices.
func NewRates(rate Rate, most int) *Rates {
	r := &Rates{rate: rate, bound: max(most/rateShards, 1)}
	for i := range r.shards {
		r.shards[i].buckets = map[uint32]bucket{}
	}
	return r
}

// Take charges a message of n bytes to the device. When it may not be sent now, nothing is charged and wait is how
// long until it may. A body larger than the whole burst passes once the bucket is full, and leaves a debt.
func (r *Rates) Take(device uint32, n int64, now time.Time) (ok bool, wait time.Duration) {
	s := &r.shards[device%rateShards]
	at := now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.buckets[device]
	if !known {
		b = bucket{at: at, messages: r.rate.MessagesBurst, bytes: r.rate.BytesBurst}
		if len(s.buckets) >= r.bound {
			r.forget(s, at)
		}
	}
	b = r.fill(b, at)
	need := min(float64(n), r.rate.BytesBurst)
	if lackMessages, lackBytes := 1-b.messages, need-b.bytes; lackMessages > 0 || lackBytes > 0 {
		seconds := max(lackMessages/r.rate.Messages, lackBytes/r.rate.Bytes)
		s.buckets[device] = b
		return false, time.Duration(seconds * float64(time.Second))
	}
	b.messages--
	b.bytes -= float64(n)
	s.buckets[device] = b
	return true, 0
}

// Charge adds bytes that were not declared, as those of a chunked body. It may leave a debt, which the next Take meets.
func (r *Rates) Charge(device uint32, n int64) {
	s := &r.shards[device%rateShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, known := s.buckets[device]; known {
		b.bytes -= float64(n)
		s.buckets[device] = b
	}
}

// Devices is how many buckets are remembered.
func (r *Rates) Devices() int {
	sum := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		sum += len(s.buckets)
		s.mu.Unlock()
	}
	return sum
}

func (r *Rates) fill(b bucket, at int64) bucket {
	// A clock that steps back adds nothing.
	if elapsed := float64(at-b.at) / float64(time.Second); elapsed > 0 {
		b.messages = min(b.messages+elapsed*r.rate.Messages, r.rate.MessagesBurst)
		b.bytes = min(b.bytes+elapsed*r.rate.Bytes, r.rate.BytesBurst)
		b.at = at
	}
	return b
}

// forget drops a few buckets; Go's map order is the chance.
func (r *Rates) forget(s *rateShard, at int64) {
	const look = 16
	var fullest uint32
	best, seen := -1.0, 0
	for device, b := range s.buckets {
		b = r.fill(b, at)
		share := min(b.messages/r.rate.MessagesBurst, b.bytes/r.rate.BytesBurst)
		if share >= 1 {
			delete(s.buckets, device)
		} else if share > best || seen == 0 {
			best, fullest = share, device
		}
		if seen++; seen == look {
			break
		}
	}
	if len(s.buckets) >= r.bound {
		delete(s.buckets, fullest)
	}
}
