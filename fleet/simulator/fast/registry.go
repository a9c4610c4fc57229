package fast

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// chain writes the registry's log as the registry would: each event links to the one before, and is folded by the fold that
// every reader has, so that what a reader would ignore is an error here.
type chain struct {
	state *roster.State
	prev  [32]byte
	n     uint64
	out   []*kgo.Record // made, and not taken yet
}

func newChain() *chain { return &chain{state: roster.NewState()} }

// say appends an event at an instant of the simulation, in Unix ms.
func (c *chain) say(at int64, why string, body event.Body) error {
	e := event.Registry{N: c.n + 1, Prev: c.prev, Time: at, Who: "simulator", Why: why, Body: body}
	value, headers, err := e.Encode()
	if err != nil {
		return fmt.Errorf("event %d of the registry: %w", e.N, err)
	}
	rec := &kgo.Record{Topic: record.TopicRegistry, Value: value, Timestamp: time.UnixMilli(at), Offset: int64(c.n)}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if _, err := c.state.ApplyRecord(rec); err != nil {
		return fmt.Errorf("event %d of the registry, %s: %w", e.N, body.Type(), err)
	}
	c.n, c.prev = e.N, event.Chain(value)
	c.out = append(c.out, rec)
	return nil
}

// take gives what was said since the last time.
func (c *chain) take() []*kgo.Record {
	out := c.out
	c.out = nil
	return out
}
