package realtime

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"muster.dev/fleet/simulator/chance"
)

// table is where seats wait for their time.
type table struct {
	mu    sync.Mutex // over seats
	seats seats
	woken chan struct{} // holds at most one token: the earliest may have changed
}

func newTable() *table { return &table{woken: make(chan struct{}, 1)} }

// sit puts a seat back. One that has nothing to do any more leaves the table.
func (t *table) sit(s *seat) {
	if s.wake == chance.Never {
		return
	}
	t.mu.Lock()
	heap.Push(&t.seats, s)
	first := t.seats[0] == s
	t.mu.Unlock()
	if first {
		select {
		case t.woken <- struct{}{}:
		default:
		}
	}
}

// due takes the earliest seat if its time has come; else it says how long to wait.
func (t *table) due(now int64) (*seat, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seats) == 0 {
		return nil, time.Hour
	}
	if wait := t.seats[0].wake - now; wait > 0 {
		return nil, time.Duration(wait) * time.Millisecond
	}
	return heap.Pop(&t.seats).(*seat), 0
}

// serve hands out seats as their time comes, until ctx ends, or all have been handed out whose time comes before until.
func (t *table) serve(ctx context.Context, until int64, out chan<- *seat) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now().UnixMilli()
		s, wait := t.due(min(now, until-1))
		if s == nil && now >= until {
			return
		}
		if s == nil {
			timer.Reset(min(wait, time.Duration(until-now)*time.Millisecond))
			select {
			case <-timer.C:
			case <-t.woken:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case out <- s:
		case <-ctx.Done():
			t.sit(s)
			return
		}
	}
}

// seats is a heap by time.
type seats []*seat

func (s seats) Len() int { return len(s) }
func (s seats) Less(i, j int) bool {
	return s[i].wake < s[j].wake || s[i].wake == s[j].wake && s[i].index < s[j].index
}
func (s seats) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

// Push is heap.Interface's.
func (s *seats) Push(x any) { *s = append(*s, x.(*seat)) }

// Pop is heap.Interface's.
func (s *seats) Pop() any {
	old := *s
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return last
}
