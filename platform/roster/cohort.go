package roster

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"muster.dev/proto/event"
)

// place finds a cohort, or makes room for it.
func (s *State) place(name string) uint32 {
	if at, ok := s.places[name]; ok {
		return at
	}
	name = strings.Clone(name)
	at := uint32(len(s.cohorts))
	s.cohorts = append(s.cohorts, Cohort{Name: name})
	s.places[name] = at
	return at
}

func (s *State) defineCohort(b event.CohortDefined, dry bool) (Change, error) {
	if dry {
		return Change{}, nil
	}
	c := &s.cohorts[s.place(b.Cohort)]
	c.Interval, c.Region, c.Sleep = time.Duration(b.Interval)*time.Millisecond, s.intern(b.Region), nil
	for _, sleep := range b.Sleep {
		c.Sleep = append(c.Sleep, Sleep(sleep))
	}
	return Change{}, nil
}

func (s *State) revokeCohort(b event.CohortRevoked, dry bool) (Change, error) {
	place, ok := s.places[b.Cohort]
	if !ok {
		return Change{}, ignore(Missing, "revoke cohort %.80q: there is no such cohort", b.Cohort)
	}
	if dry {
		return Change{}, nil
	}
	for no := uint32(1); no <= s.devices.n; no++ {
		if s.devices.at(no).cohort == place {
			s.end(no)
		}
	}
	s.cohorts[place].Revoked = true
	return Change{}, nil
}

func (s *State) quarantineCohort(b event.CohortQuarantined, dry bool) (Change, error) {
	place, ok := s.places[b.Cohort]
	if !ok {
		return Change{}, ignore(Missing, "quarantine cohort %.80q: there is no such cohort", b.Cohort)
	}
	if !dry {
		s.cohorts[place].Quarantined = b.On
	}
	return Change{}, nil
}

// Cohorts is every cohort that was defined or has had a device, by name.
func (s *State) Cohorts() []Cohort {
	out := slices.Clone(s.cohorts[1:])
	if s.cohorts[0].Devices > 0 {
		out = append(out, s.cohorts[0])
	}
	slices.SortFunc(out, func(a, b Cohort) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// CohortCount is how many cohorts there are.
func (s *State) CohortCount() int { return len(s.cohorts) - 1 } // the first is no cohort

// Cohort finds a cohort.
func (s *State) Cohort(name string) (Cohort, bool) {
	place, ok := s.places[name]
	if !ok {
		return Cohort{}, false
	}
	return s.cohorts[place], true
}

func (s *State) defineGroup(b event.GroupDefined, dry bool) (Change, error) {
	selector, err := ParseSelector(b.Selector)
	if err != nil {
		return Change{}, ignore(Name, "group %.80q: %w", b.Group, err)
	}
	if !dry {
		s.groups[b.Group] = selector
	}
	return Change{}, nil
}

func (s *State) removeGroup(b event.GroupRemoved, dry bool) (Change, error) {
	if _, ok := s.groups[b.Group]; !ok {
		return Change{}, ignore(Missing, "remove group %.80q: there is no such group", b.Group)
	}
	if !dry {
		delete(s.groups, b.Group)
	}
	return Change{}, nil
}

// Groups is every group, by name.
func (s *State) Groups() []Group {
	out := make([]Group, 0, len(s.groups))
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		out = append(out, Group{name, s.groups[name]})
	}
	return out
}

// Group finds a group.
func (s *State) Group(name string) (Group, bool) {
	selector, ok := s.groups[name]
	return Group{name, selector}, ok
}

// GroupsOf is the groups that a device is in, by name. It is found out now: no membership is kept.
func (s *State) GroupsOf(d Device) []string {
	var out []string
	for name, selector := range s.groups {
		if s.Selects(selector, &d) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Selects says whether a selector selects a device.
func (s *State) Selects(selector Selector, d *Device) bool {
	profile := ""
	if p := s.profiles[d.Profile]; p != nil {
		profile = p.Name
	}
	return selector.Match(d, profile)
}

func (s *State) defineRegion(b event.RegionDefined, dry bool) (Change, error) {
	if !dry {
		s.regions[b.Region] = b.Gateway
	}
	return Change{}, nil
}

// Regions is every region, by name.
func (s *State) Regions() []Region {
	out := make([]Region, 0, len(s.regions))
	for _, name := range slices.Sorted(maps.Keys(s.regions)) {
		out = append(out, Region{name, s.regions[name]})
	}
	return out
}

// Region finds the gateway that takes a region's devices.
func (s *State) Region(name string) (gateway string, ok bool) {
	gateway, ok = s.regions[name]
	return gateway, ok
}

// Snapshot is the last snapshot that the log names; of none its Event is 0.
func (s *State) Snapshot() event.SnapshotTaken { return s.taken }
