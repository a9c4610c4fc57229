package api

import (
	"net/http"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	defaultPage = 100
	maxPage     = 1000
	// maxScan bounds for how long a page of few among many holds the registry.
	maxScan = 50_000
)

func deviceOperations() []operation {
	const one = "/api/v1/devices/{id}"
	return []operation{
		on(operation{method: "POST", path: "/api/v1/devices", id: "enrol", least: Operator, creates: true, why: "enrolled by the operators' API",
			about: "Give a device its identity; the same request again gives the same certificate, another with the same key a new one"}, (*API).enrol),
		on(operation{method: "GET", path: "/api/v1/devices", id: "devices", least: Viewer, query: []parameter{
			{name: "after", about: "Only devices whose numbers come after this one", number: true},
			{name: "limit", about: "At most so many: 100 unless told, 1000 at most", number: true},
			{name: "cohort", about: "Only those of a rollout cohort"},
			{name: "region", about: "Only those that must not leave a region"},
			{name: "state", about: "Only those in a state", values: []string{v1.StateEnrolled, v1.StateQuarantined, v1.StateRevoked}},
			{name: "selector", about: "Only those that a group's selector selects"},
			{name: "acting", about: "Only those that may speak for others, each with for whom", values: []string{"true"}},
		}, about: "Devices in the order of their numbers; a page may hold fewer than asked for, and none, before the last"}, (*API).devices),
		on(operation{method: "GET", path: one, id: "device", least: Viewer, about: "One device, with its certificates and groups"}, (*API).device),
		on(operation{method: "PATCH", path: one, id: "describe", least: Operator, about: "Set and take away attributes of a device"}, (*API).describe),
		on(operation{method: "POST", path: one + "/revoke", id: "revokeDevice", least: Operator, about: "Take a device's identity away, for good"}, (*API).revokeDevice),
		on(operation{method: "POST", path: one + "/quarantine", id: "quarantineDevice", least: Operator, about: "Hold a device off; it keeps its identity"}, (*API).quarantineDevice),
		on(operation{method: "POST", path: one + "/release", id: "releaseDevice", least: Operator, about: "Let a device in again that was held off"}, (*API).releaseDevice),
		on(operation{method: "POST", path: one + "/move", id: "moveDevice", least: Operator, about: "Move a device to another rollout cohort"}, (*API).moveDevice),
		on(operation{method: "POST", path: one + "/replacement", id: "replaceDevice", least: Operator, creates: true,
			about: "Put another device in this one's place, which is revoked by it; the history of both is linked"}, (*API).replaceDevice),
	}
}

// named is the device that the path names.
func named(c *call) (identity.Device, error) {
	id, err := identity.ParseDevice(c.PathValue("id"))
	if err != nil {
		return "", missing("device", "%v", err)
	}
	return id, nil
}

func (a *API) device(c *call, _ *nothing) (v1.Device, error) {
	id, err := named(c)
	if err != nil {
		return v1.Device{}, err
	}
	return a.oneDevice(c, id)
}

func (a *API) oneDevice(c *call, id identity.Device) (out v1.Device, err error) {
	err = a.see(c.Context(), func(s *decide.State) error {
		d, ok := s.Device(id)
		if !ok {
			return missing("device", "no device %q was enrolled", id)
		}
		out = shape(s, d)
		out.Groups = s.GroupsOf(d)
		if acting, ok := s.Acting(d.No); ok {
			out.ActsFor = shapeActing(s, acting)
		}
		out.SpokenForBy = names(s, s.AgentsFor(d.No))
		for _, held := range d.Certificates {
			out.Certificates = append(out.Certificates, shapeCertificate(d.ID, held))
		}
		return nil
	})
	return out, err
}

// changed decides a command about one device and shows what it made of it.
func (a *API) changed(c *call, command func(identity.Device) decide.Command) (v1.Device, error) {
	id, err := named(c)
	if err != nil {
		return v1.Device{}, err
	}
	if _, err := a.tell(c, command(id)); err != nil {
		return v1.Device{}, err
	}
	return a.oneDevice(c, id)
}

func (a *API) describe(c *call, body *v1.Description) (v1.Device, error) {
	if len(body.Attributes) == 0 {
		return v1.Device{}, unfit("attributes", "want one attribute to set or to take away at least")
	}
	return a.changed(c, func(id identity.Device) decide.Command {
		command := decide.Describe{Device: id, Set: map[string]string{}}
		for key, value := range body.Attributes {
			if value == nil {
				command.Unset = append(command.Unset, key)
			} else {
				command.Set[key] = *value
			}
		}
		return command
	})
}

func (a *API) revokeDevice(c *call, _ *v1.Change) (v1.Device, error) {
	return a.changed(c, func(id identity.Device) decide.Command { return decide.RevokeDevice{Device: id} })
}

func (a *API) quarantineDevice(c *call, _ *v1.Change) (v1.Device, error) {
	return a.changed(c, func(id identity.Device) decide.Command { return decide.Quarantine{Device: id, On: true} })
}

func (a *API) releaseDevice(c *call, _ *v1.Change) (v1.Device, error) {
	return a.changed(c, func(id identity.Device) decide.Command { return decide.Quarantine{Device: id} })
}

func (a *API) moveDevice(c *call, body *v1.Moving) (v1.Device, error) {
	return a.changed(c, func(id identity.Device) decide.Command {
		return decide.Move{Devices: []identity.Device{id}, Cohort: body.Cohort}
	})
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
	wanted, err := filters(c)
	if err != nil {
		return page, err
	}
	onlyActing := c.URL.Query().Get("acting") != ""
	err = a.see(c.Context(), func(s *decide.State) error {
		last, scanned := uint32(0), 0
		for d := range s.After(uint32(after)) {
			if uint64(len(page.Devices)) == max(limit, 1) || scanned == maxScan {
				page.Next = last
				break
			}
			last = d.No
			scanned++
			if !wanted(s, &d) {
				continue
			}
			shown := shape(s, d)
			if acting, ok := s.Acting(d.No); ok && onlyActing {
				shown.ActsFor = shapeActing(s, acting)
			}
			page.Devices = append(page.Devices, shown)
		}
		return nil
	})
	return page, err
}

// filters are what the query asks of a device.
func filters(c *call) (func(*decide.State, *roster.Device) bool, error) {
	query := c.URL.Query()
	cohort, region, state := query.Get("cohort"), query.Get("region"), query.Get("state")
	acting := query.Get("acting") != ""
	var selector roster.Selector
	selects := query.Has("selector")
	if selects {
		var err error
		if selector, err = roster.ParseSelector(query.Get("selector")); err != nil {
			return nil, refuse(http.StatusBadRequest, "selector", err.Error())
		}
	}
	return func(s *decide.State, d *roster.Device) bool {
		return (cohort == "" || d.Cohort == cohort) && (region == "" || d.Region == region) && (state == "" || stateOf(d) == state) &&
			(!selects || s.Selects(selector, d)) && (!acting || acts(s, d.No))
	}, nil
}

func stateOf(d *roster.Device) string {
	switch {
	case d.Revoked:
		return v1.StateRevoked
	case d.Quarantined:
		return v1.StateQuarantined
	}
	return v1.StateEnrolled
}

func shape(s *decide.State, d roster.Device) v1.Device {
	profile, _ := s.Profile(d.Profile)
	out := v1.Device{
		Device: string(d.ID), No: d.No, Cohort: d.Cohort, Profile: profile.Name, Class: decide.ClassName(d.Class),
		History: d.History, Revoked: d.Revoked, State: stateOf(&d), Region: d.Region, IntervalMS: d.Interval.Milliseconds(),
		Method: d.Method, EnrolledAt: instant(d.EnrolledAt), Attributes: attributes(d),
	}
	if other, ok := s.DeviceByNo(d.Replaces); ok {
		out.Replaces = string(other.ID)
	}
	if other, ok := s.DeviceByNo(d.ReplacedBy); ok {
		out.ReplacedBy = string(other.ID)
	}
	return out
}

// instant is a time of the log; none is the zero time, which is not shown.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
