package decide

import (
	"maps"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// MaxMoves is the number of devices that one command moves.
const MaxMoves = 1_000

func (s *State) device(field string, id identity.Device) (roster.Device, error) {
	d, ok := s.Device(id)
	if !ok {
		return roster.Device{}, notFound(field, "no device %.80q was enrolled", id)
	}
	return d, nil
}

func about(d roster.Device, events ...event.Body) (Outcome, error) {
	return Outcome{No: d.No, Device: d.ID, Events: events, Count: len(events)}, nil
}

// RevokeDevice ends a device for good: its number, its name and its keys never come back.
type RevokeDevice struct{ Device identity.Device }

func (c RevokeDevice) decide(s *State, _ time.Time) (Outcome, error) {
	d, err := s.device("device", c.Device)
	if err != nil || d.Revoked {
		return Outcome{No: d.No, Device: d.ID}, err
	}
	return about(d, event.DeviceRevoked{No: d.No})
}

// Quarantine holds off a device, or a cohort's, or lets it in again. A device is let in when neither it nor its cohort is
// held off.
type Quarantine struct {
	Device identity.Device // or
	Cohort string
	On     bool
}

func (c Quarantine) decide(s *State, _ time.Time) (Outcome, error) {
	if (c.Device == "") == (c.Cohort == "") {
		return Outcome{}, invalid("device", "want a device or a cohort, and not both")
	}
	if c.Cohort != "" {
		cohort, ok := s.Cohort(c.Cohort)
		if !ok {
			return Outcome{}, notFound("cohort", "there is no cohort %.80q", c.Cohort)
		}
		out := Outcome{Count: cohort.Devices}
		if cohort.Quarantined != c.On {
			out.Events = []event.Body{event.CohortQuarantined{Cohort: c.Cohort, On: c.On}}
		}
		return out, nil
	}
	d, err := s.device("device", c.Device)
	if err != nil {
		return Outcome{}, err
	}
	if d.Revoked {
		return Outcome{}, conflict("device", "device %s was revoked", d.ID)
	}
	if own, _ := s.Own(d.No); own.Quarantined == c.On {
		return about(d)
	}
	return about(d, event.DeviceQuarantined{No: d.No, On: c.On})
}

// Replace says that New has come into the place of Old, which is revoked by it.
type Replace struct{ Old, New identity.Device }

func (c Replace) decide(s *State, _ time.Time) (Outcome, error) {
	before, err := s.device("old", c.Old)
	if err != nil {
		return Outcome{}, err
	}
	after, err := s.device("new", c.New)
	switch {
	case err != nil:
		return Outcome{}, err
	case before.No == after.No:
		return Outcome{}, invalid("new", "%s cannot replace itself", c.New)
	case before.ReplacedBy == after.No:
		return about(after)
	case before.ReplacedBy != 0:
		other, _ := s.DeviceByNo(before.ReplacedBy)
		return Outcome{}, conflict("old", "device %s was replaced by %s", c.Old, other.ID)
	case after.Replaces != 0:
		other, _ := s.DeviceByNo(after.Replaces)
		return Outcome{}, conflict("new", "device %s has replaced %s", c.New, other.ID)
	case after.Revoked:
		return Outcome{}, conflict("new", "device %s was revoked", c.New)
	}
	return about(after, event.DeviceReplaced{Old: before.No, New: after.No})
}

// Move puts devices into another cohort, all or none.
type Move struct {
	Devices []identity.Device
	Cohort  string
}

func (c Move) decide(s *State, _ time.Time) (Outcome, error) {
	switch n := len(c.Devices); {
	case n == 0 || n > MaxMoves:
		return Outcome{}, invalid("devices", "%d of them: want 1 to %d", n, MaxMoves)
	case !cohortName.MatchString(c.Cohort):
		return Outcome{}, invalid("cohort", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Cohort)
	}
	if err := s.takes(c.Cohort); err != nil {
		return Outcome{}, err
	}
	var out Outcome
	seen := map[uint32]bool{}
	for _, id := range c.Devices {
		d, err := s.device("devices", id)
		switch {
		case err != nil:
			return Outcome{}, err
		case d.Revoked:
			return Outcome{}, conflict("devices", "device %s was revoked", id)
		case d.Cohort == c.Cohort || seen[d.No]:
			continue
		}
		seen[d.No] = true
		out.Events = append(out.Events, event.DeviceMoved{No: d.No, Cohort: c.Cohort})
	}
	out.Count = len(out.Events)
	return out, nil
}

// Describe changes attributes of a device. It never changes the cohort.
type Describe struct {
	Device identity.Device
	Set    map[string]string
	Unset  []string
}

func (c Describe) decide(s *State, _ time.Time) (Outcome, error) {
	d, err := s.device("device", c.Device)
	if err != nil {
		return Outcome{}, err
	}
	before := map[string]string{}
	for _, a := range d.Attributes {
		before[a.Key] = a.Value
	}
	after := maps.Clone(before)
	for _, key := range c.Unset {
		if !event.AttributeKey(key) {
			return Outcome{}, invalid("unset", "%.80q: want [a-z][a-z0-9_]{0,62}", key)
		}
		delete(after, key)
	}
	if err := checkAttributes(c.Set); err != nil {
		return Outcome{}, err
	}
	maps.Copy(after, c.Set)
	if err := checkAttributes(after); err != nil {
		return Outcome{}, err
	}
	if maps.Equal(before, after) {
		return about(d)
	}
	return about(d, event.DeviceDescribed{No: d.No, Attributes: after})
}
