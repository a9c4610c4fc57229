package api

import (
	"fmt"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func actingOperations() []operation {
	const path = "/api/v1/devices/{id}/acting"
	return []operation{
		on(operation{method: "GET", path: path, id: "acting", least: Viewer, about: "For whom a device may speak beside itself"}, (*API).acting),
		on(operation{method: "PUT", path: path, id: "grantActing", least: Operator,
			about: "Let a device, an edge gateway as a rule, speak for others, in place of those for whom it might before"}, (*API).grantActing),
		// Content of a DELETE means nothing in HTTP, and there are proxies that take it away.
		on(operation{method: "DELETE", path: path, id: "withdrawActing", least: Operator, query: []parameter{
			{name: "why", about: "Why, for who reads the audit log: one line of plain text, at most 500 bytes", required: true},
		}, about: "Let a device speak for itself alone"}, (*API).withdrawActing),
	}
}

func (a *API) acting(c *call, _ *nothing) (v1.Acting, error) {
	id, err := named(c)
	if err != nil {
		return v1.Acting{}, err
	}
	return a.actingOf(c, id)
}

func (a *API) actingOf(c *call, id identity.Device) (v1.Acting, error) {
	out := v1.Acting{Device: string(id)}
	err := a.see(c.Context(), func(s *decide.State) error {
		d, ok := s.Device(id)
		if !ok {
			return missing("device", "no device %q was enrolled", id)
		}
		if acting, ok := s.Acting(d.No); ok {
			out.ActsFor = *shapeActing(s, acting)
		}
		return nil
	})
	return out, err
}

func (a *API) grantActing(c *call, body *v1.ActingGrant) (v1.Acting, error) {
	id, err := named(c)
	if err != nil {
		return v1.Acting{}, err
	}
	command := decide.GrantActing{Agent: id, Cohort: body.Cohort}
	for i, name := range body.Devices {
		other, err := identity.ParseDevice(name)
		if err != nil {
			return v1.Acting{}, unfit(fmt.Sprintf("devices[%d]", i), "%v", err)
		}
		command.Devices = append(command.Devices, other)
	}
	if _, err := a.tell(c, command); err != nil {
		return v1.Acting{}, err
	}
	return a.actingOf(c, id)
}

func (a *API) withdrawActing(c *call, _ *nothing) (v1.Acting, error) {
	id, err := named(c)
	if err != nil {
		return v1.Acting{}, err
	}
	if c.why, err = reason(c.URL.Query().Get("why"), ""); err != nil {
		return v1.Acting{}, err
	}
	if _, err := a.tell(c, decide.GrantActing{Agent: id}); err != nil {
		return v1.Acting{}, err
	}
	return a.actingOf(c, id)
}

func shapeActing(s *decide.State, acting roster.Acting) *v1.ActsFor {
	return &v1.ActsFor{Devices: names(s, acting.Devices), Cohort: acting.Cohort}
}

// names are the devices of these numbers.
func names(s *decide.State, numbers []uint32) []string {
	var out []string
	for _, no := range numbers {
		if d, ok := s.DeviceByNo(no); ok {
			out = append(out, string(d.ID))
		}
	}
	return out
}

func acts(s *decide.State, no uint32) bool {
	_, acts := s.Acting(no)
	return acts
}
