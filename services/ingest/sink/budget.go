package sink

import "sync/atomic"

// budget counts the bytes of records and blocks that all partitions hold. It does not block: the valve closes
// partitions while it is over, and workers close their plans early.
//
// A worker that replays a plan needs all its records before it can give any byte back. Were each partition given
// its share only, several replays at once could wait for one another for ever; so one of them at a time may go over.
type budget struct {
	limit int64
	held  atomic.Int64
	over  atomic.Pointer[worker] // the one that may
}

func (b *budget) take(n int64) { b.held.Add(n) }
func (b *budget) give(n int64) { b.held.Add(-n) }
func (b *budget) full() bool   { return b.held.Load() >= b.limit }

// overdraw asks to be the one; it answers the same until settle.
func (b *budget) overdraw(w *worker) bool {
	return b.over.Load() == w || b.over.CompareAndSwap(nil, w)
}

func (b *budget) settle(w *worker) { b.over.CompareAndSwap(w, nil) }
