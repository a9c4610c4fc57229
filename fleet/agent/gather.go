package agent

import (
	"fmt"
	"math"
	"sync"
	"time"
	"unicode/utf8"

	"muster.dev/proto/batch"
)

// reading is one value. at is 0 while the clock was not set when it was taken.
type reading struct {
	at     int64 // Unix ms
	taken  time.Time
	metric string
	value  any
}

// maxGathered bounds the readings in memory.
const maxGathered = batch.MaxValues

// gather holds readings until they become a message.
type gather struct {
	mu       sync.Mutex
	readings []reading
	dropped  uint64          // gave way in memory, because the disk took no message
	full     chan<- struct{} // told when there are enough for a message
	enough   int
}

// check says what a gateway would refuse or put aside.
func check(metric string, value any) error {
	if !batch.MetricName(metric) {
		return fmt.Errorf("metric %.64q: want a-z or _, then a-z, 0-9 or _, at most %d", metric, batch.MaxMetricName)
	}
	switch v := value.(type) {
	case int64, bool:
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s: %v is not a finite number", metric, v)
		}
	case string:
		if len(v) > batch.MaxText || !utf8.ValidString(v) {
			return fmt.Errorf("%s: want a text of UTF-8 of at most %d bytes", metric, batch.MaxText)
		}
	default:
		return fmt.Errorf("%s: %T: want an int64, a float64, a bool or a string", metric, value)
	}
	return nil
}

func (g *gather) add(r ...reading) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.readings = append(g.readings, r...)
	if more := len(g.readings) - maxGathered; more > 0 {
		g.readings = append(g.readings[:0], g.readings[more:]...)
		g.dropped += uint64(more)
	}
	if len(g.readings) >= g.enough {
		select {
		case g.full <- struct{}{}:
		default:
		}
	}
}

func (g *gather) count() (n int, dropped uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.readings), g.dropped
}

// take gives the oldest readings that fit into one message, and gives times to those that have waited for the clock. Until
// that is set, it gives none that has to wait for it.
func (g *gather) take(set bool, values, bytes int) []reading {
	g.mu.Lock()
	defer g.mu.Unlock()
	if set {
		g.stamp(time.Now())
	}
	type point struct {
		at     int64
		metric string
	}
	points, steps, metrics, text := map[point]bool{}, map[int64]bool{}, map[string]bool{}, 0
	var taken, left []reading
	for i, r := range g.readings {
		p := point{r.at, r.metric}
		if r.at == 0 {
			left = append(left, r)
			continue
		}
		if points[p] { // a metric has one value at a time in a message
			left = append(left, g.readings[i:]...)
			break
		}
		size := 10
		if s, ok := r.value.(string); ok {
			size += len(s)
		}
		if !metrics[r.metric] {
			size += len(r.metric) + 8
		}
		points[p], steps[r.at], metrics[r.metric] = true, true, true
		// A column has a place for each step, and what is not there takes a byte of it.
		guess := text + size + len(steps)*(len(metrics)+5)
		if len(taken) > 0 && (len(taken) == values || len(steps) > batch.MaxSteps || len(metrics) > batch.MaxColumns || guess > bytes) {
			left = append(left, g.readings[i:]...)
			break
		}
		text += size
		taken = append(taken, r)
	}
	g.readings = left
	return taken
}

// stamp gives the time to readings that were taken before the clock was set, by how long ago that was.
func (g *gather) stamp(now time.Time) {
	for i := range g.readings {
		if r := &g.readings[i]; r.at == 0 {
			r.at = now.Add(-now.Sub(r.taken)).UnixMilli()
		}
	}
}

// build writes readings as a compact batch.
func build(b *batch.Builder, boot uint32, seq uint64, firmware string, readings []reading) ([]byte, error) {
	b.Reset()
	b.SetKey(boot, seq)
	if firmware != "" {
		b.SetFirmware(firmware)
	}
	for _, r := range readings {
		switch v := r.value.(type) {
		case int64:
			b.SetInt(r.at, r.metric, v)
		case float64:
			b.SetNumber(r.at, r.metric, v)
		case bool:
			b.SetBool(r.at, r.metric, v)
		case string:
			b.SetText(r.at, r.metric, v)
		}
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		return nil, fmt.Errorf("a batch of %d values: %w", len(readings), err)
	}
	return p, nil
}
