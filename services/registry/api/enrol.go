package api

import (
	"net/http"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func (a *API) enrol(c *call, body *v1.Enrolment) (out v1.Enrolled, err error) {
	id, err := identity.ParseDevice(body.Device)
	if err != nil {
		return out, unfit("device", "%v", err)
	}
	class, err := decide.ParseClass(body.Class)
	if err != nil {
		return out, err
	}
	return a.issue(c, body.CSR, decide.Enrol{
		Device: id, Cohort: body.Cohort, Profile: body.Profile, Class: class, History: body.History,
		Interval: time.Duration(body.IntervalMS) * time.Millisecond, Region: body.Region, Attributes: body.Attributes,
	})
}

// issue enrols a device. Its certificate is drafted for the event to name it, and signed once that stands in the log:
// then it can be signed again, to the same bytes, for whoever lost the answer.
func (a *API) issue(c *call, csr string, command decide.Enrol) (out v1.Enrolled, err error) {
	request, err := authority.ParseRequest([]byte(csr))
	if err != nil {
		return out, err
	}
	if err := a.authority.Ready(); err != nil {
		return out, refuse(http.StatusServiceUnavailable, "", err.Error())
	}
	command.Certificate, command.Names = a.authority.Draft(request), request.Names()
	outcome, err := a.create(c, command)
	if err != nil {
		return out, err
	}
	cert, err := a.authority.Sign(command.Device, request, outcome.Certificate)
	if err != nil {
		return out, err
	}
	a.log.Info("certificate issued", "device", command.Device, "no", outcome.No, "serial", cert.Serial, "not_after", cert.NotAfter, "by", c.caller.name)
	return v1.Enrolled{Device: string(command.Device), No: outcome.No, Certificate: string(cert.PEM), CA: string(a.authority.CA())}, nil
}

func (a *API) replaceDevice(c *call, body *v1.Replacement) (out v1.Enrolled, err error) {
	old, err := named(c)
	if err != nil {
		return out, err
	}
	heir, err := identity.ParseDevice(body.New)
	if err != nil {
		return out, unfit("new", "%v", err)
	}
	command, err := a.heir(c, old, heir)
	if err != nil {
		return out, err
	}
	if body.CSR != "" {
		if out, err = a.issue(c, body.CSR, command); err != nil {
			return out, err
		}
	}
	outcome, err := a.create(c, decide.Replace{Old: old, New: heir})
	if err != nil {
		return out, err
	}
	out.Device, out.No, out.Replaces = string(heir), outcome.No, string(old)
	return out, a.see(c.Context(), func(s *decide.State) error {
		d, _ := s.Device(heir)
		out.No = d.No
		return nil
	})
}

// heir is the enrolment of a device as another one was enrolled, unless that has an heir already. What the old one had
// from its cohort, the new one has from there too.
func (a *API) heir(c *call, old, heir identity.Device) (command decide.Enrol, err error) {
	err = a.see(c.Context(), func(s *decide.State) error {
		d, ok := s.Device(old)
		if !ok {
			return missing("device", "no device %q was enrolled", old)
		}
		if other, ok := s.DeviceByNo(d.ReplacedBy); ok && other.ID != heir {
			return conflicting("new", "device %s was replaced by %s", old, other.ID)
		}
		profile, _ := s.Profile(d.Profile)
		own, _ := s.Own(d.No)
		command = decide.Enrol{
			Device: heir, Cohort: d.Cohort, Profile: profile.Name, Class: d.Class, History: d.History,
			Interval: own.Interval, Region: own.Region, Attributes: attributes(d),
		}
		return nil
	})
	return command, err
}

func attributes(d roster.Device) map[string]string {
	if len(d.Attributes) == 0 {
		return nil
	}
	out := make(map[string]string, len(d.Attributes))
	for _, a := range d.Attributes {
		out[a.Key] = a.Value
	}
	return out
}
