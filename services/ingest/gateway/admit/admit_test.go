package admit

import (
	"sync"
	"testing"
	"time"
)

func TestABudgetIsNeverOverdrawn(t *testing.T) {
	b := NewBudget(100)
	if !b.Take(60) || b.Take(41) || !b.Take(40) || b.Take(1) {
		t.Fatal("the limit does not hold")
	}
	b.Give(100)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if b.Take(30) {
					if b.Used() > 100 {
						t.Error("overdrawn")
					}
					b.Give(30)
				}
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 {
		t.Errorf("%d left", b.Used())
	}
}

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestADeviceMaySendItsBurstAndThenItsRate(t *testing.T) {
	r := NewRates(Rate{Messages: 10, MessagesBurst: 3, Bytes: 1000, BytesBurst: 1000}, 100)
	for i := range 3 {
		if ok, _ := r.Take(7, 10, start); !ok {
			t.Fatalf("message %d of the burst", i)
		}
	}
	ok, wait := r.Take(7, 10, start)
	if ok || wait != 100*time.Millisecond {
		t.Fatalf("after the burst: %v, wait %v", ok, wait)
	}
	if ok, _ := r.Take(8, 10, start); !ok {
		t.Fatal("a neighbour pays for it")
	}
	if ok, _ := r.Take(7, 10, start.Add(wait)); !ok {
		t.Fatal("it may not send after the wait it was told")
	}
}

func TestBytesAreBoundedToo(t *testing.T) {
	r := NewRates(Rate{Messages: 1000, MessagesBurst: 1000, Bytes: 100, BytesBurst: 500}, 100)
	if ok, _ := r.Take(1, 400, start); !ok {
		t.Fatal("within the burst")
	}
	if ok, wait := r.Take(1, 200, start); ok || wait != time.Second {
		t.Fatalf("%v, wait %v", ok, wait)
	}
	if ok, _ := r.Take(2, 10_000, start); !ok {
		t.Fatal("a body above the burst passes a full bucket")
	}
	if ok, wait := r.Take(2, 1, start); ok || wait < 95*time.Second {
		t.Fatalf("but leaves a debt: %v, wait %v", ok, wait)
	}
	r.Charge(1, 1000)
	if ok, wait := r.Take(1, 1, start); ok || wait < 9*time.Second {
		t.Fatalf("an undeclared body is charged: %v, wait %v", ok, wait)
	}
}

func TestAClockThatStepsBackNeitherFillsNorBlocks(t *testing.T) {
	r := NewRates(Rate{Messages: 1, MessagesBurst: 2, Bytes: 1e6, BytesBurst: 1e6}, 100)
	r.Take(1, 1, start)
	if ok, _ := r.Take(1, 1, start.Add(-time.Hour)); !ok {
		t.Fatal("the second of the burst")
	}
	if ok, wait := r.Take(1, 1, start.Add(-time.Hour)); ok || wait > time.Second {
		t.Fatalf("%v, %v", ok, wait)
	}
}

func TestBucketsAreBounded(t *testing.T) {
	r := NewRates(Rate{Messages: 0.001, MessagesBurst: 5, Bytes: 1, BytesBurst: 1e6}, 640)
	for device := range uint32(100_000) {
		r.Take(device, 100, start)
	}
	if n := r.Devices(); n > 640 {
		t.Errorf("%d buckets, bound 640", n)
	}
}

func BenchmarkRates(b *testing.B) {
	r := NewRates(Rate{Messages: 1e9, MessagesBurst: 1e9, Bytes: 1e12, BytesBurst: 1e12}, 100_000)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		if ok, _ := r.Take(i%10_000, 200, start); !ok {
			b.Fatal("refused")
		}
	}
}
