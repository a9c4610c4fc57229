package api

import (
	"fmt"
	"net/http"
	"strconv"

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

// who and why stand in the log with every change; one token is one operator until tokens have names.
const who = "operator"

func (a *API) enrol(r *http.Request) (int, any, error) {
	var body v1.Enrolment
	if err := read(r, &body); err != nil {
		return 0, nil, err
	}
	id, err := identity.ParseDevice(body.Device)
	if err != nil {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "device", err.Error())
	}
	class, err := decide.ParseClass(body.Class)
	if err != nil {
		return 0, nil, err
	}
	request, err := authority.ParseRequest([]byte(body.CSR))
	if err != nil {
		return 0, nil, err
	}
	// Made first, for its serial to stand in the event, and shown to nobody before the log has that. One that is lost
	// on the way is asked for again.
	cert, err := a.authority.IssueDevice(id, request)
	if err != nil {
		return 0, nil, err
	}
	outcome, err := a.writer.Do(r.Context(), who, "enrolled by the operators' API", decide.Enrol{
		Device: id, Cohort: body.Cohort, Profile: body.Profile, Class: class, History: body.History,
		SPKI: request.SPKI(), Serial: cert.Serial,
	})
	if err != nil {
		return 0, nil, err
	}
	a.log.Info("certificate issued", "device", id, "no", outcome.No, "serial", cert.Serial, "not_after", cert.NotAfter)
	return http.StatusCreated, v1.Enrolled{
		Device: string(id), No: outcome.No, Certificate: string(cert.PEM), CA: string(a.authority.CA()),
	}, nil
}

func (a *API) device(r *http.Request) (int, any, error) {
	id, err := identity.ParseDevice(r.PathValue("id"))
	if err != nil {
		return 0, nil, refuse(http.StatusNotFound, "device", err.Error())
	}
	var (
		out   v1.Device
		found bool
	)
	err = a.writer.View(r.Context(), func(s *decide.State) {
		var d roster.Device
		if d, found = s.Device(id); found {
			out = shape(s, d)
		}
	})
	if err == nil && !found {
		err = refuse(http.StatusNotFound, "device", fmt.Sprintf("no device %q was enrolled", id))
	}
	return http.StatusOK, out, err
}

func (a *API) devices(r *http.Request) (int, any, error) {
	after, err := number(r, "after", 0, 1<<32-1)
	if err != nil {
		return 0, nil, err
	}
	limit, err := number(r, "limit", defaultPage, maxPage)
	if err != nil {
		return 0, nil, err
	}
	page := v1.Devices{Devices: []v1.Device{}}
	err = a.writer.View(r.Context(), func(s *decide.State) {
		for d := range s.After(uint32(after)) {
			if uint64(len(page.Devices)) == max(limit, 1) {
				page.Next = page.Devices[len(page.Devices)-1].No
				return
			}
			page.Devices = append(page.Devices, shape(s, d))
		}
	})
	return http.StatusOK, page, err
}

func shape(s *decide.State, d roster.Device) v1.Device {
	profile, _ := s.Profile(d.Profile)
	return v1.Device{
		Device: string(d.ID), No: d.No, Cohort: d.Cohort, Profile: profile.Name, Class: decide.ClassName(d.Class),
		History: d.History, Revoked: d.Revoked,
	}
}

// number reads an unsigned parameter of the query.
func number(r *http.Request, name string, unset, limit uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return unset, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > limit {
		return 0, refuse(http.StatusBadRequest, name, fmt.Sprintf("%.40q: want a number up to %d", text, limit))
	}
	return n, nil
}
