package decide

import (
	"slices"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// Enrol gives a device its identity: from now on the holder of the key is the device of this name.
type Enrol struct {
	Device   identity.Device
	Cohort   string
	Profile  string // none is DefaultProfile
	Class    uint8
	History  bool
	Interval time.Duration // between heartbeats; 0 is unknown
	Region   string
	SPKI     [32]byte
	Serial   string // of the first certificate
}

func (c Enrol) decide(s *State) (Outcome, error) {
	if c.Profile == "" {
		c.Profile = DefaultProfile
	}
	if err := c.check(); err != nil {
		return Outcome{}, err
	}
	if known, ok := s.Device(c.Device); ok {
		return c.again(s, known)
	}
	if no, ok := s.holders[c.SPKI]; ok {
		holder, _ := s.DeviceByNo(no)
		// Two names for one key would make the revocation of one a half-measure.
		return Outcome{}, conflict("csr", "its key is that of device %s; make another", holder.ID)
	}
	counts := s.Counts()
	out := Outcome{No: uint32(counts.Devices) + 1}
	profile, ok := s.ProfileNamed(c.Profile)
	if !ok {
		if counts.Profiles >= MaxProfiles {
			return Outcome{}, conflict("profile", "%q would be one more than the limit of %d profiles", c.Profile, MaxProfiles)
		}
		profile.No = uint16(counts.Profiles) + 1
		out.Events = append(out.Events, event.ProfileDefined{Profile: profile.No, Name: c.Profile})
	}
	out.Events = append(out.Events, event.DeviceEnrolled{
		Device: string(c.Device), No: out.No, Cohort: c.Cohort, Class: c.Class, Profile: profile.No, History: c.History,
		Interval: c.Interval.Milliseconds(), Region: c.Region, Serial: c.Serial, SPKI: slices.Clone(c.SPKI[:]),
	})
	return out, nil
}

func (c Enrol) check() error {
	_, err := identity.ParseDevice(string(c.Device))
	switch {
	case err != nil:
		return invalid("device", "%v", err)
	case !cohortName.MatchString(c.Cohort):
		return invalid("cohort", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Cohort)
	case !profileName.MatchString(c.Profile):
		return invalid("profile", "%.80q: want [a-z][a-z0-9_]{0,30}", c.Profile)
	case c.Region != "" && !cohortName.MatchString(c.Region):
		return invalid("region", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Region)
	case int(c.Class) >= len(classes):
		return invalid("class", "%d: want a number below %d", c.Class, len(classes))
	case c.Interval < 0:
		return invalid("interval", "%v: want 0 or more", c.Interval)
	}
	return nil
}

// again answers who asks for an identity that exists: the same key and attributes are a retry, anything else another
// device, or a change that enrolment is not the way to make.
func (c Enrol) again(s *State, known roster.Device) (Outcome, error) {
	differs := func(field string, have any) (Outcome, error) {
		return Outcome{}, conflict(field, "device %s is enrolled as number %d with another %s, %v", c.Device, known.No, field, have)
	}
	profile, _ := s.Profile(known.Profile)
	switch {
	case known.Revoked:
		return Outcome{}, conflict("device", "device %s, number %d, was revoked", c.Device, known.No)
	case known.SPKI != c.SPKI:
		return Outcome{}, conflict("csr", "device %s is enrolled as number %d with another key", c.Device, known.No)
	case known.Cohort != c.Cohort:
		return differs("cohort", known.Cohort)
	case profile.Name != c.Profile:
		return differs("profile", profile.Name)
	case known.Class != c.Class:
		return differs("class", ClassName(known.Class))
	case known.History != c.History:
		return differs("history", known.History)
	case known.Interval != c.Interval:
		return differs("interval", known.Interval)
	case known.Region != c.Region:
		return differs("region", known.Region)
	}
	return Outcome{No: known.No}, nil
}
