package follow

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/outage"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// Pinned is how many of the last incidents can be replayed from a snapshot that is kept for them.
const Pinned = 32

// pinned is what an incident rests on.
type pinned struct {
	id       string
	since    int64
	evidence []Position
}

// pins are the last incidents, as the topic tells them.
type pins struct {
	mu   sync.Mutex // over last
	last []pinned   // the oldest first
}

// pinsBack is how many records of incidents are read at the start: the last incidents are among them, and where they are not
// their snapshots may go.
const pinsBack = 4096

// follow reads the incidents until ctx ends.
func (p *pins) follow(ctx context.Context, cfg eventlog.Config, log *slog.Logger) {
	outage.New(time.Second, 30*time.Second).Outlast(ctx, func(ctx context.Context, landed func()) error {
		return eventlog.Tail(ctx, cfg, eventlog.TailSettings{Topics: []string{record.TopicIncidents}, Last: pinsBack, Follow: true}, func(rec *kgo.Record) error {
			landed()
			return p.take(rec)
		})
	}, func(err error, wait time.Duration) {
		log.Warn("cannot follow the incidents: the snapshots of new ones may go", "error", err, "in", wait.String())
	})
}

func (p *pins) take(rec *kgo.Record) error {
	in, err := event.DecodeIncident(headersOf(rec), rec.Value)
	if err != nil {
		return nil // a verdict, or of a later version
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pin := pinned{id: in.ID, since: in.Since}
	for _, r := range in.Evidence {
		pin.evidence = append(pin.evidence, Position{Place{r.Topic, r.Part}, r.From})
	}
	if i := slices.IndexFunc(p.last, func(o pinned) bool { return o.id == in.ID }); i >= 0 {
		p.last[i] = pin
		return nil
	}
	p.last = append(p.last, pin)
	p.last = p.last[max(0, len(p.last)-Pinned):]
	return nil
}

// needs says which of a head's snapshots the incidents need.
func (p *pins) needs(h Head) func(Taken) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	need := map[uint64]bool{}
	for _, pin := range p.last {
		if t, ok := h.Before(pin.evidence, pin.since); ok {
			need[t.Ref.No] = true
		}
	}
	return func(t Taken) bool { return need[t.Ref.No] }
}

func headersOf(rec *kgo.Record) []event.Header {
	out := make([]event.Header, len(rec.Headers))
	for i, h := range rec.Headers {
		out[i] = event.Header{Key: h.Key, Value: h.Value}
	}
	return out
}
