package decide

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// The limits of what opens the registry to devices.
const (
	MaxLines         = 1_000
	MaxPasswords     = 1_000_000 // ended ones too
	MaxManufacturers = 256
)

// DefineLine says what a device becomes that enrols by a label. Devices that are enrolled stay what they are.
type DefineLine struct {
	Label    string
	Profile  string // none is DefaultProfile
	Cohort   string
	Class    uint8
	History  bool
	Interval time.Duration
	Region   string
}

func (c DefineLine) decide(s *State, _ time.Time) (Outcome, error) {
	if c.Profile == "" {
		c.Profile = DefaultProfile
	}
	if !event.Name(c.Label) {
		return Outcome{}, invalid("label", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Label)
	}
	line := Line(c)
	if err := line.check(); err != nil {
		return Outcome{}, err
	}
	if err := s.takes(c.Cohort); err != nil {
		return Outcome{}, err
	}
	known, ok := s.lines[c.Label]
	switch {
	case ok && known == line:
		return Outcome{}, nil
	case !ok && len(s.lines) >= MaxLines:
		return Outcome{}, conflict("label", "it would be one more than the limit of %d product lines", MaxLines)
	}
	return Outcome{Events: []event.Body{event.LineDefined{
		Label: c.Label, Profile: c.Profile, Cohort: c.Cohort, Class: c.Class, History: c.History,
		Interval: c.Interval.Milliseconds(), Region: c.Region,
	}}}, nil
}

// MakePassword lets one device enrol with a secret, or those of a prefix.
type MakePassword struct {
	ID       string
	Hash     [32]byte // SHA-256 of the secret
	Label    string   // of the product line; may be empty for a device that is enrolled
	Device   identity.Device
	Prefix   string
	NotAfter time.Time
	Uses     uint32
}

func (c MakePassword) decide(s *State, now time.Time) (Outcome, error) {
	switch {
	case !event.Name(c.ID):
		return Outcome{}, invalid("id", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.ID)
	case c.Hash == [32]byte{}:
		return Outcome{}, invalid("hash", "want the SHA-256 of a secret")
	case (c.Device == "") == (c.Prefix == ""):
		return Outcome{}, invalid("device", "want a device or a prefix, and not both")
	case c.Device != "" && !event.Name(string(c.Device)):
		return Outcome{}, invalid("device", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Device)
	case c.Prefix != "" && !event.Name(c.Prefix):
		return Outcome{}, invalid("prefix", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Prefix)
	case c.Uses == 0 || c.Uses > event.MaxPasswordUses:
		return Outcome{}, invalid("uses", "%d: want 1 to %d", c.Uses, event.MaxPasswordUses)
	}
	made := Password{
		ID: c.ID, Hash: c.Hash, Label: c.Label, Device: c.Device, Prefix: c.Prefix,
		NotAfter: time.UnixMilli(c.NotAfter.UnixMilli()), Uses: c.Uses,
	}
	if known, ok := s.passwords[c.ID]; ok {
		made.Used, made.Withdrawn = known.Used, known.Withdrawn
		if known != made {
			return Outcome{}, conflict("id", "there is another password %s", c.ID)
		}
		return Outcome{}, nil
	}
	device, enrolled := s.Device(c.Device)
	_, line := s.lines[c.Label]
	_, again := s.secrets[c.Hash]
	switch {
	case !c.NotAfter.After(now):
		return Outcome{}, invalid("not_after", "%v: want a time to come", c.NotAfter)
	case enrolled && device.Revoked:
		return Outcome{}, conflict("device", "device %s was revoked", c.Device)
	case c.Label == "" && !enrolled:
		return Outcome{}, notFound("label", "%s is not enrolled: name the product line that it enrols into", cmp.Or(string(c.Device), c.Prefix+"*"))
	case c.Label != "" && !line:
		return Outcome{}, notFound("label", "there is no product line %.80q", c.Label)
	case again:
		return Outcome{}, conflict("hash", "another password has this secret")
	case len(s.passwords) >= MaxPasswords:
		return Outcome{}, conflict("id", "it would be one more than the limit of %d passwords", MaxPasswords)
	}
	return Outcome{Events: []event.Body{event.PasswordMade{
		ID: c.ID, Hash: slices.Clone(c.Hash[:]), Label: c.Label, Device: string(c.Device), Prefix: c.Prefix,
		NotAfter: c.NotAfter.UnixMilli(), Uses: c.Uses,
	}}}, nil
}

// WithdrawPassword ends a password before its time. What enrolled by it stays.
type WithdrawPassword struct{ ID string }

func (c WithdrawPassword) decide(s *State, _ time.Time) (Outcome, error) {
	p, ok := s.passwords[c.ID]
	switch {
	case !ok:
		return Outcome{}, notFound("id", "there is no password %.80q", c.ID)
	case p.Withdrawn:
		return Outcome{}, nil
	}
	return Outcome{Events: []event.Body{event.PasswordWithdrawn{ID: c.ID}}}, nil
}

// TrustManufacturer lets devices enrol with certificates that these authorities signed; the former ones are replaced.
type TrustManufacturer struct {
	Name         string
	Certificates [][]byte // DER
}

func (c TrustManufacturer) decide(s *State, _ time.Time) (Outcome, error) {
	if !event.Name(c.Name) {
		return Outcome{}, invalid("name", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Name)
	}
	if n := len(c.Certificates); n == 0 || n > event.MaxAuthorities {
		return Outcome{}, invalid("certificates", "%d of them: want 1 to %d", n, event.MaxAuthorities)
	}
	for _, der := range c.Certificates {
		if err := checkAuthority("certificates", der); err != nil {
			return Outcome{}, err
		}
	}
	known, ok := s.manufacturers[c.Name]
	switch {
	case ok && slices.EqualFunc(known.Certificates, c.Certificates, bytes.Equal):
		return Outcome{}, nil
	case !ok && len(s.manufacturers) >= MaxManufacturers:
		return Outcome{}, conflict("name", "it would be one more than the limit of %d manufacturers", MaxManufacturers)
	}
	return Outcome{Events: []event.Body{event.ManufacturerTrusted{Name: c.Name, Certificates: c.Certificates}}}, nil
}

func checkAuthority(field string, der []byte) error {
	if len(der) > event.MaxDER {
		return invalid(field, "one has %d bytes, the limit is %d", len(der), event.MaxDER)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return invalid(field, "%v", err)
	}
	if !certificate.IsCA {
		return invalid(field, "%.100q is no authority's certificate", certificate.Subject)
	}
	return nil
}

// DistrustManufacturer ends that. What enrolled by it stays.
type DistrustManufacturer struct{ Name string }

func (c DistrustManufacturer) decide(s *State, _ time.Time) (Outcome, error) {
	if _, ok := s.manufacturers[c.Name]; !ok {
		return Outcome{}, notFound("name", "there is no manufacturer %.80q", c.Name)
	}
	return Outcome{Events: []event.Body{event.ManufacturerDistrusted{Name: c.Name}}}, nil
}

// Claim says that the manufacturer's device of this serial number is our device of this name; without a name it is called
// after the manufacturer and the number.
type Claim = event.Claim

// ClaimSerials says which of a manufacturer's devices are ours, all or none.
type ClaimSerials struct {
	Manufacturer, Label string
	Claims              []Claim
}

func (c ClaimSerials) decide(s *State, _ time.Time) (Outcome, error) {
	if n := len(c.Claims); n == 0 || n > event.MaxClaims {
		return Outcome{}, invalid("claims", "%d of them: want 1 to %d", n, event.MaxClaims)
	}
	if _, ok := s.manufacturers[c.Manufacturer]; !ok {
		return Outcome{}, notFound("manufacturer", "there is no manufacturer %.80q", c.Manufacturer)
	}
	if _, ok := s.lines[c.Label]; !ok {
		return Outcome{}, notFound("label", "there is no product line %.80q", c.Label)
	}
	body := event.SerialsClaimed{Manufacturer: c.Manufacturer, Label: c.Label}
	serials, devices := map[string]bool{}, map[string]bool{}
	for _, claim := range c.Claims {
		if !event.ClaimSerial(claim.Serial) {
			return Outcome{}, invalid("claims", "%.80q: want a serial number of 1 to %d printable characters", claim.Serial, event.MaxClaimSerial)
		}
		if claim.Device == "" {
			claim.Device = c.Manufacturer + "-" + strings.ToLower(claim.Serial)
		}
		id, err := identity.ParseDevice(claim.Device)
		if err != nil {
			return Outcome{}, invalid("claims", "serial %s: %v", claim.Serial, err)
		}
		if serials[claim.Serial] || devices[claim.Device] {
			return Outcome{}, invalid("claims", "%s, device %s, is there twice", claim.Serial, claim.Device)
		}
		serials[claim.Serial], devices[claim.Device] = true, true
		key := claimKey{c.Manufacturer, claim.Serial}
		had, claimed := s.claims[key]
		other, taken := s.claimed[id]
		switch {
		case claimed && had == (Claimed{id, c.Label}):
			continue
		case claimed:
			return Outcome{}, conflict("claims", "%s is claimed as %s of %s; release it first", claim.Serial, had.Device, had.Label)
		case taken:
			return Outcome{}, conflict("claims", "device %s is claimed as %s of %s; release it first", id, other.serial, other.manufacturer)
		}
		if d, ok := s.Device(id); ok && d.Revoked {
			return Outcome{}, conflict("claims", "device %s was revoked", id)
		}
		body.Claims = append(body.Claims, claim)
	}
	if len(body.Claims) == 0 {
		return Outcome{}, nil
	}
	return Outcome{Count: len(body.Claims), Events: []event.Body{body}}, nil
}

// ReleaseSerials takes claims back, all or none. What enrolled by them stays.
type ReleaseSerials struct {
	Manufacturer string
	Serials      []string
}

func (c ReleaseSerials) decide(s *State, _ time.Time) (Outcome, error) {
	if n := len(c.Serials); n == 0 || n > event.MaxClaims {
		return Outcome{}, invalid("serials", "%d of them: want 1 to %d", n, event.MaxClaims)
	}
	for _, serial := range c.Serials {
		if _, ok := s.Claim(c.Manufacturer, serial); !ok {
			return Outcome{}, notFound("serials", "%.80q of %.80q is not claimed", serial, c.Manufacturer)
		}
	}
	return Outcome{Count: len(c.Serials), Events: []event.Body{event.SerialsReleased{Manufacturer: c.Manufacturer, Serials: slices.Clone(c.Serials)}}}, nil
}
