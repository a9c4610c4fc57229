package silence

import (
	"flag"
	"testing"
)

var eval = flag.Bool("eval", false, "measure silence in full, which takes half an hour, and print the table")

// TestMeasured holds the floors in a small part of the measurement, and prints the whole of it if asked. Its seeds are not
// those with which constants were chosen.
func TestMeasured(t *testing.T) {
	weeks, lives := 60, 60
	if *eval {
		weeks, lives = 3_000, 1_000
	}
	null := Measure(Cell{Devices: 50, Loss: .05}, weeks, 9_001)
	t.Log(null)
	if null.Low > 5 {
		t.Errorf("%d false incidents in %d weeks: more than 5 in 1,000", null.False, null.Weeks)
	}
	event := Measure(Cell{Devices: 50, Loss: .05, Silent: .3}, lives, 9_002)
	t.Log(event)
	if event.Median > 2 || event.P95 > 3 || event.Found < event.Events || event.Pieces > event.Found+event.Found/20 {
		t.Errorf("median %.2f, p95 %.2f intervals; %d of %d found, in %d incidents", event.Median, event.P95, event.Found, event.Events, event.Pieces)
	}
	if !*eval {
		return
	}
	alone(t)
	for _, n := range []int{5, 50, 1, 5_000} {
		for _, loss := range []float64{.05, .2} {
			for _, burst := range []float64{1, 4} {
				weeks, lives := 3_000, 300
				switch {
				case n == 5_000:
					weeks, lives = 10, 10
				case n == 50 && loss == .05 && burst == 1:
					weeks = 0 // was measured above
				case n == 50:
					weeks = 1_000
				}
				if weeks > 0 {
					t.Log(Measure(Cell{Devices: n, Loss: loss, Burst: burst}, weeks, 9_003))
				}
				if n <= 50 {
					t.Log("first weeks of life: ", Measure(Cell{Devices: n, Loss: loss, Burst: burst, Life: 1}, 2_000, 9_006))
				}
				for _, s := range []float64{.3, .6, 1} {
					if n > 1 || s == 1 {
						t.Log(Measure(Cell{Devices: n, Loss: loss, Burst: burst, Silent: s}, lives, 9_004))
					}
				}
				if n > 1 {
					t.Log(Measure(Cell{Devices: n, Loss: loss, Burst: burst, Drain: .02}, lives/5+1, 9_005))
				}
			}
		}
	}
}

// alone measures one device: how its losses begin and run is learnt, and rare bursts are what may be learnt wrong.
func alone(t *testing.T) {
	for _, c := range []Cell{
		{}, {Loss: .01}, {Loss: .05}, {Loss: .15}, {Loss: .05, Burst: 4}, {Loss: .2, Burst: 4},
		{Loss: .0002, Burst: 4}, {Loss: .0005, Burst: 4}, {Loss: .002, Burst: 4},
	} {
		c.Devices = 1
		t.Log(Measure(c, 2_000, 9_007))
		for _, c.After = range []int64{400, 2_000, 8_000} {
			c.Silent = 1
			t.Log(Measure(c, 100, 9_008))
		}
	}
}
