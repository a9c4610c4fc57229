package decide

import (
	"time"

	"muster.dev/proto/event"
)

// AcknowledgeIncident says that whoever asks has taken an incident on. Which incidents there are the detectors know, and not the
// registry: it takes any id of the form, and says it again for whoever says it again.
type AcknowledgeIncident struct{ Incident string }

func (c AcknowledgeIncident) decide(*State, time.Time) (Outcome, error) {
	if !event.IncidentID(c.Incident) {
		return Outcome{}, invalid("incident", "%.80q: want i, then 12 of a-z 2-7", c.Incident)
	}
	return Outcome{Events: []event.Body{event.IncidentAcknowledged{Incident: c.Incident}}}, nil
}
