package decide

import (
	"fmt"
	"time"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// DefineSchema gives an id to a list of metrics, so that messages can name a metric by its place in it. The same list
// has the same id.
type DefineSchema struct{ Metrics []Metric }

func (c DefineSchema) decide(s *State, _ time.Time) (Outcome, error) {
	if n := len(c.Metrics); n == 0 || n > batch.MaxColumns {
		return Outcome{}, invalid("metrics", "%d of them: want 1 to %d", n, batch.MaxColumns)
	}
	seen := make(map[string]bool, len(c.Metrics))
	for i, m := range c.Metrics {
		field := fmt.Sprintf("metrics[%d]", i)
		if err := checkMetric(field, m); err != nil {
			return Outcome{}, err
		}
		if seen[m.Name] {
			return Outcome{}, invalid(field+".name", "%q is there twice", m.Name)
		}
		seen[m.Name] = true
	}
	if id, ok := s.schemas[content(c.Metrics)]; ok {
		return Outcome{Schema: id}, nil
	}
	known := s.Counts().Schemas
	if known >= MaxSchemas {
		return Outcome{}, conflict("metrics", "it would be one more than the limit of %d schemas", MaxSchemas)
	}
	body := event.SchemaDefined{Schema: uint32(known) + 1}
	for _, m := range c.Metrics {
		body.Metrics = append(body.Metrics, event.SchemaMetric(m))
	}
	return Outcome{Schema: body.Schema, Events: []event.Body{body}}, nil
}

// AddMetrics gives metrics to a profile, whose table has the columns already.
type AddMetrics struct {
	Profile uint16
	Metrics []Metric
}

func (c AddMetrics) decide(s *State, _ time.Time) (Outcome, error) {
	profile, ok := s.Profile(c.Profile)
	if !ok {
		return Outcome{}, notFound("profile", "there is no profile %d", c.Profile)
	}
	known := make(map[string]Metric, len(profile.Metrics))
	for _, m := range profile.Metrics {
		known[m.Name] = Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale}
	}
	var out Outcome
	added := map[string]bool{}
	for i, m := range c.Metrics {
		field := fmt.Sprintf("metrics[%d]", i)
		if err := checkMetric(field, m); err != nil {
			return Outcome{}, err
		}
		switch have, ok := known[m.Name]; {
		case ok && have != m:
			return Outcome{}, conflict(field, "%s is of kind %v and scale %d in this profile", m.Name, have.Kind, have.Scale)
		case ok:
			continue
		case added[m.Name]:
			return Outcome{}, invalid(field+".name", "%q is there twice", m.Name)
		case len(known)+len(added) >= MaxMetrics:
			return Outcome{}, conflict(field, "%s would be one more than the limit of %d metrics of a profile", m.Name, MaxMetrics)
		}
		added[m.Name] = true
		out.Events = append(out.Events, event.MetricAdded{Profile: c.Profile, Metric: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
	return out, nil
}
