package decide

import (
	"slices"
	"strings"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// How a device came by a certificate.
const (
	MethodOperator     = "operator"
	MethodPassword     = "password"
	MethodManufacturer = "manufacturer"
	MethodRenewal      = "renewal"
)

// Certificate is what the registry says in a certificate beside the device's name: a draft in a command, and in an
// Outcome what stands in the log. It is signed only then.
type Certificate struct {
	Serial              string   // lower-case hex without leading zeros
	SPKI                [32]byte // SHA-256 of the public key
	CSR                 [32]byte // SHA-256 of the request's DER
	NotBefore, NotAfter time.Time
	Issuer              string // as event.IssuerID names it
}

func certificateOf(c roster.Certificate) Certificate {
	return Certificate{
		Serial: c.Serial, SPKI: c.SPKI, CSR: c.CSR, Issuer: c.Issuer,
		NotBefore: time.UnixMilli(c.NotBefore).UTC(), NotAfter: time.UnixMilli(c.NotAfter).UTC(),
	}
}

// noted is the draft as the log will have it: what is signed of the one is what is signed of the other.
func (c Certificate) noted() Certificate {
	c.NotBefore, c.NotAfter = time.UnixMilli(c.NotBefore.UnixMilli()).UTC(), time.UnixMilli(c.NotAfter.UnixMilli()).UTC()
	return c
}

func (c Certificate) issued(no uint32, method, via string) event.CertificateIssued {
	return event.CertificateIssued{
		No: no, Serial: c.Serial, SPKI: slices.Clone(c.SPKI[:]), CSR: slices.Clone(c.CSR[:]),
		NotBefore: c.NotBefore.UnixMilli(), NotAfter: c.NotAfter.UnixMilli(), Issuer: c.Issuer, Method: method, Via: via,
	}
}

// check holds a draft against the state.
func (c Certificate) check(s *State, now time.Time) error {
	issuer, known := s.Issuer(c.Issuer)
	_, used := s.DeviceBySerial(c.Serial)
	switch {
	case !event.Serial(c.Serial):
		return invalid("serial", "%.80q: want lower-case hex without leading zeros", c.Serial)
	case used:
		return conflict("serial", "%s was given out before", c.Serial)
	case c.CSR == [32]byte{} || c.SPKI == [32]byte{}:
		return invalid("csr", "want the hashes of the request and of its key")
	case !c.NotAfter.After(c.NotBefore) || !c.NotAfter.After(now):
		return invalid("not_after", "%v: want a time to come", c.NotAfter)
	case known && issuer.Revoked:
		return conflict("issuer", "%s was revoked", c.Issuer)
	}
	return nil
}

// again finds the certificate that a device got for the same request: whoever did not hear the answer asks once more. In
// the last third of its life the same request is one for a new certificate, as some clients' requests are always alike; and so
// it is once the issuer was revoked: nobody takes the old one.
func (s *State) again(d roster.Device, csr [32]byte, now time.Time) (Certificate, bool) {
	for _, c := range d.Certificates {
		if issuer, _ := s.Issuer(c.Issuer); issuer.Revoked {
			continue
		}
		if c.CSR == csr && csr != [32]byte{} && !c.Revoked && now.UnixMilli() < c.NotAfter-(c.NotAfter-c.NotBefore)/3 {
			return certificateOf(c), true
		}
	}
	return Certificate{}, false
}

// free says whether a key may be certified for the device of this number; 0 is one that is not enrolled. Two names for
// one key would make the revocation of one a half-measure.
func (s *State) free(spki [32]byte, no uint32) error {
	if _, dead := s.dead[keyOf(spki)]; dead {
		return conflict("csr", "its key was revoked; make another")
	}
	holder, ok := s.DeviceByNo(s.holders[keyOf(spki)])
	switch {
	case !ok:
		return nil
	case holder.Revoked:
		return conflict("csr", "its key is that of device %s, which was revoked; make another", holder.ID)
	case holder.No != no:
		return conflict("csr", "its key is that of device %s; make another", holder.ID)
	}
	for _, c := range holder.Certificates {
		if c.SPKI == spki && c.Revoked {
			return conflict("csr", "its key was revoked; make another")
		}
	}
	return nil
}

// asksFor refuses a request that asks for another name than the device's. What a certificate says comes from the
// registry alone, but who asks for another name is mistaken, or is not who it says.
func asksFor(names []string, id identity.Device, aliases ...string) error {
	for _, name := range names {
		if name == "" || name == string(id) || slices.Contains(aliases, name) {
			continue
		}
		if rest, ok := strings.CutPrefix(name, "spiffe://"); ok {
			if _, path, _ := strings.Cut(rest, "/"); path == "device/"+string(id) {
				continue
			}
		}
		return forbidden("csr", "asks for another name, %.100q, than %s", name, id)
	}
	return nil
}

// renew gives a device that is enrolled one more certificate.
func (s *State) renew(d roster.Device, c Certificate, now time.Time, method, via string) (Outcome, error) {
	if err := s.free(c.SPKI, d.No); err != nil {
		return Outcome{}, err
	}
	if err := c.check(s, now); err != nil {
		return Outcome{}, err
	}
	return Outcome{No: d.No, Device: d.ID, Certificate: c.noted(), Events: []event.Body{c.issued(d.No, method, via)}}, nil
}

// Reenrol renews the certificate of a device that has proven the one that it has.
type Reenrol struct {
	Device      identity.Device
	Serial      string   // of the certificate that was presented
	SPKI        [32]byte // of its key
	Certificate Certificate
	Names       []string // that the request asks for
}

func (c Reenrol) decide(s *State, now time.Time) (Outcome, error) {
	d, standing := s.Standing(c.Device, c.Serial, c.SPKI)
	if standing == roster.Unknown {
		return Outcome{}, forbidden("device", "%.80q is not enrolled", c.Device)
	}
	if standing != roster.Good {
		return Outcome{}, forbidden("device", "%s may not renew: %v", c.Device, standing)
	}
	if err := asksFor(c.Names, c.Device); err != nil {
		return Outcome{}, err
	}
	if had, ok := s.again(d, c.Certificate.CSR, now); ok {
		return Outcome{No: d.No, Device: d.ID, Certificate: had}, nil
	}
	return s.renew(d, c.Certificate, now, MethodRenewal, "")
}

// RevokeCertificate ends one certificate and its key. Another of the device's may still be good.
type RevokeCertificate struct{ Serial string }

func (c RevokeCertificate) decide(s *State, _ time.Time) (Outcome, error) {
	d, ok := s.DeviceBySerial(c.Serial)
	if !ok || c.Serial == "" {
		return Outcome{}, notFound("serial", "no device has a certificate %.80q", c.Serial)
	}
	out := Outcome{No: d.No, Device: d.ID, Count: 1}
	for _, has := range d.Certificates {
		if has.Serial == c.Serial && !has.Revoked {
			out.Events = []event.Body{event.CertificateRevoked{No: d.No, Serial: c.Serial}}
		}
	}
	return out, nil
}
