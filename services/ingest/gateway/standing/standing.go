package standing

import (
	"crypto/sha256"
	"crypto/x509"
	"sync/atomic"

	"muster.dev/platform/roster"
	"muster.dev/proto/identity"
)

// Card is what one connection has proven: a name and the certificate that says it. Its fields stay as they are.
type Card struct {
	Device    identity.Device
	Serial    string   // lower-case hex without leading zeros, as the registry writes it
	SPKI      [32]byte // SHA-256 of the public key
	NotBefore int64    // Unix ms

	verdict atomic.Pointer[Verdict]
}

// Fill reads the certificate. It is called once, before anybody else sees the card.
func (c *Card) Fill(device identity.Device, leaf *x509.Certificate) {
	c.Device, c.Serial, c.SPKI, c.NotBefore = device, leaf.SerialNumber.Text(16), sha256.Sum256(leaf.RawSubjectPublicKeyInfo), leaf.NotBefore.UnixMilli()
}

// Verdict is the registry's answer. It is never changed.
type Verdict struct {
	Device   roster.Device // as it is now; zero if it is unknown
	Standing roster.Standing
	// Young: the certificate is superseded as far as is known here, but begins no earlier than the device's newest one.
	// It may have been issued this very instant.
	Young bool

	version uint64
}

// Registry is the read side of the registry: a *roster.Roster, or the *roster.State of a test.
type Registry interface {
	// Version changes whenever an answer of Standing may.
	Version() uint64
	Standing(id identity.Device, serial string, spki [32]byte) (roster.Device, roster.Standing)
}

// Desk answers for all connections of a gateway. Safe for concurrent use if its registry is.
type Desk struct{ registry Registry }

// NewDesk asks the registry.
func NewDesk(r Registry) *Desk { return &Desk{r} }

// Look is the verdict now.
func (d *Desk) Look(c *Card) *Verdict {
	// Asked for before the answer, so that an answer is never kept under a version that came after it.
	version := d.registry.Version()
	if v := c.verdict.Load(); v != nil && v.version == version {
		return v
	}
	v := &Verdict{version: version}
	v.Device, v.Standing = d.registry.Standing(c.Device, c.Serial, c.SPKI)
	if v.Standing == roster.Superseded {
		newest := v.Device.Certificates
		v.Young = len(newest) == 0 || c.NotBefore >= newest[0].NotBefore
	}
	c.verdict.Store(v)
	return v
}

// Ends says whether the certificate has come to its end, so that the connection has nothing more to expect: it is revoked,
// or its device or authority is, or newer ones have taken its place. One who is unknown or held off is told so in words,
// and so is one whose certificate may be too new to be known here.
func (v *Verdict) Ends() bool {
	switch v.Standing {
	case roster.DeviceRevoked, roster.CertificateRevoked, roster.AuthorityRevoked:
		return true
	case roster.Superseded:
		return !v.Young
	}
	return false
}
