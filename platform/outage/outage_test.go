package outage

import (
	"context"
	"errors"
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

func TestWorkBeginsAnewUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const first, most = 100 * time.Millisecond, 10 * time.Second
		broken, tries := errors.New("broken"), 0
		var waits []time.Duration
		var at time.Time
		New(first, most).Outlast(ctx, func(_ context.Context, landed func()) error {
			if n := len(waits); n > 0 && time.Since(at) != waits[n-1] {
				t.Errorf("try %d began after %v, not %v", tries, time.Since(at), waits[n-1])
			}
			switch tries++; tries {
			case 21:
				landed()
			case 23:
				cancel()
			}
			return broken
		}, func(err error, wait time.Duration) {
			if err != broken {
				t.Errorf("told of %v", err)
			}
			waits, at = append(waits, wait), time.Now()
		})
		if tries != 23 || len(waits) != 22 {
			t.Fatalf("%d tries, told of %d: the last one ended with its context", tries, len(waits))
		}
		if waits[0] > 2*first || waits[19] < most/2 || waits[20] > 2*first {
			t.Errorf("waits of %v; the 21st try got somewhere", waits)
		}

		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		New(time.Hour, time.Hour).Outlast(ctx, func(context.Context, func()) error { return broken }, func(error, time.Duration) { cancel() })
		if time.Since(began) != 0 {
			t.Errorf("it waited on for %v after its context had ended", time.Since(began))
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
