package roster

import (
	"slices"
	"time"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// fold checks a body against the state and, unless dry, folds it in. Saying again what is already so is no error.
func (s *State) fold(offset int64, body event.Body, dry bool) (Change, error) {
	switch b := body.(type) {
	case event.DeviceEnrolled:
		return s.enrol(b, dry)
	case event.DeviceRevoked:
		return s.revoke(b, dry)
	case event.ProfileDefined:
		return s.defineProfile(offset, b, dry)
	case event.MetricAdded:
		return s.addMetric(offset, b, dry)
	case event.SchemaDefined:
		return s.defineSchema(offset, b, dry)
	case event.TopicDefined:
		return s.defineTopic(b, dry)
	case nil:
		return Change{}, ignore(Decode, "an event without a body")
	}
	return Change{}, ignore(Later, "events of type %s are of a later release", body.Type())
}

// enrol makes a device known, or renews what is known of it. Its number stays: a dense number that comes out of
// order would be a second writer, or a bound to nothing.
func (s *State) enrol(b event.DeviceEnrolled, dry bool) (Change, error) {
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
	device := Device{
		ID: id, No: b.No, Profile: b.Profile, Class: b.Class, History: b.History,
		Interval: time.Duration(b.Interval) * time.Millisecond,
	}
	copy(device.SPKI[:], b.SPKI)
	if dry {
		return Change{Device: device}, nil
	}
	device.Cohort, device.Region = s.intern(b.Cohort), s.intern(b.Region)
	if known != nil {
		device.ID = known.ID
		*known = device
		return Change{Device: device}, nil
	}
	s.devices.add(device)
	s.ids[id] = b.No
	return Change{Device: device}, nil
}

func (s *State) intern(name string) string {
	if same, ok := s.names[name]; ok {
		return same
	}
	s.names[name] = name
	return name
}

func (s *State) revoke(b event.DeviceRevoked, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	if device == nil {
		return Change{}, ignore(Missing, "revoke %d: there is no such device", b.No)
	}
	if !dry && !device.Revoked {
		device.Revoked = true
		s.revoked++
	}
	return Change{Device: *device}, nil
}

func (s *State) defineProfile(offset int64, b event.ProfileDefined, dry bool) (Change, error) {
	change := Change{Profile: b.Profile}
	if b.Profile == 0 {
		return Change{}, ignore(Number, "profile 0 means none")
	}
	if !batch.MetricName(b.Name) {
		return Change{}, ignore(Name, "profile %d: %.80q is not fit for a table's name", b.Profile, b.Name)
	}
	for _, p := range s.profiles {
		if same := p.No == b.Profile; same != (p.Name == b.Name) || same && p.Class != b.Class {
			return Change{}, ignore(Conflict, "profile %d %s: profile %d is %s of class %d", b.Profile, b.Name, p.No, p.Name, p.Class)
		}
	}
	if dry || s.profiles[b.Profile] != nil {
		return change, nil
	}
	s.rev = uint64(offset) + 1
	s.profiles[b.Profile] = &Profile{No: b.Profile, Name: b.Name, Class: b.Class, Since: s.rev}
	return change, nil
}

func (s *State) addMetric(offset int64, b event.MetricAdded, dry bool) (Change, error) {
	change := Change{Profile: b.Profile}
	p := s.profiles[b.Profile]
	if p == nil {
		return Change{}, ignore(Missing, "metric %.80q: there is no profile %d", b.Metric, b.Profile)
	}
	if !batch.MetricName(b.Metric) {
		return Change{}, ignore(Name, "metric of profile %s: %.80q is not fit for a column's name", p.Name, b.Metric)
	}
	if i := slices.IndexFunc(p.Metrics, func(m Metric) bool { return m.Name == b.Metric }); i >= 0 {
		if m := p.Metrics[i]; m.Kind != b.Kind || m.Scale != b.Scale {
			return Change{}, ignore(Conflict, "metric %s of profile %s: it is %v of scale %d, not %v of scale %d", b.Metric, p.Name, m.Kind, m.Scale, b.Kind, b.Scale)
		}
		return change, nil
	}
	if dry {
		return change, nil
	}
	s.rev = uint64(offset) + 1
	p.Metrics = append(p.Metrics, Metric{Name: b.Metric, Kind: b.Kind, Scale: b.Scale, Since: s.rev})
	return change, nil
}

func (s *State) defineSchema(offset int64, b event.SchemaDefined, dry bool) (Change, error) {
	change := Change{Schema: b.Schema}
	if b.Schema == 0 {
		return Change{}, ignore(Number, "schema 0 means none")
	}
	schema := Schema{No: b.Schema, Metrics: make([]SchemaMetric, len(b.Metrics))}
	for i, m := range b.Metrics {
		if !batch.MetricName(m.Name) {
			return Change{}, ignore(Name, "schema %d: %.80q is not fit for a column's name", b.Schema, m.Name)
		}
		schema.Metrics[i] = SchemaMetric(m)
	}
	if known, ok := s.schemas[b.Schema]; ok {
		if !slices.Equal(known.Metrics, schema.Metrics) {
			return Change{}, ignore(Conflict, "schema %d is another list of metrics, and never changes", b.Schema)
		}
		return change, nil
	}
	if dry {
		return change, nil
	}
	s.rev = uint64(offset) + 1
	s.schemas[b.Schema] = schema
	return change, nil
}

func (s *State) defineTopic(b event.TopicDefined, dry bool) (Change, error) {
	if len(b.ID) != 16 {
		return Change{}, ignore(Decode, "topic %.80q: its id has %d bytes", b.Name, len(b.ID))
	}
	topic := Topic{Name: b.Name, ID: [16]byte(b.ID), Gen: b.Gen, Partitions: b.Partitions}
	if known, ok := s.topics[topic.ID]; ok {
		if known != topic {
			return Change{}, ignore(Conflict, "topic %.80q of generation %d: this id is %v", b.Name, b.Gen, known)
		}
		return Change{Topic: topic}, nil
	}
	if next := len(s.topics) + 1; int(b.Gen) != next {
		return Change{}, ignore(Number, "topic %.80q of generation %d: the next one is %d", b.Name, b.Gen, next)
	}
	if !dry {
		s.topics[topic.ID] = topic
	}
	return Change{Topic: topic}, nil
}
