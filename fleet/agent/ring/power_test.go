package ring

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// history is what the user of a ring knows: which values must be there after a power cut, and which may be.
type history struct {
	kept map[string]bool // Put said so, and they were neither let go nor did they give way
	may  map[string]bool // all that was ever put, also in part
}

// TestAPowerCutAtAnyInstantLosesNothingThatWasKept walks a ring through its life on a disk that forgets, and after each
// single change of that disk looks what a power cut would leave: the least that may be, the most, and something between.
func TestAPowerCutAtAnyInstantLosesNothingThatWasKept(t *testing.T) {
	lives := 4
	if os.Getenv("MUSTER_TORTURE") == "full" {
		lives = 200
	}
	cuts := 0
	for seed := range lives {
		for _, order := range []Order{OldestFirst, NewestFirst} {
			rng := rand.New(rand.NewPCG(uint64(seed), uint64(order)))
			cuts += life(t, rng, Config{Bytes: 6 * MinSegment, Segment: MinSegment, Order: order})
			if t.Failed() {
				t.Fatalf("seed %d, %v", seed, order)
			}
		}
	}
	if cuts < 1000 {
		t.Errorf("only %d cuts", cuts)
	}
}

func life(t *testing.T, rng *rand.Rand, cfg Config) (cuts int) {
	m := newMemory()
	h := history{map[string]bool{}, map[string]bool{}}
	r, err := open(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.step = func() {
		for luck := range 3 {
			cuts++
			h.check(t, m.cut(rng, luck), cfg)
		}
	}
	var outs []Entry
	for i := range 120 {
		switch n := rng.IntN(10); {
		case n < 5:
			v := fmt.Sprintf("%d.%s", i, strings.Repeat("z", rng.IntN(900)))
			h.may[v] = true
			before := r.Counts().Dropped.Bytes
			// What gives way is not known before it does: until Put returns nothing of the past is asked for.
			past := h.kept
			if r.Counts().Bytes+int64(len(v)+recordHead+headerSize) > cfg.Bytes {
				h.kept = map[string]bool{}
			}
			_, err := r.Put([]byte(v), 7)
			h.kept = past
			if err != nil {
				t.Fatal(err)
			}
			h.kept[v] = true
			if r.Counts().Dropped.Bytes > before {
				h.forget(r)
			}
		case n < 8:
			if r.Counts().Waiting == 0 {
				continue
			}
			e, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			outs = append(outs, e)
		case n < 9 && len(outs) > 0:
			e := outs[0]
			outs = outs[1:]
			delete(h.kept, string(e.Value))
			if err := r.Done(e.ID); err != nil {
				t.Fatal(err)
			}
		case len(outs) > 0:
			if err := r.Return(outs[0].ID); err != nil {
				t.Fatal(err)
			}
			outs = outs[1:]
		}
		if rng.IntN(30) == 0 { // the process is killed, and starts on what is there
			r, outs = h.restart(t, r, m, cfg), nil
		}
	}
	return cuts
}

// forget takes from what must be there whatever the ring itself no longer has.
func (h *history) forget(r *Ring) {
	there := map[string]bool{}
	for _, s := range r.segments {
		for i, state := range s.states {
			if state == waiting || state == out {
				if _, v, err := r.read(s, i); err == nil {
					there[string(v)] = true
				}
			}
		}
	}
	for v := range h.kept {
		if !there[v] {
			delete(h.kept, v)
		}
	}
}

// restart opens the disk anew without any cut: all that was written is there, marks included.
func (h *history) restart(t *testing.T, before *Ring, m *memory, cfg Config) *Ring {
	t.Helper()
	c := before.Counts()
	for id := range before.out {
		if s, _ := before.find(id); s == nil {
			c.InFlight-- // it gave way while it was out
		}
	}
	step := m.step
	m.step = nil
	defer func() { m.step = step }()
	r, err := open(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Counts(); n.Waiting != c.Waiting+c.InFlight || n.Corrupt != (Lost{}) || n.Torn != 0 {
		t.Fatalf("%+v after %+v", n, c)
	}
	return r
}

func (h *history) check(t *testing.T, m *memory, cfg Config) {
	t.Helper()
	r, err := open(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	var last ID
	for r.Counts().Waiting > 0 {
		e, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v := string(e.Value)
		if there[v] || !h.may[v] || e.Kind != 7 {
			t.Fatalf("%.20q came out, which was not put, or twice", v)
		}
		if last != 0 && (e.ID > last) != (cfg.Order == OldestFirst) {
			t.Fatalf("%d comes after %d", e.ID, last)
		}
		there[v], last = true, e.ID
	}
	for v := range h.kept {
		if !there[v] {
			t.Fatalf("%.20q was kept, and is lost; %+v", v, r.Counts())
		}
	}
	if c := r.Counts(); c.Corrupt != (Lost{}) {
		t.Fatalf("a power cut is taken for damage: %+v", c)
	}
	// And it goes on from there.
	m.step = nil
	if _, err := r.Put([]byte("more"), 7); err != nil {
		t.Fatal(err)
	}
}

// TestManyWhoPutAtOnceShareAnFsyncAndEachIsSafeWhenItReturns looks after each Put what a power cut at that instant leaves.
func TestManyWhoPutAtOnceShareAnFsyncAndEachIsSafeWhenItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.slow = 10 * time.Millisecond
		// One segment: to begin another, the ring waits for the disk with its lock held, and the bubble's time does not go on.
		cfg := Config{Bytes: 4 << 20, Segment: 1 << 20}
		r, err := open(m, cfg)
		if err != nil {
			t.Fatal(err)
		}
		const writers, each = 8, 30
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					v := fmt.Sprintf("%d/%d %s", w, i, strings.Repeat("g", 10*w))
					if _, err := r.Put([]byte(v), 7); err != nil {
						t.Error(err)
					}
					m.mu.Lock()
					after := m.cut(nil, 0)
					m.mu.Unlock()
					if !holds(t, after, cfg, v) {
						t.Errorf("%.10s was put, and a power cut takes it", v)
					}
				}
			})
		}
		wg.Wait()
		// One for each writer's value would be writers*each; one for each round of all is each.
		if n := m.syncs(); n > 2*each {
			t.Errorf("%d fsyncs for %d values", n, writers*each)
		}
	})
}

func holds(t *testing.T, m *memory, cfg Config, value string) bool {
	r, err := open(m, cfg)
	if err != nil {
		t.Error(err)
		return false
	}
	for r.Counts().Waiting > 0 {
		if e, err := r.Next(t.Context()); err != nil || string(e.Value) == value {
			return err == nil
		}
	}
	return false
}

func TestAFullDiskIsSaidAndTheRingGoesOnWhenThereIsRoom(t *testing.T) {
	for room := range int64(1200) {
		m := newMemory()
		r, err := open(m, small(OldestFirst))
		if err != nil {
			t.Fatal(err)
		}
		put(t, r, "before")
		m.room = room
		var kept []string
		failed := 0
		for i := range 6 {
			v := fmt.Sprint(i, strings.Repeat("y", 200))
			if _, err := r.Put([]byte(v), 0); err == nil {
				kept = append(kept, v)
			} else if failed++; !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
		}
		m.room = -1
		put(t, r, "after")
		if c := r.Counts(); c.Failed != uint64(failed) || c.Put != uint64(len(kept)+2) {
			t.Fatalf("room %d: %+v", room, c)
		}
		for range 2 { // as the ring has it, and as it is read again
			want := append(append([]string{"before"}, kept...), "after")
			var got []string
			for r.Counts().Waiting > 0 {
				e, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(e.Value))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("room %d: %d values, want %d", room, len(got), len(want))
			}
			if r, err = open(m, small(OldestFirst)); err != nil {
				t.Fatal(err)
			}
			if c := r.Counts(); c.Torn != 0 || c.Corrupt != (Lost{}) {
				t.Fatalf("room %d: %+v", room, c)
			}
		}
	}
}

func TestADiskThatDoesNotSyncIsSaidAndItsSegmentLeft(t *testing.T) {
	m := newMemory()
	r, err := open(m, small(OldestFirst))
	if err != nil {
		t.Fatal(err)
	}
	put(t, r, "a")
	m.fail = errBroken
	if _, err := r.Put([]byte("b"), 0); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	put(t, r, "c")
	if c := r.Counts(); c.Failed != 1 || c.SyncFailures != 1 || len(r.segments) != 2 {
		t.Errorf("%+v", c)
	}
	if r, err = open(m, small(OldestFirst)); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, r); fmt.Sprint(got) != "[a c]" {
		t.Error(got)
	}
}

func FuzzOpen(f *testing.F) {
	m := newMemory()
	r, err := open(m, small(OldestFirst))
	if err != nil {
		f.Fatal(err)
	}
	for i := range 5 {
		if _, err := r.Put(bytes.Repeat([]byte{byte(i)}, 10*i), 1); err != nil {
			f.Fatal(err)
		}
	}
	e, err := r.Next(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Done(e.ID); err != nil {
		f.Fatal(err)
	}
	good, marks := m.names[nameOf(1, segmentSuffix)].data, m.names[nameOf(1, marksSuffix)].data
	f.Add(good, marks, good)
	f.Add(good[:len(good)-3], marks[:5], []byte(nil))
	f.Add(append(bytes.Clone(good[:60]), good...), marks, good[:10])
	f.Fuzz(func(t *testing.T, one, marks, two []byte) {
		m := newMemory()
		m.names[nameOf(1, segmentSuffix)] = &inode{data: bytes.Clone(one)}
		m.names[nameOf(1, marksSuffix)] = &inode{data: bytes.Clone(marks)}
		m.names[nameOf(9, segmentSuffix)] = &inode{data: bytes.Clone(two)}
		r, err := open(m, small(OldestFirst))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Put([]byte("mine"), 3); err != nil {
			t.Fatal(err)
		}
		got := drain(t, r)
		if len(got) == 0 || got[len(got)-1] != "mine" {
			t.Fatalf("%q", got)
		}
		if c := r.Counts(); c.Waiting+c.InFlight != 0 || c.Bytes > int64(len(one)+len(marks)+len(two))+2*MinSegment {
			t.Fatalf("%+v", c)
		}
	})
}
