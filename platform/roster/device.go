package roster

import (
	"maps"
	"slices"
	"strings"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// enrol makes a device known, or renews what is known of it. Its number stays: a dense number that comes out of
// order would be a second writer, or a bound to nothing.
func (s *State) enrol(at int64, b event.DeviceEnrolled, dry bool) (Change, error) {
	id, err := identity.ParseDevice(b.Device)
	if err != nil {
		return Change{}, ignore(Name, "enrol: %w", err)
	}
	if b.Profile != 0 && s.profiles[b.Profile] == nil {
		return Change{}, ignore(Missing, "enrol %s: there is no profile %d", id, b.Profile)
	}
	known := s.devices.at(s.ids[id])
	switch {
	case known != nil && known.No != b.No:
		return Change{}, ignore(Conflict, "enrol %s as %d: it is %d", id, b.No, known.No)
	case known != nil && known.Revoked:
		// Its old certificate would come back with it.
		return Change{}, ignore(Conflict, "enrol %s: it was revoked, which is for good", id)
	case known == nil && b.No != s.devices.n+1:
		return Change{}, ignore(Number, "enrol %s as %d: the next number is %d", id, b.No, s.devices.n+1)
	}
	if c, ok := s.Cohort(b.Cohort); ok && c.Revoked && (known == nil || s.cohorts[known.cohort].Name != b.Cohort) {
		return Change{}, ignore(Conflict, "enrol %s: cohort %.80q was revoked", id, b.Cohort)
	}
	device := stored{Device: Device{
		ID: id, No: b.No, Profile: b.Profile, Class: b.Class, History: b.History, Region: b.Region,
		Interval: time.Duration(b.Interval) * time.Millisecond, Method: b.Method, Label: b.Label, EnrolledAt: at,
	}}
	certificate := Certificate{Serial: b.Serial, Legacy: true}
	copy(certificate.SPKI[:], b.SPKI)
	if dry {
		return Change{Device: device.Device}, nil
	}
	device.Region, device.Method, device.Label = s.intern(b.Region), s.intern(b.Method), s.intern(b.Label)
	device.Attributes = s.attributes(b.Attributes)
	if known == nil {
		device.cohort = s.place(b.Cohort)
		s.cohorts[device.cohort].Devices++
		s.devices.add(device)
		s.ids[id] = b.No
	} else {
		d := s.devices.edit(b.No)
		device.ID, device.EnrolledAt = d.ID, d.EnrolledAt
		device.Quarantined, device.Replaces, device.ReplacedBy = d.Quarantined, d.Replaces, d.ReplacedBy
		device.Certificates, device.SPKI, device.cohort = d.Certificates, d.SPKI, d.cohort
		*d = device
		s.put(d, b.Cohort)
	}
	d := s.devices.edit(b.No)
	var forgotten Certificate
	if fresh := known == nil || certificate.SPKI != [32]byte{}; fresh && !slices.ContainsFunc(d.Certificates, func(c Certificate) bool { return c.SPKI == certificate.SPKI }) {
		forgotten = s.give(d, certificate)
	}
	return Change{Device: s.seen(d), Forgotten: forgotten}, nil
}

func (s *State) attributes(m map[string]string) []Attribute {
	if len(m) == 0 {
		return nil
	}
	out := make([]Attribute, 0, len(m))
	for _, key := range slices.SortedFunc(maps.Keys(m), strings.Compare) {
		out = append(out, Attribute{s.intern(key), s.intern(m[key])})
	}
	return out
}

func (s *State) revoke(b event.DeviceRevoked, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	if device == nil {
		return Change{}, ignore(Missing, "revoke %d: there is no such device", b.No)
	}
	if !dry {
		s.end(b.No)
		device = s.devices.at(b.No)
	}
	return Change{Device: s.seen(device)}, nil
}

// end revokes a device that is there.
func (s *State) end(no uint32) {
	if s.devices.at(no).Revoked {
		return
	}
	d := s.devices.edit(no)
	d.Revoked = true
	s.revoked++
	s.cohorts[d.cohort].Devices--
	delete(s.acting, no)
}

func (s *State) quarantine(b event.DeviceQuarantined, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	if device == nil {
		return Change{}, ignore(Missing, "quarantine %d: there is no such device", b.No)
	}
	if !dry && device.Quarantined != b.On {
		device = s.devices.edit(b.No)
		device.Quarantined = b.On
	}
	return Change{Device: s.seen(device)}, nil
}

func (s *State) replace(b event.DeviceReplaced, dry bool) (Change, error) {
	before, after := s.devices.at(b.Old), s.devices.at(b.New)
	switch {
	case before == nil || after == nil:
		return Change{}, ignore(Missing, "replace %d by %d: there is no such device", b.Old, b.New)
	case b.Old == b.New:
		return Change{}, ignore(Conflict, "replace %d by itself", b.Old)
	case before.ReplacedBy == b.New && after.Replaces == b.Old:
	case before.ReplacedBy != 0:
		return Change{}, ignore(Conflict, "replace %d by %d: it was replaced by %d", b.Old, b.New, before.ReplacedBy)
	case after.Replaces != 0:
		return Change{}, ignore(Conflict, "replace %d by %d: that has replaced %d", b.Old, b.New, after.Replaces)
	case after.Revoked:
		return Change{}, ignore(Conflict, "replace %d by %d: that was revoked", b.Old, b.New)
	}
	if !dry {
		s.devices.edit(b.Old).ReplacedBy = b.New
		s.devices.edit(b.New).Replaces = b.Old
		s.end(b.Old)
		before = s.devices.at(b.Old)
	}
	return Change{Device: s.seen(before)}, nil
}

func (s *State) move(b event.DeviceMoved, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	if device == nil {
		return Change{}, ignore(Missing, "move %d: there is no such device", b.No)
	}
	if c, ok := s.Cohort(b.Cohort); ok && c.Revoked && s.cohorts[device.cohort].Name != b.Cohort {
		return Change{}, ignore(Conflict, "move %d: cohort %.80q was revoked", b.No, b.Cohort)
	}
	if !dry {
		device = s.devices.edit(b.No)
		s.put(device, b.Cohort)
	}
	return Change{Device: s.seen(device)}, nil
}

// put moves a device that may be changed into a cohort.
func (s *State) put(d *stored, cohort string) {
	place := s.place(cohort)
	if !d.Revoked {
		s.cohorts[d.cohort].Devices--
		s.cohorts[place].Devices++
	}
	d.cohort = place
}

func (s *State) describe(b event.DeviceDescribed, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	if device == nil {
		return Change{}, ignore(Missing, "describe %d: there is no such device", b.No)
	}
	if !dry {
		device = s.devices.edit(b.No)
		device.Attributes = s.attributes(b.Attributes)
	}
	return Change{Device: s.seen(device)}, nil
}
