package decide

import (
	"slices"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
)

// The limits of what is named by operators.
const (
	MaxCohorts = 10_000
	MaxGroups  = 256
	MaxRegions = 256
	maxGateway = 256 // bytes of its address
)

// Sleep is a time of the week at which silence is planned.
type Sleep = roster.Sleep

// DefineCohort says what holds for a cohort's devices that have nothing of their own.
type DefineCohort struct {
	Cohort   string
	Interval time.Duration
	Region   string
	Sleep    []Sleep
}

func (c DefineCohort) decide(s *State, _ time.Time) (Outcome, error) {
	switch {
	case !cohortName.MatchString(c.Cohort):
		return Outcome{}, invalid("cohort", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Cohort)
	case c.Region != "" && !cohortName.MatchString(c.Region):
		return Outcome{}, invalid("region", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Region)
	case len(c.Sleep) > event.MaxSleep:
		return Outcome{}, invalid("sleep", "%d times: want %d at most", len(c.Sleep), event.MaxSleep)
	}
	if err := checkInterval(c.Interval); err != nil {
		return Outcome{}, err
	}
	for _, sleep := range c.Sleep {
		if sleep.Days == 0 || sleep.Days > 127 || sleep.From >= 24*60 || sleep.To >= 24*60 || sleep.From == sleep.To {
			return Outcome{}, invalid("sleep", "%+v: want days, and from one minute of the day to another", sleep)
		}
	}
	known, ok := s.Cohort(c.Cohort)
	if !ok {
		if err := s.oneMoreCohort(); err != nil {
			return Outcome{}, err
		}
	}
	if ok && known.Interval == c.Interval && known.Region == c.Region && slices.Equal(known.Sleep, c.Sleep) {
		return Outcome{Count: known.Devices}, nil
	}
	body := event.CohortDefined{Cohort: c.Cohort, Interval: c.Interval.Milliseconds(), Region: c.Region}
	for _, sleep := range c.Sleep {
		body.Sleep = append(body.Sleep, event.Sleep(sleep))
	}
	return Outcome{Count: known.Devices, Events: []event.Body{body}}, nil
}

// RevokeCohort revokes all devices that are in a cohort, by one event.
type RevokeCohort struct{ Cohort string }

func (c RevokeCohort) decide(s *State, _ time.Time) (Outcome, error) {
	cohort, ok := s.Cohort(c.Cohort)
	switch {
	case !ok || c.Cohort == "":
		return Outcome{}, notFound("cohort", "there is no cohort %.80q", c.Cohort)
	case cohort.Revoked:
		return Outcome{}, nil
	}
	return Outcome{Count: cohort.Devices, Events: []event.Body{event.CohortRevoked{Cohort: c.Cohort}}}, nil
}

// DefineGroup gives a name to a selector, for reports. No rollout looks at it.
type DefineGroup struct{ Group, Selector string }

func (c DefineGroup) decide(s *State, _ time.Time) (Outcome, error) {
	if !event.Name(c.Group) {
		return Outcome{}, invalid("group", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Group)
	}
	selector, err := roster.ParseSelector(c.Selector)
	if err != nil {
		return Outcome{}, invalid("selector", "%v", err)
	}
	text := selector.String()
	known, ok := s.Group(c.Group)
	switch {
	case ok && known.Selector.String() == text:
		return Outcome{}, nil
	case !ok && len(s.Groups()) >= MaxGroups:
		return Outcome{}, conflict("group", "it would be one more than the limit of %d groups", MaxGroups)
	}
	return Outcome{Events: []event.Body{event.GroupDefined{Group: c.Group, Selector: text}}}, nil
}

// RemoveGroup takes a group's name back.
type RemoveGroup struct{ Group string }

func (c RemoveGroup) decide(s *State, _ time.Time) (Outcome, error) {
	if _, ok := s.Group(c.Group); !ok {
		return Outcome{}, notFound("group", "there is no group %.80q", c.Group)
	}
	return Outcome{Events: []event.Body{event.GroupRemoved{Group: c.Group}}}, nil
}

// DefineRegion names the gateway that takes a region's devices.
type DefineRegion struct{ Region, Gateway string }

func (c DefineRegion) decide(s *State, _ time.Time) (Outcome, error) {
	switch {
	case !event.Name(c.Region):
		return Outcome{}, invalid("region", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Region)
	case c.Gateway == "" || len(c.Gateway) > maxGateway || !event.ClaimSerial(c.Gateway[:min(len(c.Gateway), event.MaxClaimSerial)]):
		return Outcome{}, invalid("gateway", "%.80q: want an address of at most %d bytes", c.Gateway, maxGateway)
	}
	known, ok := s.Region(c.Region)
	switch {
	case ok && known == c.Gateway:
		return Outcome{}, nil
	case !ok && len(s.Regions()) >= MaxRegions:
		return Outcome{}, conflict("region", "it would be one more than the limit of %d regions", MaxRegions)
	}
	return Outcome{Events: []event.Body{event.RegionDefined{Region: c.Region, Gateway: c.Gateway}}}, nil
}

// oneMoreCohort says whether there may be one. Devices that enrol and move make cohorts too.
func (s *State) oneMoreCohort() error {
	if s.CohortCount() >= MaxCohorts {
		return conflict("cohort", "it would be one more than the limit of %d cohorts", MaxCohorts)
	}
	return nil
}

// takes says whether a cohort takes devices: one that is there and not revoked, or a new one.
func (s *State) takes(cohort string) error {
	known, ok := s.Cohort(cohort)
	switch {
	case !ok:
		return s.oneMoreCohort()
	case known.Revoked:
		return conflict("cohort", "%s was revoked and takes no more devices: choose another", cohort)
	}
	return nil
}
