package roster

import (
	"slices"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// fold checks an event against the state and, unless dry, folds it in. Saying again what is already so is no error.
func (s *State) fold(offset int64, e event.Registry, dry bool) (Change, error) {
	switch b := e.Body.(type) {
	case event.DeviceEnrolled:
		return s.enrol(e.Time, b, dry)
	case event.DeviceRevoked:
		return s.revoke(b, dry)
	case event.DeviceQuarantined:
		return s.quarantine(b, dry)
	case event.DeviceReplaced:
		return s.replace(b, dry)
	case event.DeviceMoved:
		return s.move(b, dry)
	case event.DeviceDescribed:
		return s.describe(b, dry)
	case event.CertificateIssued:
		return s.issue(b, dry)
	case event.CertificateRevoked:
		return s.revokeCertificate(b, dry)
	case event.IssuerDefined:
		return s.defineIssuer(b, dry)
	case event.IssuerRevoked:
		return s.revokeIssuer(b, dry)
	case event.CohortDefined:
		return s.defineCohort(b, dry)
	case event.CohortRevoked:
		return s.revokeCohort(b, dry)
	case event.CohortQuarantined:
		return s.quarantineCohort(b, dry)
	case event.GroupDefined:
		return s.defineGroup(b, dry)
	case event.GroupRemoved:
		return s.removeGroup(b, dry)
	case event.RegionDefined:
		return s.defineRegion(b, dry)
	case event.ActingGranted:
		return s.grantActing(b, dry)
	case event.ActingWithdrawn:
		return s.withdrawActing(b, dry)
	case event.ProfileDefined:
		return s.defineProfile(offset, b, dry)
	case event.MetricAdded:
		return s.addMetric(offset, b, dry)
	case event.SchemaDefined:
		return s.defineSchema(offset, b, dry)
	case event.TopicDefined:
		return s.defineTopic(b, dry)
	case event.SnapshotTaken:
		if !dry {
			s.taken = b
		}
		return Change{}, nil
	case event.LineDefined, event.PasswordMade, event.PasswordWithdrawn, event.ManufacturerTrusted, event.ManufacturerDistrusted,
		event.SerialsClaimed, event.SerialsReleased, event.TokenMade, event.TokenWithdrawn, event.AttemptRefused,
		event.RolloutStarted, event.RolloutAssigned, event.RolloutStageStarted, event.RolloutChanged, event.IncidentAcknowledged:
		return Change{}, nil // of the registry's own rooms, of auditors, of detectors: no device's standing hangs on it
	case nil:
		return Change{}, ignore(Decode, "an event without a body")
	}
	return Change{}, ignore(Later, "events of type %s are of a later release", e.Body.Type())
}

func (s *State) intern(name string) string {
	if same, ok := s.names[name]; ok {
		return same
	}
	if len(s.names) < maxNames {
		s.names[name] = name
	}
	return name
}

// maxNames bounds what is kept once for all: an attribute that is another on each device has no copies to save.
const maxNames = 1 << 16

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
