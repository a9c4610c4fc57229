package recent

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func key(seq uint64) Key { return Key{Device: 7, Boot: 3, Seq: seq, Stream: 1} }

func TestARetryOfAConfirmedMessageIsKnown(t *testing.T) {
	w := NewWindow(100)
	v, f, back := w.Begin(key(1), 0xaa, new(Flight))
	if v != Fresh || back != 0 {
		t.Fatalf("first: %v %v", v, back)
	}
	w.Settle(f, nil)
	if v, _, _ := w.Begin(key(1), 0xaa, new(Flight)); v != Known {
		t.Errorf("same hash: %v", v)
	}
	if v, _, _ := w.Begin(key(1), 0xbb, new(Flight)); v != Conflict {
		t.Errorf("other hash: %v", v)
	}
	other := key(1)
	other.Stream = 2
	if v, _, _ := w.Begin(other, 0xbb, new(Flight)); v != Fresh {
		t.Errorf("the same seq in another stream: %v", v)
	}
}

func TestARetryJoinsTheMessageOnItsWay(t *testing.T) {
	w := NewWindow(100)
	_, f, _ := w.Begin(key(1), 0xaa, new(Flight))
	v, joined, _ := w.Begin(key(1), 0xaa, new(Flight))
	if v != Flying || joined != f {
		t.Fatalf("%v %p %p", v, joined, f)
	}
	if v, _, _ := w.Begin(key(1), 0xbb, new(Flight)); v != Conflict {
		t.Errorf("other hash on the way: %v", v)
	}
	select {
	case <-joined.Done():
		t.Fatal("done before it is settled")
	default:
	}
	failed := errors.New("no answer")
	w.Settle(f, failed)
	<-joined.Done()
	if !errors.Is(joined.Err(), failed) || !f.Joined() {
		t.Errorf("err %v, joined %v", joined.Err(), f.Joined())
	}
}

func TestWhatFailedIsForgotten(t *testing.T) {
	w := NewWindow(100)
	_, f, _ := w.Begin(key(1), 0xaa, new(Flight))
	w.Settle(f, errors.New("unknown"))
	if v, _, _ := w.Begin(key(1), 0xbb, new(Flight)); v != Fresh {
		t.Errorf("%v: a retry must go to the log again", v)
	}
}

func TestASeqThatGoesBackIsNoticedUnlessTheBootIsNew(t *testing.T) {
	w := NewWindow(100)
	begin := func(boot uint32, seq uint64) uint64 {
		_, f, back := w.Begin(Key{Device: 7, Boot: boot, Seq: seq}, 1, new(Flight))
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
			_, f, _ := w.Begin(Key{Device: d, Seq: seq}, 1, new(Flight))
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
	if v, _, _ := w.Begin(Key{Device: 499, Seq: 19}, 1, new(Flight)); v != Known {
		t.Errorf("newest: %v", v)
	}
	if v, _, _ := w.Begin(Key{Device: 0, Seq: 0}, 1, new(Flight)); v != Fresh {
		t.Errorf("oldest: %v", v)
	}
}

func TestOneOfManyAtOnceFlies(t *testing.T) {
	w := NewWindow(1000)
	var fresh, joined, known atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for seq := range uint64(500) {
				switch v, f, _ := w.Begin(key(seq), uint32(seq), new(Flight)); v {
				case Fresh:
					fresh.Add(1)
					w.Settle(f, nil)
				case Flying:
					<-f.Done()
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
		if v, _, _ := w.Begin(Key{Device: uint32(seq % 10_000), Seq: seq}, 1, &f); v != Fresh {
			b.Fatal(v)
		}
		w.Settle(&f, nil)
	}
}
