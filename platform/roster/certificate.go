package roster

import (
	"slices"

	"muster.dev/proto/event"
)

// issue gives a device one more certificate. One that its enrolment named already is written down in full.
func (s *State) issue(b event.CertificateIssued, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	switch {
	case device == nil:
		return Change{}, ignore(Missing, "certificate %s for %d: there is no such device", b.Serial, b.No)
	case device.Revoked:
		return Change{}, ignore(Conflict, "certificate %s for %s: it was revoked, which is for good", b.Serial, device.ID)
	case len(b.SPKI) != 32 || len(b.CSR) != 32:
		return Change{}, ignore(Decode, "certificate %s for %s: a hash has not 32 bytes", b.Serial, device.ID)
	}
	c := Certificate{Serial: b.Serial, SPKI: [32]byte(b.SPKI), CSR: [32]byte(b.CSR), Issuer: b.Issuer, NotBefore: b.NotBefore, NotAfter: b.NotAfter}
	i := slices.IndexFunc(device.Certificates, func(had Certificate) bool { return had.Serial == b.Serial })
	if no, ok := s.serials[b.Serial]; ok && no != b.No && !s.legacy(no, b.Serial) {
		return Change{}, ignore(Conflict, "certificate %s for %s: device %d has one of this serial", b.Serial, device.ID, no)
	}
	if i >= 0 {
		had := device.Certificates[i]
		c.Revoked = had.Revoked
		if had != c && (!had.Legacy || had.SPKI != c.SPKI) {
			return Change{}, ignore(Conflict, "certificate %s for %s: it has another one of this serial", b.Serial, device.ID)
		}
	}
	if dry {
		return Change{Device: s.seen(device)}, nil
	}
	c.Issuer = s.intern(b.Issuer)
	device = s.devices.edit(b.No)
	if i >= 0 {
		all := slices.Clone(device.Certificates)
		all[i] = c
		device.Certificates = all
		s.index(c, b.No)
		return Change{Device: s.seen(device)}, nil
	}
	forgotten := s.give(device, c)
	return Change{Device: s.seen(device), Forgotten: forgotten}, nil
}

// give puts a certificate before those of a device that may be changed, and says which one it pushed out.
func (s *State) give(d *stored, c Certificate) (forgotten Certificate) {
	had := d.Certificates
	if len(had) == MaxCertificates {
		forgotten = had[len(had)-1]
		had = had[:len(had)-1]
		if s.serials[forgotten.Serial] == d.No {
			delete(s.serials, forgotten.Serial)
		}
	}
	d.Certificates = append(append(make([]Certificate, 0, len(had)+1), c), had...)
	d.SPKI = c.SPKI
	s.index(c, d.No)
	return forgotten
}

// index makes a certificate known by its serial. A legacy one's is any text, and stands back: of those that are written
// down no two have the same, in whatever order they are indexed.
func (s *State) index(c Certificate, no uint32) {
	if c.Serial == "" {
		return
	}
	if _, taken := s.serials[c.Serial]; taken && c.Legacy {
		return
	}
	s.serials[c.Serial] = no
}

// legacy says whether a device has only a legacy certificate of this serial.
func (s *State) legacy(no uint32, serial string) bool {
	return !slices.ContainsFunc(s.devices.at(no).Certificates, func(c Certificate) bool { return c.Serial == serial && !c.Legacy })
}

func (s *State) revokeCertificate(b event.CertificateRevoked, dry bool) (Change, error) {
	device := s.devices.at(b.No)
	if device == nil {
		return Change{}, ignore(Missing, "revoke certificate %.80q of %d: there is no such device", b.Serial, b.No)
	}
	i := slices.IndexFunc(device.Certificates, func(c Certificate) bool { return c.Serial == b.Serial })
	if i < 0 {
		return Change{}, ignore(Missing, "revoke certificate %.80q of %s: it has none of this serial", b.Serial, device.ID)
	}
	if !dry && !device.Certificates[i].Revoked {
		device = s.devices.edit(b.No)
		all := slices.Clone(device.Certificates)
		// Its key ends with it: whoever has that has no use for the device's other certificates of it either.
		for j := range all {
			if j == i || all[j].SPKI == all[i].SPKI && all[i].SPKI != [32]byte{} {
				all[j].Revoked = true
			}
		}
		device.Certificates = all
	}
	return Change{Device: s.seen(device)}, nil
}

func (s *State) issuer(id string) int {
	return slices.IndexFunc(s.issuers, func(i Issuer) bool { return i.ID == id })
}

func (s *State) defineIssuer(b event.IssuerDefined, dry bool) (Change, error) {
	if !dry && s.issuer(b.Issuer) < 0 {
		s.issuers = append(s.issuers, Issuer{ID: b.Issuer, Certificate: b.Certificate})
	}
	return Change{}, nil
}

func (s *State) revokeIssuer(b event.IssuerRevoked, dry bool) (Change, error) {
	i := s.issuer(b.Issuer)
	if i < 0 {
		return Change{}, ignore(Missing, "revoke issuer %.80q: it is not defined", b.Issuer)
	}
	if !dry && !s.issuers[i].Revoked {
		s.issuers = slices.Clone(s.issuers) // readers hold the former
		s.issuers[i].Revoked = true
	}
	return Change{}, nil
}

// Issuers is every issuer, in the order in which they were defined. It is not to be written to.
func (s *State) Issuers() []Issuer { return slices.Clip(s.issuers) }

// Issuer finds an issuer.
func (s *State) Issuer(id string) (Issuer, bool) {
	if i := s.issuer(id); i >= 0 {
		return s.issuers[i], true
	}
	return Issuer{}, false
}
