package realtime

import "sync/atomic"

// counted is a number that many goroutines add to.
type counted struct{ n atomic.Int64 }

func (c *counted) add(n int64) { c.n.Add(n) }

// most keeps the largest.
func (c *counted) most(n int64) {
	for {
		old := c.n.Load()
		if n <= old || c.n.CompareAndSwap(old, n) {
			return
		}
	}
}

func (c *counted) value() int64 { return c.n.Load() }
