package decide

import (
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// The limits of what the registry takes. A profile is a wide table and every plan of the sink inserts into each, so
// profiles are few; what has no room in them stays in the overflow table and is read there.
const (
	MaxProfiles = 16
	MaxMetrics  = 128 // of a profile
	MaxSchemas  = 10_000
)

// Command is what the registry can be told.
type Command interface {
	decide(s *State, now time.Time) (Outcome, error)
}

// Outcome is what a command comes to. One without events says what was so already.
type Outcome struct {
	Events      []event.Body
	No          uint32          // of what is about one device: its number
	Device      identity.Device // likewise: its name
	Certificate Certificate     // of what enrols or renews: what stands in the log, to be signed once it does
	Schema      uint32          // of DefineSchema: its id
	Gen         uint16          // of DefineTopic: its generation
	Count       int             // of what is about many: on how many it bore
}

// Decide says what a command makes of the state now, and does not change it. Every error is a *Refusal.
func Decide(s *State, now time.Time, c Command) (Outcome, error) { return c.decide(s, now) }

// Metric is a metric as commands name it.
type Metric = roster.SchemaMetric

func checkMetric(field string, m Metric) error {
	switch {
	case !batch.MetricName(m.Name):
		return invalid(field+".name", "%.80q: want [a-z_][a-z0-9_]{0,62}", m.Name)
	case m.Kind > batch.Text:
		return invalid(field+".kind", "%d: want int, float, bool or text", m.Kind)
	case m.Kind != batch.Int && m.Scale != 0:
		return invalid(field+".scale", "%d: only an int has one", m.Scale)
	case m.Scale > batch.MaxScale:
		return invalid(field+".scale", "%d: want 0 to %d", m.Scale, batch.MaxScale)
	}
	return nil
}
