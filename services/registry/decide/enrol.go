package decide

import (
	"maps"
	"slices"
	"strings"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// Enrol gives a device its identity: from now on the holder of the key is the device of this name. An operator says so.
type Enrol struct {
	Device      identity.Device
	Cohort      string
	Profile     string // none is DefaultProfile
	Class       uint8
	History     bool
	Interval    time.Duration // between heartbeats; 0 is its cohort's
	Region      string        // none is its cohort's
	Attributes  map[string]string
	Certificate Certificate
	Names       []string // that the request asks for

	// SPKI and Serial stand for a certificate that was signed before, and of which the log holds no more: Certificate is
	// then empty.
	SPKI   [32]byte
	Serial string
}

// birth is a device that is about to become known.
type birth struct {
	device     identity.Device
	line       Line
	attributes map[string]string
	method     string
	via        string
	c          Certificate
	unwritten  bool // the certificate is one of those that are not written down
}

func (c Enrol) decide(s *State, now time.Time) (Outcome, error) {
	if c.Profile == "" {
		c.Profile = DefaultProfile
	}
	b := birth{
		device: c.Device, attributes: c.Attributes, method: MethodOperator, c: c.Certificate,
		line: Line{Profile: c.Profile, Cohort: c.Cohort, Class: c.Class, History: c.History, Interval: c.Interval, Region: c.Region},
	}
	if c.Certificate == (Certificate{}) {
		b.c, b.unwritten = Certificate{SPKI: c.SPKI, Serial: c.Serial}, true
	}
	if err := b.check(); err != nil {
		return Outcome{}, err
	}
	if err := asksFor(c.Names, c.Device); err != nil {
		return Outcome{}, err
	}
	if known, ok := s.Device(c.Device); ok {
		return b.again(s, known, now)
	}
	return b.decide(s, now)
}

// decide makes the events of a device that is not known yet.
func (b birth) decide(s *State, now time.Time) (Outcome, error) {
	if err := s.free(b.c.SPKI, 0); err != nil {
		return Outcome{}, err
	}
	if !b.unwritten {
		if err := b.c.check(s, now); err != nil {
			return Outcome{}, err
		}
		b.c = b.c.noted()
	}
	if err := s.takes(b.line.Cohort); err != nil {
		return Outcome{}, err
	}
	counts := s.Counts()
	out := Outcome{No: uint32(counts.Devices) + 1, Device: b.device, Certificate: b.c}
	profile, ok := s.ProfileNamed(b.line.Profile)
	if !ok {
		if counts.Profiles >= MaxProfiles {
			return Outcome{}, conflict("profile", "%q would be one more than the limit of %d profiles", b.line.Profile, MaxProfiles)
		}
		profile.No = uint16(counts.Profiles) + 1
		out.Events = append(out.Events, event.ProfileDefined{Profile: profile.No, Name: b.line.Profile})
	}
	var attributes map[string]string
	if len(b.attributes) > 0 {
		attributes = maps.Clone(b.attributes)
	}
	out.Events = append(out.Events, event.DeviceEnrolled{
		Device: string(b.device), No: out.No, Cohort: b.line.Cohort, Class: b.line.Class, Profile: profile.No, History: b.line.History,
		Interval: b.line.Interval.Milliseconds(), Region: b.line.Region, Serial: b.c.Serial, SPKI: slices.Clone(b.c.SPKI[:]),
		Method: b.method, Via: b.via, Label: b.line.Label, Attributes: attributes,
	})
	if !b.unwritten {
		out.Events = append(out.Events, b.c.issued(out.No, b.method, b.via))
	}
	return out, nil
}

func (b birth) check() error {
	_, err := identity.ParseDevice(string(b.device))
	switch {
	case err != nil:
		return invalid("device", "%v", err)
	}
	if err := b.line.check(); err != nil {
		return err
	}
	return checkAttributes(b.attributes)
}

func (l Line) check() error {
	switch {
	case !cohortName.MatchString(l.Cohort):
		return invalid("cohort", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", l.Cohort)
	case !profileName.MatchString(l.Profile):
		return invalid("profile", "%.80q: want [a-z][a-z0-9_]{0,30}", l.Profile)
	case l.Region != "" && !cohortName.MatchString(l.Region):
		return invalid("region", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", l.Region)
	case int(l.Class) >= len(classes):
		return invalid("class", "%d: want a number below %d", l.Class, len(classes))
	}
	return checkInterval(l.Interval)
}

func checkInterval(d time.Duration) error {
	if d < 0 || d.Milliseconds() > event.MaxInterval {
		return invalid("interval", "%v: want 0 to a year", d)
	}
	return nil
}

func checkAttributes(attributes map[string]string) error {
	if n := len(attributes); n > event.MaxAttributes {
		return invalid("attributes", "%d of them: want %d at most", n, event.MaxAttributes)
	}
	for key, value := range attributes {
		switch {
		case !event.AttributeKey(key):
			return invalid("attributes", "%.80q: want [a-z][a-z0-9_]{0,62}", key)
		case roster.Reserved(key):
			return invalid("attributes", "%s: it is no attribute, but what the registry says itself", key)
		case !event.AttributeValue(value):
			return invalid("attributes."+key, "want text of at most %d bytes without control characters", event.MaxAttributeValue)
		}
	}
	return nil
}

// again answers who asks for an identity that exists: the same key and attributes are a retry or a renewal, anything else
// another device, or a change that enrolment is not the way to make.
func (b birth) again(s *State, known roster.Device, now time.Time) (Outcome, error) {
	differs := func(field string, have any) (Outcome, error) {
		return Outcome{}, conflict(field, "device %s is enrolled as number %d with another %s, %v", b.device, known.No, field, have)
	}
	profile, _ := s.Profile(known.Profile)
	switch {
	case known.Revoked:
		return Outcome{}, conflict("device", "device %s, number %d, was revoked, for good: enrol it under another name, and put that in its place", b.device, known.No)
	case !holds(known, b.c.SPKI):
		return Outcome{}, conflict("csr", "device %s is enrolled as number %d with another key", b.device, known.No)
	case known.Cohort != b.line.Cohort:
		return differs("cohort", known.Cohort)
	case profile.Name != b.line.Profile:
		return differs("profile", profile.Name)
	case known.Class != b.line.Class:
		return differs("class", ClassName(known.Class))
	case known.History != b.line.History:
		return differs("history", known.History)
	case b.line.Interval != 0 && known.Interval != b.line.Interval:
		return differs("interval", known.Interval)
	case b.line.Region != "" && known.Region != b.line.Region:
		return differs("region", known.Region)
	}
	for key, value := range b.attributes {
		if have, ok := known.Attribute(key); !ok || have != value {
			return differs("attributes."+key, have)
		}
	}
	if had, ok := s.again(known, b.c.CSR, now); ok {
		return Outcome{No: known.No, Device: known.ID, Certificate: had}, nil
	}
	if b.unwritten {
		if err := s.free(b.c.SPKI, known.No); err != nil {
			return Outcome{}, err
		}
		return Outcome{No: known.No, Device: known.ID, Certificate: b.c}, nil
	}
	return s.renew(known, b.c, now, b.method, b.via)
}

func holds(d roster.Device, spki [32]byte) bool {
	return slices.ContainsFunc(d.Certificates, func(c roster.Certificate) bool { return c.SPKI == spki })
}

// EnrolByPassword enrols a device that knows a secret, or gives a new key to the one device that the secret is for.
type EnrolByPassword struct {
	User        string   // the device's name
	Secret      [32]byte // SHA-256 of the secret
	Label       string   // of the product line; none is the password's
	Certificate Certificate
	Names       []string // that the request asks for
}

func (c EnrolByPassword) decide(s *State, now time.Time) (Outcome, error) {
	// One answer for all that may be wrong with it: who guesses learns nothing.
	denied := forbidden("password", "it is not good for this device, here and now")
	id, err := identity.ParseDevice(c.User)
	p, ok := s.passwords[s.secrets[c.Secret]]
	switch {
	case err != nil, !ok, p.Withdrawn, !now.Before(p.NotAfter), p.Device != "" && p.Device != id,
		p.Device == "" && !strings.HasPrefix(string(id), p.Prefix), p.Label != "" && c.Label != "" && p.Label != c.Label:
		return Outcome{}, denied
	}
	if err := asksFor(c.Names, id); err != nil {
		return Outcome{}, err
	}
	known, exists := s.Device(id)
	if exists && !known.Revoked {
		if had, ok := s.again(known, c.Certificate.CSR, now); ok {
			return Outcome{No: known.No, Device: id, Certificate: had}, nil
		}
	}
	if p.Used >= p.Uses {
		return Outcome{}, denied
	}
	if exists {
		switch {
		case known.Revoked:
			return Outcome{}, forbidden("device", "device %s was revoked", id)
		case p.Device != id:
			return Outcome{}, denied // a prefix is no right to what exists
		}
		return s.renew(known, c.Certificate, now, MethodPassword, p.ID)
	}
	label := c.Label
	if label == "" {
		label = p.Label
	}
	return s.bear(now, id, label, MethodPassword, p.ID, c.Certificate)
}

// bear enrols a device by a product line.
func (s *State) bear(now time.Time, id identity.Device, label, method, via string, c Certificate) (Outcome, error) {
	line, ok := s.lines[label]
	if !ok {
		return Outcome{}, notFound("label", "there is no product line %.80q", label)
	}
	b := birth{device: id, line: line, method: method, via: via, c: c}
	if err := b.check(); err != nil {
		return Outcome{}, err
	}
	return b.decide(s, now)
}

// EnrolByManufacturer enrols a device that has proven the certificate of a trusted manufacturer, if it is claimed. It may
// do so again, with a new key.
type EnrolByManufacturer struct {
	Manufacturer, Serial string
	Label                string // of the product line; none is the claim's
	Certificate          Certificate
	Names                []string // that the request asks for
	Aliases              []string // that it may ask for beside its name here: what the manufacturer calls it
}

func (c EnrolByManufacturer) decide(s *State, now time.Time) (Outcome, error) {
	claim, ok := s.Claim(c.Manufacturer, c.Serial)
	_, trusted := s.manufacturers[c.Manufacturer]
	if !ok || !trusted || c.Label != "" && c.Label != claim.Label {
		return Outcome{}, forbidden("serial", "%.80q of %.80q is not claimed here", c.Serial, c.Manufacturer)
	}
	if err := asksFor(c.Names, claim.Device, c.Aliases...); err != nil {
		return Outcome{}, err
	}
	via := c.Manufacturer + "/" + c.Serial
	known, exists := s.Device(claim.Device)
	if !exists {
		return s.bear(now, claim.Device, claim.Label, MethodManufacturer, via, c.Certificate)
	}
	if known.Revoked {
		return Outcome{}, forbidden("device", "device %s was revoked", claim.Device)
	}
	if had, ok := s.again(known, c.Certificate.CSR, now); ok {
		return Outcome{No: known.No, Device: known.ID, Certificate: had}, nil
	}
	return s.renew(known, c.Certificate, now, MethodManufacturer, via)
}
