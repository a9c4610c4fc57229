package roster

import (
	"strconv"

	"muster.dev/proto/identity"
)

// Standing is whether a certificate speaks for a device.
type Standing uint8

// The standings. Only Good lets a device in.
const (
	Good               Standing = iota
	Unknown                     // there is no such device
	DeviceRevoked               // for good
	CertificateRevoked          // another certificate may speak for the device
	AuthorityRevoked            // likewise
	Superseded                  // the device has no such certificate, or has had several newer ones
	Quarantined                 // the certificate is good, and the device is held off for now
)

var standings = [...]string{"good", "unknown device", "device revoked", "certificate revoked", "authority revoked", "superseded", "quarantined"}

// String is the standing in words.
func (s Standing) String() string {
	if int(s) < len(standings) {
		return standings[s]
	}
	return "standing " + strconv.Itoa(int(s))
}

// Standing says whether a certificate, of which a handshake has proven the key and its issuer's signature, speaks for a
// device now. serial is lower-case hex without leading zeros, spki the SHA-256 of the public key. Whether its time has
// come or is over is for the handshake to say. The device comes back for every answer but Unknown.
func (s *State) Standing(id identity.Device, serial string, spki [32]byte) (Device, Standing) {
	stored := s.devices.at(s.ids[id])
	if stored == nil {
		return Device{}, Unknown
	}
	d := s.seen(stored)
	if d.Revoked {
		return d, DeviceRevoked
	}
	c := d.certificate(serial, spki)
	switch {
	case c == nil:
		return d, Superseded
	case c.Revoked:
		return d, CertificateRevoked
	case s.issuedByRevoked(c):
		return d, AuthorityRevoked
	case d.Quarantined:
		return d, Quarantined
	}
	return d, Good
}

// certificate finds the one that is presented: by serial and key, else the legacy one of this key.
func (d *Device) certificate(serial string, spki [32]byte) *Certificate {
	for i := range d.Certificates {
		if c := &d.Certificates[i]; c.Serial == serial && c.SPKI == spki {
			return c
		}
	}
	for i := range d.Certificates {
		if c := &d.Certificates[i]; c.Legacy && (c.SPKI == spki || c.SPKI == [32]byte{}) {
			return c
		}
	}
	return nil
}

// A legacy certificate names no issuer: there was one then, the first that the log defines.
func (s *State) issuedByRevoked(c *Certificate) bool {
	for i := range s.issuers {
		if issuer := &s.issuers[i]; issuer.Revoked && (issuer.ID == c.Issuer || i == 0 && c.Issuer == "") {
			return true
		}
	}
	return false
}

// Version changes with every event that is folded in.
func (s *State) Version() uint64 { return s.n }
