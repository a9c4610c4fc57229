package api

import (
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func incidentOperations() []operation {
	return []operation{
		on(operation{method: "POST", path: "/api/v1/incidents/{incident}/acknowledge", id: "acknowledgeIncident", least: Operator,
			about: "Say that somebody has taken an incident on: it stands in the log, and the incident says who"}, (*API).acknowledgeIncident),
	}
}

// acknowledgeIncident answers when the log has it. Whether there is such an incident the detectors know: they pass over any other.
func (a *API) acknowledgeIncident(c *call, _ *v1.Change) (v1.Acknowledged, error) {
	out := v1.Acknowledged{Incident: c.PathValue("incident"), By: c.caller.name}
	if _, err := a.tell(c, decide.AcknowledgeIncident{Incident: out.Incident}); err != nil {
		return v1.Acknowledged{}, err
	}
	return out, nil
}
