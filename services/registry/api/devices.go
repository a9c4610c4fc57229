package api

import (
	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

func deviceOperations() []operation {
	return []operation{
		on(operation{method: "POST", path: "/api/v1/devices", id: "enrol", least: Operator, creates: true, why: "enrolled by the operators' API",
			about: "Give a device its identity; the same request again gives the same certificate, another with the same key a new one"}, (*API).enrol),
		on(operation{method: "GET", path: "/api/v1/devices", id: "devices", least: Viewer, about: "Devices in the order of their numbers", query: []parameter{
			{name: "after", about: "Only devices whose numbers come after this one", number: true},
			{name: "limit", about: "At most so many: 100 unless told, 1000 at most", number: true},
		}}, (*API).devices),
		on(operation{method: "GET", path: "/api/v1/devices/{id}", id: "device", least: Viewer, about: "One device"}, (*API).device),
	}
}

func (a *API) enrol(c *call, body *v1.Enrolment) (out v1.Enrolled, err error) {
	id, err := identity.ParseDevice(body.Device)
	if err != nil {
		return out, unfit("device", "%v", err)
	}
	class, err := decide.ParseClass(body.Class)
	if err != nil {
		return out, err
	}
	request, err := authority.ParseRequest([]byte(body.CSR))
	if err != nil {
		return out, err
	}
	cert, err := a.authority.IssueDevice(id, request)
	if err != nil {
		return out, err
	}
	outcome, err := a.create(c, decide.Enrol{
		Device: id, Cohort: body.Cohort, Profile: body.Profile, Class: class, History: body.History,
		SPKI: request.SPKI(), Serial: cert.Serial,
	})
	if err != nil {
		return out, err
	}
	c.status = 201
	a.log.Info("certificate issued", "device", id, "no", outcome.No, "serial", cert.Serial, "not_after", cert.NotAfter)
	return v1.Enrolled{Device: string(id), No: outcome.No, Certificate: string(cert.PEM), CA: string(a.authority.CA())}, nil
}

func (a *API) device(c *call, _ *nothing) (out v1.Device, err error) {
	id, err := identity.ParseDevice(c.PathValue("id"))
	if err != nil {
		return out, missing("device", "%v", err)
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		d, ok := s.Device(id)
		if !ok {
			return missing("device", "no device %q was enrolled", id)
		}
		out = shape(s, d)
		return nil
	})
	return out, err
}

func (a *API) devices(c *call, _ *nothing) (v1.Devices, error) {
	page := v1.Devices{Devices: []v1.Device{}}
	after, err := number(c.Request, "after", 0, 1<<32-1)
	if err != nil {
		return page, err
	}
	limit, err := number(c.Request, "limit", defaultPage, maxPage)
	if err != nil {
		return page, err
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		for d := range s.After(uint32(after)) {
			if uint64(len(page.Devices)) == max(limit, 1) {
				page.Next = page.Devices[len(page.Devices)-1].No
				break
			}
			page.Devices = append(page.Devices, shape(s, d))
		}
		return nil
	})
	return page, err
}

func shape(s *decide.State, d roster.Device) v1.Device {
	profile, _ := s.Profile(d.Profile)
	return v1.Device{
		Device: string(d.ID), No: d.No, Cohort: d.Cohort, Profile: profile.Name, Class: decide.ClassName(d.Class),
		History: d.History, Revoked: d.Revoked,
	}
}
