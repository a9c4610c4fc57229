package world_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"muster.dev/fleet/simulator/world"
)

// TestAHundredThousandLives plays an hour of the largest fleet in slots of a minute, as the driver in fast time does, and
// says how long it took on one core.
func TestAHundredThousandLives(t *testing.T) {
	if os.Getenv("MUSTER_TORTURE") != "full" {
		t.Skip("SKIPPED: takes minutes; set MUSTER_TORTURE=full")
	}
	began := time.Now()
	before := heap()
	w := newWorld(t, sixMetrics, 1)
	lives := make([]*world.Life, len(w.Devices()))
	for i := range lives {
		lives[i] = w.Life(i)
	}
	t.Logf("%d lives begin in %v", len(lives), time.Since(began).Round(time.Millisecond))
	began, busy := time.Now(), cpu(t)
	messages := 0
	var h world.Happening
	for slot := w.Begins(); slot < w.Begins()+3_600_000; slot += 60_000 {
		for _, l := range lives {
			for l.Before(slot, &h) {
				if h.Kind == world.Deliver {
					messages++
				}
			}
		}
	}
	took, used := time.Since(began), cpu(t)-busy
	each := (heap() - before) / int64(len(lives))
	runtime.KeepAlive(lives)
	t.Logf("%d messages in %v, %v of a core's time: %.0f in a core's second; %d bytes a life and its part of the world", messages,
		took.Round(time.Millisecond), used.Round(time.Millisecond), float64(messages)/used.Seconds(), each)
	if each > 2<<10 {
		t.Errorf("a life weighs %d bytes", each)
	}
}

// cpu is the processor's time that was used so far: what others do on the machine does not change it much.
func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
