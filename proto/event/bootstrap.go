package event

import "muster.dev/proto/batch"

// The ce_types of how devices come in that no operator enrols by hand.
const (
	TypeLineDefined            = "muster.registry.line-defined.v1"
	TypePasswordMade           = "muster.registry.password-made.v1"
	TypePasswordWithdrawn      = "muster.registry.password-withdrawn.v1"
	TypeManufacturerTrusted    = "muster.registry.manufacturer-trusted.v1"
	TypeManufacturerDistrusted = "muster.registry.manufacturer-distrusted.v1"
	TypeSerialsClaimed         = "muster.registry.serials-claimed.v1"
	TypeSerialsReleased        = "muster.registry.serials-released.v1"
)

// LineDefined says what a device becomes that enrols by a label.
type LineDefined struct {
	Label    string `msgpack:"label"`
	Profile  string `msgpack:"profile"` // a profile's name
	Cohort   string `msgpack:"cohort"`  // the first one
	Class    uint8  `msgpack:"class"`
	History  bool   `msgpack:"history"`
	Interval int64  `msgpack:"interval_ms"`
	Region   string `msgpack:"region"`
}

// PasswordMade lets devices enrol with a secret: one device, or those of a prefix.
type PasswordMade struct {
	ID       string `msgpack:"id"`
	Hash     []byte `msgpack:"hash"` // SHA-256 of a secret of 160 random bits
	Label    string `msgpack:"label"`
	Device   string `msgpack:"device"`
	Prefix   string `msgpack:"prefix"`
	NotAfter int64  `msgpack:"not_after"` // Unix ms
	Uses     uint32 `msgpack:"uses"`      // certificates
}

// PasswordWithdrawn ends a password before its time.
type PasswordWithdrawn struct {
	ID string `msgpack:"id"`
}

// ManufacturerTrusted lets devices enrol with certificates that these authorities signed. Replaces the manufacturer's former ones.
type ManufacturerTrusted struct {
	Name         string   `msgpack:"name"`
	Certificates [][]byte `msgpack:"certificates"` // DER
}

// ManufacturerDistrusted ends that. What enrolled by it stays.
type ManufacturerDistrusted struct {
	Name string `msgpack:"name"`
}

// SerialsClaimed says which of a manufacturer's devices are ours, and what they are called here.
type SerialsClaimed struct {
	Manufacturer string  `msgpack:"manufacturer"`
	Label        string  `msgpack:"label"`
	Claims       []Claim `msgpack:"claims"`
}

// SerialsReleased takes claims back. What enrolled by them stays.
type SerialsReleased struct {
	Manufacturer string   `msgpack:"manufacturer"`
	Serials      []string `msgpack:"serials"`
}

// Type is the ce_type.
func (LineDefined) Type() string { return TypeLineDefined }

// Type is the ce_type.
func (PasswordMade) Type() string { return TypePasswordMade }

// Type is the ce_type.
func (PasswordWithdrawn) Type() string { return TypePasswordWithdrawn }

// Type is the ce_type.
func (ManufacturerTrusted) Type() string { return TypeManufacturerTrusted }

// Type is the ce_type.
func (ManufacturerDistrusted) Type() string { return TypeManufacturerDistrusted }

// Type is the ce_type.
func (SerialsClaimed) Type() string { return TypeSerialsClaimed }

// Type is the ce_type.
func (SerialsReleased) Type() string { return TypeSerialsReleased }

// Bounds of what opens the registry to devices.
const (
	MaxClaims       = 1_000 // of one event
	MaxClaimSerial  = 64    // bytes
	MaxAuthorities  = 16    // of a manufacturer
	MaxPasswordUses = 1_000_000
)

// Claim says that the manufacturer's device of this serial number is our device of this name.
type Claim struct {
	Serial string `msgpack:"serial"`
	Device string `msgpack:"device"`
}

func (l LineDefined) validate() *batch.Error {
	switch {
	case !Name(l.Label):
		return notName("label", l.Label)
	case !batch.MetricName(l.Profile):
		return bad("profile", "must be a profile's name")
	case !Name(l.Cohort):
		return notName("cohort", l.Cohort)
	case l.Class > ClassCold:
		return bad("class", "must be 0 to 3")
	case l.Interval < 0 || l.Interval > MaxInterval:
		return bad("interval_ms", "must be 0 to a year")
	case l.Region != "" && !Name(l.Region):
		return notName("region", l.Region)
	}
	return nil
}

func (p PasswordMade) validate() *batch.Error {
	switch {
	case len(p.Hash) != 32:
		return bad("hash", "must have 32 bytes")
	case (p.Device == "") == (p.Prefix == ""):
		return bad("device", "must be a device or a prefix, and not both")
	case p.Device != "" && !Name(p.Device):
		return notName("device", p.Device)
	case p.Prefix != "" && !Name(p.Prefix):
		return notName("prefix", p.Prefix)
	case p.Label != "" && !Name(p.Label):
		return notName("label", p.Label)
	case p.NotAfter < 0 || p.NotAfter > batch.MaxTime:
		return bad("not_after", "must be Unix milliseconds")
	case p.Uses == 0 || p.Uses > MaxPasswordUses:
		return refuse(batch.Unprocessable, "uses", "must be 1 or more", MaxPasswordUses)
	}
	return checkName("id", p.ID)
}

func (p PasswordWithdrawn) validate() *batch.Error { return checkName("id", p.ID) }

func (m ManufacturerTrusted) validate() *batch.Error {
	if n := len(m.Certificates); n == 0 || n > MaxAuthorities {
		return refuse(batch.Unprocessable, "certificates", "must be one or more", MaxAuthorities)
	}
	for _, der := range m.Certificates {
		if err := checkDER("certificates", der); err != nil {
			return err
		}
	}
	return checkName("name", m.Name)
}

func (m ManufacturerDistrusted) validate() *batch.Error { return checkName("name", m.Name) }

// ClaimSerial says whether s can be a manufacturer's serial number: printable ASCII.
func ClaimSerial(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= MaxClaimSerial
}

func (c SerialsClaimed) validate() *batch.Error {
	if !Name(c.Label) {
		return notName("label", c.Label)
	}
	if n := len(c.Claims); n == 0 || n > MaxClaims {
		return refuse(batch.Unprocessable, "claims", "must be one or more", MaxClaims)
	}
	for _, claim := range c.Claims {
		if !ClaimSerial(claim.Serial) {
			return bad("claims.serial", "must be 1 to 64 printable characters without blanks")
		}
		if !Name(claim.Device) {
			return notName("claims.device", claim.Device)
		}
	}
	return checkName("manufacturer", c.Manufacturer)
}

func (c SerialsReleased) validate() *batch.Error {
	if n := len(c.Serials); n == 0 || n > MaxClaims {
		return refuse(batch.Unprocessable, "serials", "must be one or more", MaxClaims)
	}
	for _, s := range c.Serials {
		if !ClaimSerial(s) {
			return bad("serials", "must be 1 to 64 printable characters without blanks")
		}
	}
	return checkName("manufacturer", c.Manufacturer)
}
