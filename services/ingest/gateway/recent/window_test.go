package recent

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// hears is a Joiner that keeps what it is told.
type hears struct{ told chan error }

func joiner() *hears { return &hears{make(chan error, 2)} }

func (h *hears) Joined(err error) { h.told <- err }

// nobody joins nothing: a test that lets it would block for ever.
var nobody = &hears{}

func key(seq uint64) Key { return Key{Device: 7, Boot: 3, Seq: seq, Stream: 1} }

func TestARetryOfAConfirmedMessageIsKnown(t *testing.T) {
	w := NewWindow(100)
	f := new(Flight)
	v, back := w.Begin(key(1), 0xaa, f, nobody)
	if v != Fresh || back != 0 {
		t.Fatalf("first: %v %v", v, back)
	}
	w.Settle(f, nil)
	if v, _ := w.Begin(key(1), 0xaa, new(Flight), nobody); v != Known {
		t.Errorf("same hash: %v", v)
	}
	if v, _ := w.Begin(key(1), 0xbb, new(Flight), nobody); v != Conflict {
		t.Errorf("other hash: %v", v)
	}
	other := key(1)
	other.Stream = 2
	if v, _ := w.Begin(other, 0xbb, new(Flight), nobody); v != Fresh {
		t.Errorf("the same seq in another stream: %v", v)
	}
}

func TestARetryJoinsTheMessageOnItsWay(t *testing.T) {
	w := NewWindow(100)
	f, first, second := new(Flight), joiner(), joiner()
	w.Begin(key(1), 0xaa, f, nobody)
	for _, j := range []*hears{first, second} {
		if v, _ := w.Begin(key(1), 0xaa, new(Flight), j); v != Flying {
			t.Fatal(v)
		}
	}
	other := joiner()
	if v, _ := w.Begin(key(1), 0xbb, new(Flight), other); v != Conflict {
		t.Errorf("other hash on the way: %v", v)
	}
	if len(first.told)+len(second.told) > 0 {
		t.Fatal("told before it is settled")
	}
	failed := errors.New("no answer")
	w.Settle(f, failed)
	for i, j := range []*hears{first, second} {
		if len(j.told) != 1 {
			t.Fatalf("joiner %d is told %d times", i, len(j.told))
		}
		if err := <-j.told; !errors.Is(err, failed) {
			t.Errorf("joiner %d is told %v", i, err)
		}
	}
	if len(other.told) > 0 {
		t.Error("one that did not join is told")
	}
}

func TestAFlightsMemoryIsUsedAgain(t *testing.T) {
	w := NewWindow(100)
	f, j := new(Flight), joiner()
	for seq := range uint64(3) {
		w.Begin(key(seq), 1, f, nobody)
		if seq == 0 {
			w.Begin(key(seq), 1, new(Flight), j)
		}
		w.Settle(f, nil)
	}
	if len(j.told) != 1 {
		t.Errorf("one that joined the first is told of %d", len(j.told))
	}
}

func TestWhatFailedIsForgotten(t *testing.T) {
	w := NewWindow(100)
	f := new(Flight)
	w.Begin(key(1), 0xaa, f, nobody)
	w.Settle(f, errors.New("unknown"))
	if v, _ := w.Begin(key(1), 0xbb, new(Flight), nobody); v != Fresh {
		t.Errorf("%v: a retry must go to the log again", v)
	}
}

func TestASeqThatGoesBackIsNoticedUnlessTheBootIsNew(t *testing.T) {
	w := NewWindow(100)
	begin := func(boot uint32, seq uint64) uint64 {
		f := new(Flight)
		_, back := w.Begin(Key{Device: 7, Boot: boot, Seq: seq}, 1, f, nobody)
		w.Settle(f, nil)
		return back
	}
	for _, x := range []struct {
		boot      uint32
		seq, back uint64
	}{{1, 10, 0}, {1, 11, 0}, {1, 5, 6}, {1, 12, 0}, {2, 0, 0}, {2, 1, 0}} {
		if back := begin(x.boot, x.seq); back != x.back {
			t.Errorf("boot %d, seq %d goes back by %d, want %d", x.boot, x.seq, back, x.back)
		}
	}
}

func TestTheWindowIsBounded(t *testing.T) {
	w := NewWindow(shards * 10)
	for d := range uint32(500) {
		for seq := range uint64(20) {
			f := new(Flight)
			w.Begin(Key{Device: d, Seq: seq}, 1, f, nobody)
			w.Settle(f, nil)
		}
	}
	known, flying := w.Len()
	if known > shards*10 || flying != 0 {
		t.Errorf("%d known, %d flying", known, flying)
	}
	for i := range w.shards {
		if n := len(w.shards[i].high); n > 10 {
			t.Errorf("%d counters in a shard", n)
		}
	}
	// The newest are those remembered.
	if v, _ := w.Begin(Key{Device: 499, Seq: 19}, 1, new(Flight), nobody); v != Known {
		t.Errorf("newest: %v", v)
	}
	if v, _ := w.Begin(Key{Device: 0, Seq: 0}, 1, new(Flight), nobody); v != Fresh {
		t.Errorf("oldest: %v", v)
	}
}

func TestOneOfManyAtOnceFlies(t *testing.T) {
	w := NewWindow(1000)
	var fresh, joined, known atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			j := joiner()
			for seq := range uint64(500) {
				f := new(Flight)
				switch v, _ := w.Begin(key(seq), uint32(seq), f, j); v {
				case Fresh:
					fresh.Add(1)
					w.Settle(f, nil)
				case Flying:
					if err := <-j.told; err != nil {
						t.Error(err)
					}
					joined.Add(1)
				case Known:
					known.Add(1)
				case Conflict:
					t.Error("no other payload was sent")
				}
			}
		})
	}
	wg.Wait()
	if fresh.Load()+joined.Load()+known.Load() != 16*500 {
		t.Error("a call got no verdict")
	}
}

func BenchmarkWindow(b *testing.B) {
	w := NewWindow(1 << 17)
	b.ReportAllocs()
	var f Flight
	seq := uint64(0)
	for b.Loop() {
		seq++
		if v, _ := w.Begin(Key{Device: uint32(seq % 10_000), Seq: seq}, 1, &f, nobody); v != Fresh {
			b.Fatal(v)
		}
		w.Settle(&f, nil)
	}
}
