package incident

import (
	"fmt"
	"slices"

	"muster.dev/proto/event"
)

const (
	// updated is the mark of a device that runs another firmware since shortly before it was last heard.
	updated = 4
	// maxBlamed bounds the devices that a failed update is remembered to have named.
	maxBlamed = 10_000
)

// blame keeps whom a failed update named: the next stage is told of others, and those of this one are silent still.
func (e *entry) blame() {
	if e.now.Kind != event.UpdateFailure {
		return
	}
	for _, m := range e.now.Devices {
		if i, ok := slices.BinarySearch(e.blamed, m.No); !ok && len(e.blamed) < maxBlamed {
			e.blamed = slices.Insert(e.blamed, i, m.No)
		}
	}
}

// blames says whether a silent device is a failed update's: it is named there, or it is of that cohort and was updated, in a
// silence that is far more common among those who were.
func (e *entry) blames(s *Signal, m event.Member) bool {
	if _, ok := slices.BinarySearch(e.blamed, m.No); ok {
		return true
	}
	return s.Cause == CauseUpdate && m.Marks&updated != 0 && s.Subject.Cohort == e.now.Subject.Cohort
}

// update takes out of a silence the devices that are a failed update's. If half of them and more are, it gives that update's
// incident: the rest is too few to be told as another cause.
func (b *Book) update(s *Signal) *entry {
	if s.Subject.Cohort == "" || b.OpenOf(event.UpdateFailure) == 0 {
		return nil
	}
	named := s.Devices
	if e := b.subjects[s.key(false)]; e != nil && e.isOpen() {
		named, _ = merge(e.now.Devices, s, event.MaxMembers)
	}
	all := max(len(named), int(s.Count))
	if len(named) >= event.MaxMembers {
		all = len(named) // those that have a name speak for the rest
	}
	explained := map[uint32]bool{}
	var owner *entry
	most := 0
	for _, e := range b.entries {
		if !e.isOpen() || e.now.Kind != event.UpdateFailure {
			continue
		}
		n := 0
		for _, m := range named {
			if e.blames(s, m) {
				explained[m.No] = true
				n++
			}
		}
		if n > most {
			owner, most = e, n
		}
	}
	switch {
	case owner == nil:
		return nil
	case 2*len(explained) >= all:
		return owner
	}
	s.Devices = slices.DeleteFunc(slices.Clone(s.Devices), func(m event.Member) bool { return explained[m.No] })
	if !s.All {
		s.Back = slices.Clone(s.Back)
		for _, m := range named {
			if explained[m.No] {
				s.Back = append(s.Back, m.No)
			}
		}
	}
	if s.Count != 0 {
		s.Count -= min(s.Count, uint32(len(explained)))
	}
	s.Why += fmt.Sprintf("; %d of them are part of incident %s", len(explained), owner.now.ID)
	return nil
}

// PartOf begins the Why of an incident that has ended because another one has its cause; that one's id follows.
const PartOf = "it is part of incident "

func partOf(e *entry) string {
	if e.now.Kind == event.UpdateFailure {
		return PartOf + e.now.ID + ": rollout " + e.now.Subject.Rollout + " updated these devices, and fails"
	}
	return PartOf + e.now.ID + ", which goes on"
}
