//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/device"
	"muster.dev/fleet/simulator"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

// key names one message for ever.
type key struct {
	device string
	boot   uint32
	seq    uint64
}

// sent is what the fleet knows of a message before its first byte leaves.
type sent struct {
	hash   uint32
	values int
	tick   int64 // sum of the metric tick in it
}

// fleet is a number of devices that send each message one to five times over two gateways, cut some of the requests
// off in the middle, and go on to the next message only when one of the copies was answered with 200.
type fleet struct {
	journal *simulator.Journal
	path    string
	habits  habits
	metrics atomic.Int64 // how many metrics there are beside the first ones: grows while the fleet runs

	answered, duplicates, copies, cuts, unsure, shed atomic.Int64

	mu      sync.Mutex // over those below
	sent    map[key]sent
	refused []string
	accepts []accept

	done   sync.WaitGroup
	stop   context.CancelFunc
	closed bool
}

// habits are how a fleet lives.
type habits struct {
	devices int
	wait    time.Duration // between two messages of a device, about
	again   time.Duration // at most, before a message that was not confirmed is sent again
	cuts    int           // of so many requests the client goes away in the middle of one
}

func usual(devices int, wait time.Duration) habits {
	return habits{devices: devices, wait: wait, again: 300 * time.Millisecond, cuts: 12}
}

// accept is a message that a gateway took as new.
type accept struct {
	door      int
	began, at time.Time
}

// startFleet enrols devices and lets them live.
func (s *site) startFleet(h habits, second string, seed uint64) *fleet {
	s.t.Helper()
	names := make([]string, h.devices)
	for i := range names {
		names[i] = fmt.Sprintf("tort-%04d", i)
	}
	if err := (stack.Site{Dir: s.dir, Ports: s.ports}).EnrollFleet(s.t.Context(), names, func(string) {}); err != nil {
		s.t.Fatal(err)
	}
	f := &fleet{habits: h, sent: map[key]sent{}, path: filepath.Join(s.t.TempDir(), "journal")}
	var err error
	if f.journal, err = simulator.OpenJournal(f.path); err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.t.Context())
	f.stop = stop
	s.t.Cleanup(func() { f.end() })
	for i, name := range names {
		id, err := device.LoadIdentity(s.dir.Identity(name))
		if err != nil {
			s.t.Fatal(err)
		}
		u := &unit{fleet: f, name: name, rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), boot: 1}
		for _, url := range []string{s.ports.GatewayURL(), second} {
			cfg := device.DefaultConfig()
			cfg.Gateway = url
			c, err := device.NewClient(cfg, id)
			if err != nil {
				s.t.Fatal(err)
			}
			u.doors = append(u.doors, c)
		}
		f.done.Go(func() { u.live(ctx) })
	}
	return f
}

// end stops the fleet where it stands and closes the journal.
func (f *fleet) end() error {
	f.stop()
	f.done.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	return f.journal.Close()
}

// unit is one device.
type unit struct {
	fleet *fleet
	name  string
	rng   *rand.Rand
	doors []*device.Client
	boot  uint32
	seq   uint64
	last  int64
	build batch.Builder
}

func (u *unit) live(ctx context.Context) {
	defer func() {
		for _, d := range u.doors {
			d.Close()
		}
	}()
	if !u.known(ctx) {
		return
	}
	for ctx.Err() == nil {
		body, m := u.measure()
		k := key{u.name, u.boot, u.seq}
		u.fleet.mu.Lock()
		u.fleet.sent[k] = m
		u.fleet.mu.Unlock()
		if !u.deliver(ctx, k, m, body) {
			return
		}
		u.seq++
		if u.rng.IntN(150) == 0 {
			u.boot, u.seq = u.boot+1, 0
		}
		if wait := u.fleet.habits.wait; !pause(ctx, wait/2+time.Duration(u.rng.Int64N(int64(wait)))) {
			return
		}
	}
}

// known waits until both gateways have heard of the device: they follow the registry's log. What they are asked with is no
// message, and is refused as such.
func (u *unit) known(ctx context.Context) bool {
	for _, door := range u.doors {
		for {
			_, err := door.Post(ctx, nil)
			var refusal *device.Refusal
			if errors.As(err, &refusal) && refusal.Reason != "not-enrolled" {
				break
			}
			if !pause(ctx, 50*time.Millisecond) {
				return false
			}
		}
	}
	return true
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// measure builds the next message.
func (u *unit) measure() ([]byte, sent) {
	b, m := &u.build, sent{}
	b.Reset()
	b.SetKey(u.boot, u.seq)
	b.SetFirmware("tort-1")
	at := max(time.Now().UnixMilli(), u.last+10)
	for range 1 + u.rng.IntN(3) {
		tick := u.rng.Int64N(1000)
		b.SetInt(at, "tick", tick)
		b.SetScaled(at, "temp_c", 150+u.rng.Int64N(100), 1)
		b.SetText(at, "mode", []string{"idle", "heat", "cool"}[u.rng.IntN(3)])
		if n := u.fleet.metrics.Load(); n > 0 {
			b.SetInt(at, fmt.Sprintf("extra_%d", u.rng.Int64N(n)), int64(u.seq))
		}
		m.tick += tick
		u.last = at
		at++
	}
	m.values = b.Len()
	body, err := b.AppendTo(nil)
	if err != nil {
		panic(err) // what we build is well formed, or nothing here means anything
	}
	m.hash = record.Hash(body)
	return body, m
}

// deliver sends a message until a copy was answered, and then the copies that are left. False is the fleet's end.
func (u *unit) deliver(ctx context.Context, k key, m sent, body []byte) bool {
	f := u.fleet
	copies := 1
	if u.rng.IntN(3) == 0 {
		copies = 1 + u.rng.IntN(5)
	}
	told, attempts := false, 0
	for !told || copies > 0 {
		door := u.rng.IntN(len(u.doors))
		try, cancel := ctx, context.CancelFunc(func() {})
		cut := u.rng.IntN(f.habits.cuts) == 0
		if cut { // the client goes away in the middle, before the body's end or the answer
			try, cancel = context.WithTimeout(ctx, time.Duration(u.rng.Int64N(int64(25*time.Millisecond))))
		}
		began := time.Now()
		r, err := u.doors[door].Post(try, body)
		cancel()
		attempts++
		copies--
		f.copies.Add(1)
		var refusal *device.Refusal
		switch {
		case ctx.Err() != nil && err != nil:
			return false
		case err == nil:
			if r.Duplicate {
				f.duplicates.Add(1)
			} else {
				f.accepted(accept{door, began, time.Now()})
			}
			if !told {
				told = true
				f.answered.Add(1)
				f.journal.Append(simulator.Line{Device: k.device, Boot: k.boot, Seq: k.seq, Hash: m.hash, Values: m.values, Duplicate: r.Duplicate, Attempts: attempts, At: time.Now().UnixMilli()})
			}
			if r.Values != m.values || r.Quarantined != 0 {
				f.note(fmt.Sprintf("%v: %d values sent, the receipt says %d, %d of them quarantined", k, m.values, r.Values, r.Quarantined))
			}
		case errors.As(err, &refusal):
			f.note(fmt.Sprintf("%v: %d %v", k, refusal.Status, refusal))
			return false
		case cut:
			f.cuts.Add(1)
		default:
			f.unsure.Add(1)
			var unsure *device.Unsure
			if errors.As(err, &unsure) && unsure.Status == http.StatusServiceUnavailable {
				f.shed.Add(1)
			}
			if told {
				break // what is left are courtesy copies
			}
			if again := f.habits.again; !pause(ctx, again/6+time.Duration(u.rng.Int64N(int64(again*5/6)))) {
				return false
			}
		}
	}
	return true
}

func (f *fleet) accepted(a accept) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accepts = append(f.accepts, a)
}

func (f *fleet) note(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, s)
}
