package eventlog

import (
	"context"
	"sync"
	"time"
)

// deadlines gives each record a ctx that ends about one delivery timeout after it was handed over. kgo's own
// RecordDeliveryTimeout counts from the record's timestamp, so a record with a simulated or an old CreateTime
// would fail at once, or never. Records of the same sixteenth of the timeout share one ctx and one timer: their
// order of ending is kgo's to decide anyway, it fails a partition's buffer as a whole.
type deadlines struct {
	life    context.Context // ends with the producer
	end     context.CancelFunc
	timeout time.Duration

	mu     sync.Mutex // over the rest
	shared context.Context
	cancel context.CancelFunc
	renew  time.Time
}

func newDeadlines(timeout time.Duration) *deadlines {
	d := &deadlines{timeout: timeout}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

func (d *deadlines) next(now time.Time) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shared == nil || !now.Before(d.renew) {
		step := d.timeout / 16
		// The former cancel is not called: its records are still under way, and its timer or life ends it.
		d.shared, d.cancel = context.WithTimeout(d.life, d.timeout+step)
		d.renew = now.Add(step)
	}
	return d.shared
}

// valued is a ctx that ends with one and has the values of another.
type valued struct {
	context.Context
	values context.Context
}

func (v valued) Value(key any) any { return v.values.Value(key) }
