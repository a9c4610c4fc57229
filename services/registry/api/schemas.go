package api

import (
	"fmt"
	"strconv"

	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func schemaOperations() []operation {
	return []operation{
		on(operation{method: "POST", path: "/api/v1/schemas", id: "defineSchema", least: Operator, creates: true, why: "defined by the operators' API",
			about: "Publish a schema, or find the one with this content"}, (*API).defineSchema),
		on(operation{method: "GET", path: "/api/v1/schemas/{id}", id: "schema", least: Viewer, about: "One schema"}, (*API).schema),
	}
}

func (a *API) defineSchema(c *call, body *v1.NewSchema) (out v1.Schema, err error) {
	if body.ID != 0 {
		return out, unfit("id", "the registry gives the ids")
	}
	command := decide.DefineSchema{}
	for i, m := range body.Metrics {
		kind, err := decide.ParseKind(m.Kind)
		if err != nil {
			return out, unfit(fmt.Sprintf("metrics[%d].kind", i), "%v", err)
		}
		command.Metrics = append(command.Metrics, decide.Metric{Name: m.Name, Kind: kind, Scale: m.Scale})
	}
	outcome, err := a.create(c, command)
	return v1.Schema{ID: outcome.Schema, Metrics: body.Metrics}, err
}

func (a *API) schema(c *call, _ *nothing) (out v1.Schema, err error) {
	id, err := strconv.ParseUint(c.PathValue("id"), 10, 32)
	if err != nil {
		return out, missing("id", "want the number of a schema")
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		known, ok := s.Schema(uint32(id))
		if !ok {
			return missing("id", "there is no schema %d", id)
		}
		out.ID = known.No
		for _, m := range known.Metrics {
			out.Metrics = append(out.Metrics, v1.Metric{Name: m.Name, Kind: m.Kind.String(), Scale: m.Scale})
		}
		return nil
	})
	return out, err
}
