package api

import (
	"fmt"
	"net/http"
	"strconv"

	"muster.dev/platform/roster"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func (a *API) defineSchema(r *http.Request) (int, any, error) {
	var body v1.Schema
	if err := read(r, &body); err != nil {
		return 0, nil, err
	}
	if body.ID != 0 {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "id", "the registry gives the ids")
	}
	command := decide.DefineSchema{}
	for i, m := range body.Metrics {
		kind, err := decide.ParseKind(m.Kind)
		if err != nil {
			return 0, nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("metrics[%d].kind", i), err.Error())
		}
		command.Metrics = append(command.Metrics, decide.Metric{Name: m.Name, Kind: kind, Scale: m.Scale})
	}
	outcome, err := a.writer.Do(r.Context(), who, "defined by the operators' API", command)
	if err != nil {
		return 0, nil, err
	}
	status := http.StatusCreated
	if len(outcome.Events) == 0 {
		status = http.StatusOK // it was there
	}
	return status, v1.Schema{ID: outcome.Schema, Metrics: body.Metrics}, nil
}

func (a *API) schema(r *http.Request) (int, any, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 32)
	if err != nil {
		return 0, nil, refuse(http.StatusNotFound, "id", "want the number of a schema")
	}
	out := v1.Schema{ID: uint32(id)}
	var found bool
	err = a.writer.View(r.Context(), func(s *decide.State) {
		var known roster.Schema
		known, found = s.Schema(uint32(id))
		for _, m := range known.Metrics {
			out.Metrics = append(out.Metrics, v1.Metric{Name: m.Name, Kind: m.Kind.String(), Scale: m.Scale})
		}
	})
	if err == nil && !found {
		err = refuse(http.StatusNotFound, "id", fmt.Sprintf("there is no schema %d", id))
	}
	return http.StatusOK, out, err
}
