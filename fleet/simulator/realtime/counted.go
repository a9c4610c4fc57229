package realtime

import "sync/atomic"

// counted is a number that many goroutines add to.
type counted struct{ n atomic.Int64 }

func (c *counted) add(n int64)  { c.n.Add(n) }
func (c *counted) Value() int64 { return c.n.Load() }
