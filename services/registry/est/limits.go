package est

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"muster.dev/platform/share"
)

// bounded is a listener that refuses connections beyond a number in all and of one address.
type bounded struct {
	net.Listener
	total, each *share.Slots[netip.Prefix]
	metrics     *metrics
}

// everybody is the one holder of what all hold together.
var everybody netip.Prefix

func bound(l net.Listener, most, per int, m *metrics) *bounded {
	return &bounded{Listener: l, total: share.NewSlots[netip.Prefix](most), each: share.NewSlots[netip.Prefix](per), metrics: m}
}

// Accept gives the next connection that stays within the bounds; others are closed at once.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := share.Address(c.RemoteAddr().String())
		if reason := b.take(from); reason != "" {
			b.metrics.refused.WithLabelValues(reason).Inc()
			_ = c.Close() // refused: how it closes is of no interest
			continue
		}
		b.metrics.open.Inc()
		return &counted{Conn: c, of: b, from: from}, nil
	}
}

func (b *bounded) take(from netip.Prefix) (refused string) {
	if !b.total.Take(everybody) {
		return "total"
	}
	if !b.each.Take(from) {
		b.total.Give(everybody)
		return "address"
	}
	return ""
}

func (b *bounded) give(from netip.Prefix) {
	b.each.Give(from)
	b.total.Give(everybody)
}

// counted is a connection that gives its place back when it closes.
type counted struct {
	net.Conn
	of   *bounded
	from netip.Prefix
	once sync.Once
}

// Close closes; the place comes back with the first call.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.of.give(c.from)
		c.of.metrics.open.Dec()
	})
	return c.Conn.Close()
}

// mostBuckets bounds the memory of rates. A bucket that is full is the same as none.
const mostBuckets = 10_000

// rates holds a token bucket for each key that has asked lately.
type rates[K comparable] struct {
	rate, burst float64
	now         func() time.Time

	mu      sync.Mutex
	buckets map[K]bucket // guarded by mu
}

type bucket struct {
	at     time.Time
	tokens float64
}

func newRates[K comparable](rate, burst float64, now func() time.Time) *rates[K] {
	return &rates[K]{rate: rate, burst: burst, now: now, buckets: map[K]bucket{}}
}

// take takes a token; 0 is that there was one, else how long until there is.
func (r *rates[K]) take(key K) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.fill(key)
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / r.rate * float64(time.Second))
	}
	b.tokens--
	r.put(key, b)
	return 0
}

// empty is take without taking.
func (r *rates[K]) empty(key K) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.fill(key); b.tokens < 1 {
		return time.Duration((1 - b.tokens) / r.rate * float64(time.Second))
	}
	return 0
}

func (r *rates[K]) fill(key K) bucket {
	now := r.now()
	b, known := r.buckets[key]
	if !known {
		return bucket{at: now, tokens: r.burst}
	}
	if gone := now.Sub(b.at).Seconds(); gone > 0 { // a clock that steps back adds nothing
		b.tokens = min(b.tokens+gone*r.rate, r.burst)
	}
	b.at = now
	return b
}

// put remembers a bucket. Where there are too many, those that are full again go, and if there are none of the few that
// are looked at, any: who is forgotten gains one burst.
func (r *rates[K]) put(key K, b bucket) {
	if _, known := r.buckets[key]; !known && len(r.buckets) >= mostBuckets {
		const look = 16
		seen := 0
		for other := range r.buckets { // Go's order of a map is the chance
			if seen++; seen == look || r.fill(other).tokens >= r.burst {
				delete(r.buckets, other)
			}
			if seen == look {
				break
			}
		}
	}
	r.buckets[key] = b
}
