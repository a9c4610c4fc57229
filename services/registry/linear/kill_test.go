package linear

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// work lets clients ask whatever process at names for each; end waits for the last answers.
func (f *fleet) work(random *rand.Rand, at func(client int) *process) (end func()) {
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for client := range clients {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(client)))
		all.Go(func() { f.run(ctx, client, own, func() *process { return at(client) }) })
	}
	end = sync.OnceFunc(func() { stop(); all.Wait() })
	f.t.Cleanup(end)
	return end
}

// One registry at a time is killed again and again, in the middle of what it does for clients that go on.
func TestTortureARegistryThatIsKilledIsLinearizable(t *testing.T) {
	kills := 40
	if full() {
		kills = 300
	}
	random := chances(t)
	s := open(t)
	f := newFleet(t)
	var present atomic.Pointer[process]
	end := f.work(random, func(int) *process { return present.Load() })

	died := map[string]int{}
	for kill := 0; kill < kills || f.hands() < kills/10; kill++ { // and the last one
		// At each point once, then as it is drawn; now and then at any time.
		at := point{}
		if kill < len(points) {
			at = points[kill]
			at.Nth = 1
		} else if random.IntN(4) > 0 {
			at = draw(random)
		}
		p := s.start("registry", at, syscall.SIGKILL)
		before := f.written(0)
		present.Store(p)
		life := time.Duration(50+random.IntN(450)) * time.Millisecond
		if at.Nth > 0 {
			life += 500 * time.Millisecond
		}
		select {
		case <-p.exited:
			died[at.String()]++
			continue
		case <-time.After(life): // when it dies is the test
		}
		if kill%8 == 7 { // what never gets anything done proves little
			waitUntil(t, "a registry that was started again does something", 2*time.Minute, func() bool {
				select {
				case <-p.exited:
					return true
				default:
					return f.written(0) > before
				}
			})
		}
		if random.IntN(8) == 0 {
			p.retire(time.Duration(random.IntN(1000)) * time.Millisecond)
			died["told to stop"]++
			continue
		}
		p.kill()
		died["any time"]++
	}
	last := s.start("registry", point{}, syscall.SIGKILL)
	present.Store(last)
	waitUntil(t, "the last registry does something", 2*time.Minute, func() bool { return f.written(last.number) > 20 && f.hands() > kills/10 })
	end()
	last.kill()

	report(t, f, died)
	linearizable(t, f.history)
	if handed := s.settled(f); handed < kills/10 {
		t.Errorf("only %d of %d processes did something", handed+1, kills)
	}
}

// report says how much there was to judge.
func report(t *testing.T, f *fleet, died map[string]int) {
	t.Helper()
	count := map[string]int{}
	for _, o := range f.history {
		count[fmt.Sprintf("%s %s", o.ask.Op, o.heard.Said)]++
	}
	t.Logf("%d operations in %v: %s", len(f.history), time.Since(f.began).Round(time.Second), listed(count))
	t.Logf("left open: %s", listed(f.open))
	if len(died) > 0 {
		t.Logf("died at: %s", listed(died))
	}
	t.Logf("the longest time without an acknowledged change was %v", f.silence().Round(time.Millisecond))
}

func listed(m map[string]int) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", k, m[k])
	}
	return b.String()
}
