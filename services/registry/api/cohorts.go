package api

import (
	"fmt"
	"slices"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func cohortOperations() []operation {
	const one = "/api/v1/cohorts/{cohort}"
	return []operation{
		on(operation{method: "GET", path: "/api/v1/cohorts", id: "cohorts", least: Viewer, about: "Every rollout cohort"}, (*API).cohorts),
		on(operation{method: "GET", path: one, id: "cohort", least: Viewer, about: "One rollout cohort"}, (*API).cohort),
		on(operation{method: "PUT", path: one, id: "defineCohort", least: Operator, about: "Say what holds for a cohort's devices"}, (*API).defineCohort),
		on(operation{method: "POST", path: one + "/members", id: "moveDevices", least: Operator, about: "Move devices to this cohort, all or none"}, (*API).moveDevices),
		on(operation{method: "POST", path: one + "/quarantine", id: "quarantineCohort", least: Operator, about: "Hold all devices of a cohort off"}, (*API).quarantineCohort),
		on(operation{method: "POST", path: one + "/release", id: "releaseCohort", least: Operator, about: "Let the devices of a cohort in again"}, (*API).releaseCohort),
		on(operation{method: "POST", path: one + "/revoke", id: "revokeCohort", least: Admin, about: "Take the identity of all devices of a cohort away at once, for good"}, (*API).revokeCohort),
	}
}

func (a *API) cohorts(c *call, _ *nothing) (v1.Cohorts, error) {
	out := v1.Cohorts{Cohorts: []v1.Cohort{}}
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, known := range s.Cohorts() {
			out.Cohorts = append(out.Cohorts, shapeCohort(known))
		}
		return nil
	})
	return out, err
}

func (a *API) cohort(c *call, _ *nothing) (out v1.Cohort, err error) {
	err = a.see(c.Context(), func(s *decide.State) error {
		known, ok := s.Cohort(c.PathValue("cohort"))
		if !ok {
			return missing("cohort", "there is no cohort %.80q", c.PathValue("cohort"))
		}
		out = shapeCohort(known)
		return nil
	})
	return out, err
}

func (a *API) cohortAfter(c *call, command decide.Command) (v1.Cohort, error) {
	if _, err := a.tell(c, command); err != nil {
		return v1.Cohort{}, err
	}
	return a.cohort(c, nil)
}

func (a *API) defineCohort(c *call, body *v1.CohortDefinition) (v1.Cohort, error) {
	command := decide.DefineCohort{Cohort: c.PathValue("cohort"), Interval: time.Duration(body.IntervalMS) * time.Millisecond, Region: body.Region}
	for i, s := range body.Sleep {
		sleep, err := parseSleep(s)
		if err != nil {
			return v1.Cohort{}, unfit(fmt.Sprintf("sleep[%d]", i), "%v", err)
		}
		command.Sleep = append(command.Sleep, sleep)
	}
	return a.cohortAfter(c, command)
}

func (a *API) quarantineCohort(c *call, _ *v1.Change) (v1.Cohort, error) {
	return a.cohortAfter(c, decide.Quarantine{Cohort: c.PathValue("cohort"), On: true})
}

func (a *API) releaseCohort(c *call, _ *v1.Change) (v1.Cohort, error) {
	return a.cohortAfter(c, decide.Quarantine{Cohort: c.PathValue("cohort")})
}

func (a *API) revokeCohort(c *call, _ *v1.Change) (v1.Cohort, error) {
	return a.cohortAfter(c, decide.RevokeCohort{Cohort: c.PathValue("cohort")})
}

func (a *API) moveDevices(c *call, body *v1.Members) (v1.Cohort, error) {
	command := decide.Move{Cohort: c.PathValue("cohort")}
	for i, name := range body.Devices {
		id, err := identity.ParseDevice(name)
		if err != nil {
			return v1.Cohort{}, unfit(fmt.Sprintf("devices[%d]", i), "%v", err)
		}
		command.Devices = append(command.Devices, id)
	}
	if n := len(command.Devices); n == 0 || n > maxMembers {
		return v1.Cohort{}, unfit("devices", "%d of them: want 1 to %d", n, maxMembers)
	}
	return a.cohortAfter(c, command)
}

const maxMembers = 1000

var days = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func parseSleep(s v1.Sleep) (out roster.Sleep, err error) {
	if len(s.Days) == 0 {
		return out, fmt.Errorf("days: want some of %v", days)
	}
	for _, day := range s.Days {
		i := slices.Index(days, day)
		if i < 0 {
			return out, fmt.Errorf("days: %.20q: want one of %v", day, days)
		}
		out.Days |= 1 << i
	}
	if out.From, err = minute(s.From); err != nil {
		return out, fmt.Errorf("from: %w", err)
	}
	if out.To, err = minute(s.To); err != nil {
		return out, fmt.Errorf("to: %w", err)
	}
	return out, nil
}

func minute(text string) (uint16, error) {
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return 0, fmt.Errorf("%.20q: want a time of day as HH:MM", text)
	}
	return uint16(t.Hour()*60 + t.Minute()), nil
}

func shapeCohort(known roster.Cohort) v1.Cohort {
	out := v1.Cohort{
		Cohort: known.Name, IntervalMS: known.Interval.Milliseconds(), Region: known.Region, Devices: known.Devices,
		Quarantined: known.Quarantined, Revoked: known.Revoked,
	}
	clock := func(m uint16) string { return fmt.Sprintf("%02d:%02d", m/60, m%60) }
	for _, s := range known.Sleep {
		sleep := v1.Sleep{Days: []string{}, From: clock(s.From), To: clock(s.To)}
		for i, day := range days {
			if s.Days&(1<<i) != 0 {
				sleep.Days = append(sleep.Days, day)
			}
		}
		out.Sleep = append(out.Sleep, sleep)
	}
	return out
}
