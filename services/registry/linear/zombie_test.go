package linear

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stopped says whether the process is under SIGSTOP.
func (p *process) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, after, ok := bytes.Cut(stat, []byte(") "))
	return ok && after[0] == 'T'
}

func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// seat is the place of one of two registries: it has a process, or gets another.
type seat struct {
	name    string
	holds   atomic.Pointer[process]
	stopped atomic.Bool
	other   *seat
}

// Two registries are alive. One is stopped in the middle of its work, the other takes over, the first wakes up and goes
// on where it was: nothing of what it does then may be believed.
func TestTortureARegistryThatWakesUpAfterAnotherTookOverIsFenced(t *testing.T) {
	wanted := 12
	if full() {
		wanted = 150
	}
	random := chances(t)
	s := open(t)
	s.beat, s.stale = 100*time.Millisecond, 500*time.Millisecond
	f := newFleet(t)
	left, right := &seat{name: "left"}, &seat{name: "right"}
	left.other, right.other = right, left
	var starting sync.Mutex                                                             // of processes: the site counts them
	var woken atomic.Int32                                                              // times that one went on after the other had done something
	goesOn := func() bool { return int(woken.Load()) < wanted || f.hands() < wanted/2 } // and the last one
	keep := func(at *seat, random *rand.Rand) {
		for goesOn() {
			trap := point{}
			if random.IntN(4) > 0 {
				trap = draw(random)
			}
			starting.Lock()
			p := s.start(at.name, trap, syscall.SIGSTOP)
			starting.Unlock()
			at.holds.Store(p)
			for naps := random.IntN(3); naps >= 0 && !p.gone(); naps-- {
				bedtime := time.Now().Add(time.Duration(100+random.IntN(900)) * time.Millisecond)
				for !p.gone() && !p.stopped() {
					if time.Now().After(bedtime) {
						p.signal(syscall.SIGSTOP)
					}
					<-time.After(2 * time.Millisecond)
				}
				if p.gone() {
					break
				}
				at.stopped.Store(true)
				slept, done := time.Now(), f.writtenBy(at.other)
				for goesOn() && time.Since(slept) < 15*time.Second && f.writtenBy(at.other) == done && !at.other.stopped.Load() {
					<-time.After(2 * time.Millisecond)
				}
				if f.writtenBy(at.other) != done {
					woken.Add(1)
					<-time.After(time.Duration(random.IntN(100)) * time.Millisecond)
				}
				at.stopped.Store(false)
				p.signal(syscall.SIGCONT)
			}
			if random.IntN(3) == 0 {
				p.kill()
			}
			select {
			case <-p.exited:
			case <-time.After(time.Duration(200+random.IntN(300)) * time.Millisecond):
			}
			if random.IntN(3) == 0 {
				p.retire(time.Second)
			}
			p.kill()
		}
	}
	end := f.work(random, func(client int) *process {
		if client%2 == 0 {
			return left.holds.Load()
		}
		return right.holds.Load()
	})
	var seats sync.WaitGroup
	for _, at := range []*seat{left, right} {
		own := rand.New(rand.NewPCG(random.Uint64(), 31))
		seats.Go(func() { keep(at, own) })
	}
	seats.Wait()
	last := s.start("left", point{}, syscall.SIGSTOP)
	left.holds.Store(last)
	right.holds.Store(last)
	waitUntil(t, "the last registry does something", 2*time.Minute, func() bool { return f.written(last.number) > 20 && f.hands() > wanted/2 })
	end()
	last.kill()

	report(t, f, nil)
	t.Logf("%d processes; %d times one woke up after the other had done something", s.started, woken.Load())
	linearizable(t, slices.DeleteFunc(slices.Clone(f.history), func(o operation) bool { return o.ask.Op == look && !o.ask.Synced }))
	if handed := s.settled(f); handed < wanted/2 {
		t.Errorf("the place was handed over %d times only", handed)
	}
}

// writtenBy counts the changes that the seat's processes acknowledged.
func (f *fleet) writtenBy(at *seat) int {
	p := at.holds.Load()
	if p == nil {
		return 0
	}
	return f.written(p.number)
}
