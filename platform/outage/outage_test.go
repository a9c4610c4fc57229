package outage

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWaitsGrowToTheirBoundAndBeginAnewWhenAnOutageIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const first, most = 50 * time.Millisecond, 2 * time.Second
		o := New(first, most)
		for range 2 {
			if wait := o.Next(); wait < first/2 || wait > 2*first {
				t.Errorf("the first wait is %v", wait)
			}
			for range 100 { // the better part of an hour, at the end of which nobody gives up
				wait := o.Next()
				if wait <= 0 || wait > 2*most {
					t.Fatalf("a wait of %v", wait)
				}
				if !Pause(t.Context(), 30*time.Second) {
					t.Fatal("the pause was cut")
				}
			}
			if wait := o.Next(); wait < most/2 {
				t.Errorf("after a long outage it waits %v", wait)
			}
			o.Over()
		}
	})
}

func TestAPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Pause(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("it lasted %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if began = time.Now(); Pause(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("it lasted %v beyond the end of its context", time.Since(began)-time.Minute)
		}
	})
}
