package decide

import (
	"slices"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// MaxAgents is the number of devices that may speak for others.
const MaxAgents = 10_000

// GrantActing lets a device speak for others, in place of those for whom it might before: for the named ones, and for all
// that are in the cohort while they are in it. Of nobody it is a withdrawal.
type GrantActing struct {
	Agent   identity.Device
	Devices []identity.Device
	Cohort  string // empty is none
}

func (c GrantActing) decide(s *State, _ time.Time) (Outcome, error) {
	if n := len(c.Devices); n > event.MaxActing {
		return Outcome{}, invalid("devices", "%d of them: want %d at most, and a cohort for more", n, event.MaxActing)
	}
	agent, err := s.device("agent", c.Agent)
	if err != nil {
		return Outcome{}, err
	}
	var revoked identity.Device
	grant := event.ActingGranted{Agent: agent.No, Cohort: c.Cohort}
	for _, id := range c.Devices {
		d, err := s.device("devices", id)
		switch {
		case err != nil:
			return Outcome{}, err
		case d.No == agent.No:
			return Outcome{}, invalid("devices", "%s speaks for itself anyway: name others", id)
		case d.Revoked:
			revoked = id
		}
		grant.Devices = append(grant.Devices, d.No)
	}
	slices.Sort(grant.Devices)
	grant.Devices = slices.Compact(grant.Devices)
	cohort, there := s.Cohort(c.Cohort)
	if c.Cohort != "" && !there {
		return Outcome{}, notFound("cohort", "there is no cohort %.80q", c.Cohort)
	}
	out := Outcome{No: agent.No, Device: agent.ID, Count: len(grant.Devices) + cohort.Devices}
	known, has := s.Acting(agent.No)
	switch {
	case len(grant.Devices) == 0 && c.Cohort == "":
		if out.Count = 0; has {
			out.Events = []event.Body{event.ActingWithdrawn{Agent: agent.No}}
		}
		return out, nil
	case has && known.Cohort == c.Cohort && slices.Equal(known.Devices, grant.Devices):
		return out, nil
	case agent.Revoked:
		return Outcome{}, conflict("agent", "device %s was revoked", c.Agent)
	case revoked != "":
		return Outcome{}, conflict("devices", "device %s was revoked", revoked)
	case cohort.Revoked:
		return Outcome{}, conflict("cohort", "cohort %s was revoked", c.Cohort)
	case !has && s.Agents() >= MaxAgents:
		return Outcome{}, conflict("agent", "it would be one more than the limit of %d devices that speak for others", MaxAgents)
	}
	out.Events = []event.Body{grant}
	return out, nil
}
