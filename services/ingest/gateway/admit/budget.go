package admit

import "sync/atomic"

// Budget is a bounded sum shared by many: bytes in flight, requests at work. Safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget bounds the sum by limit.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take adds n if the sum stays within the limit, and says whether it did. It never waits: what cannot be afforded now
// is shed, not queued.
func (b *Budget) Take(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Give returns what Take took.
func (b *Budget) Give(n int64) { b.used.Add(-n) }

// Used is the sum now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is the bound.
func (b *Budget) Limit() int64 { return b.limit }
