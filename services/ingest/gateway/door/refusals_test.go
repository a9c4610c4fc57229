package door

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoIsRefusedAgainAndAgainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, factor := range []float64{1, 16} {
			var p Peer
			began := time.Now()
			for range refusalsAtOnce {
				if wait, ends := p.Refused(time.Now(), factor); wait != 0 || ends {
					t.Fatalf("waits for %v from the beginning", wait)
				}
			}
			for range 500 {
				wait, ends := p.Refused(time.Now(), factor)
				if ends {
					t.Fatal("ends")
				}
				<-time.After(wait)
			}
			if d, want := time.Since(began), time.Duration(500/factor/refusalsPerSecond*float64(time.Second)); d < want-time.Millisecond || d > want+time.Millisecond {
				t.Errorf("%g times: 500 more took %v, not %v", factor, d, want)
			}
			for range 10 * refusalsAtOnce { // side by side
				if wait, _ := p.Refused(time.Now(), factor); wait > longestWait {
					t.Fatalf("one waits for %v", wait)
				}
			}
			<-time.After(time.Minute)
			for range refusalsAtOnce {
				if wait, ends := p.Refused(time.Now(), factor); wait != 0 || ends {
					t.Fatal("a minute later it is not forgotten")
				}
			}
			began = time.Now()
			for ended := false; !ended; {
				var wait time.Duration
				wait, ended = p.Refused(time.Now(), factor)
				<-time.After(wait + time.Second/refusalsPerSecond/time.Duration(2*factor)) // who wakes late
			}
			if d := time.Since(began); d < longestPatience-2*time.Second || d > 2*longestPatience {
				t.Errorf("%g times: it ended after %v", factor, d)
			}
		}
	})
}
