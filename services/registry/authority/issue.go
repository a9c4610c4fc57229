package authority

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"muster.dev/proto/identity"
	"muster.dev/services/registry/decide"
)

// Certificate is an issued certificate.
type Certificate struct {
	PEM      []byte // the certificate and, behind it, the issuing one: what a TLS client presents
	DER      []byte // the certificate alone
	Serial   string // hexadecimal
	NotAfter time.Time
}

// ErrIssuerGone is in the error for a certificate whose issuing key is not held any more.
var ErrIssuerGone = errors.New("the key of its issuing certificate is not held any more")

// Draft is what the certificate for a request would be: nothing is signed yet. Its times are whole seconds, as those
// of X.509 are.
func (a *Authority) Draft(request *Request) decide.Certificate {
	h := a.held.Load()
	now := a.now().UTC().Truncate(time.Second)
	serial, err := newSerial()
	if err != nil { // crypto/rand ends the process instead
		panic(err)
	}
	d := decide.Certificate{
		Serial: serial.Text(16), SPKI: request.SPKI(), CSR: request.Hash(), Issuer: h.current.id,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(a.opts.deviceLife),
	}
	// RFC 5280 lets a leaf outlive its issuer; verifiers then fail on a date that the leaf does not show.
	if end := h.current.cert.NotAfter; end.Before(d.NotAfter) {
		d.NotAfter = end.UTC()
	}
	return d
}

// Sign makes the certificate that was drafted for device. Of the request nothing but the key is used. The result is a
// pure function of its arguments and of the issuing key: a P-256 signature takes its nonce from key and content (RFC
// 6979), so that whoever asks again gets the same bytes, and no certificate can be issued twice under one serial.
func (a *Authority) Sign(device identity.Device, request *Request, c decide.Certificate) (Certificate, error) {
	h := a.held.Load()
	i := h.issuers[c.Issuer]
	if i == nil || i.signer == nil {
		return Certificate{}, fmt.Errorf("certificate %s of device %s: %w (issuer %q)", c.Serial, device, ErrIssuerGone, c.Issuer)
	}
	if c.SPKI != request.SPKI() {
		return Certificate{}, fmt.Errorf("certificate %s of device %s is for another key than the request's", c.Serial, device)
	}
	serial, ok := new(big.Int).SetString(c.Serial, 16)
	if !ok || serial.Sign() <= 0 {
		return Certificate{}, fmt.Errorf("certificate of device %s: serial %.50q is no number", device, c.Serial)
	}
	if !c.NotAfter.After(c.NotBefore) {
		return Certificate{}, fmt.Errorf("certificate %s of device %s would end before it begins: the issuing certificate ends at %s", c.Serial, device, i.cert.NotAfter.Format(time.RFC3339))
	}
	uri, err := url.Parse(identity.URI(h.trustDomain, device))
	if err != nil {
		return Certificate{}, fmt.Errorf("identity of device %s: %w", device, err)
	}
	der, err := x509.CreateCertificate(nil, &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: string(device)}, // for people's eyes: nothing of ours reads it
		URIs:                  []*url.URL{uri},
		NotBefore:             c.NotBefore.UTC(),
		NotAfter:              c.NotAfter.UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, i.cert, request.csr.PublicKey, i.signer)
	if err != nil {
		return Certificate{}, fmt.Errorf("sign certificate %s of device %s: %w", c.Serial, device, err)
	}
	leaf := &x509.Certificate{Raw: der}
	return Certificate{PEM: encodeCertificates(leaf, i.cert), DER: der, Serial: c.Serial, NotAfter: c.NotAfter}, nil
}

// IssueDevice drafts and signs at once.
func (a *Authority) IssueDevice(device identity.Device, request *Request) (Certificate, error) {
	if err := a.Ready(); err != nil {
		return Certificate{}, err
	}
	return a.Sign(device, request, a.Draft(request))
}
