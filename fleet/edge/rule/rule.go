package rule

import "muster.dev/proto/batch"

// Reading is one value of one metric at one time. Which of the values holds is said by Kind.
type Reading struct {
	Device string
	At     int64 // Unix ms
	Metric string
	Kind   batch.Kind
	Int    int64 // of Int: the value is Int / 10^Scale; of Bool: 0 or 1
	Scale  uint8
	Float  float64
	Text   string
}

// Rule judges the readings of one edge. It is called by one goroutine at a time.
type Rule interface {
	// Apply may change r, and says false when the reading is to be dropped. A name that it gives must be a metric's.
	Apply(r *Reading) (keep bool)
}

// Chain applies rules in their order; the first that drops a reading ends it.
type Chain []Rule

// Apply is Rule's.
func (c Chain) Apply(r *Reading) bool {
	for _, one := range c {
		if !one.Apply(r) {
			return false
		}
	}
	return true
}
