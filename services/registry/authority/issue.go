package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"time"

	"muster.dev/proto/identity"
	"muster.dev/services/registry/wholefile"
)

// Certificate is an issued certificate.
type Certificate struct {
	PEM      []byte // the certificate and, behind it, the issuing one: what a TLS client presents
	Serial   string // hexadecimal
	NotAfter time.Time
}

// IssueDevice issues a certificate for device to the holder of the request's key. Of the request nothing but the
// key is used.
func (a *Authority) IssueDevice(device identity.Device, request *Request) (Certificate, error) {
	uri, err := url.Parse(identity.URI(a.trustDomain, device))
	if err != nil {
		return Certificate{}, fmt.Errorf("identity of device %s: %w", device, err)
	}
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: string(device)}, // for people's eyes: nothing of ours reads it
		URIs:        []*url.URL{uri},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, deviceLife, request.csr.PublicKey)
}

// LoopbackHosts are the names by which a local stack's servers are called.
var LoopbackHosts = []string{"localhost", "127.0.0.1", "::1"}

// EnsureServer sees to it that certFile and keyFile hold a server certificate of this authority for hosts (names or
// addresses) with a third of its life left, and makes a new pair where they do not.
func (a *Authority) EnsureServer(certFile, keyFile string, hosts ...string) error {
	if len(hosts) == 0 {
		return errors.New("a server certificate needs at least one host")
	}
	good, err := a.serverGood(certFile, keyFile, hosts)
	if err != nil || good {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err := a.issue(template, serverLife, key.Public())
	if err != nil {
		return err
	}
	data, err := EncodeKey(key)
	if err != nil {
		return err
	}
	// A crash between the two leaves a pair that does not match: the next EnsureServer makes another.
	if err := wholefile.Write(keyFile, data, 0o600); err != nil {
		return err
	}
	return wholefile.Write(certFile, cert.PEM, 0o644)
}

func (a *Authority) serverGood(certFile, keyFile string, hosts []string) (bool, error) {
	certs, err := readCertificates(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if _, err := readKey(keyFile); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		return false, nil
	}
	leaf := certs[0]
	if a.now().Add(serverLife/3).After(leaf.NotAfter) || leaf.CheckSignatureFrom(a.issuing) != nil {
		return false, nil
	}
	return !slices.ContainsFunc(hosts, func(host string) bool { return leaf.VerifyHostname(host) != nil }), nil
}

func (a *Authority) issue(template *x509.Certificate, life time.Duration, public any) (Certificate, error) {
	now := a.now()
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(life)
	// RFC 5280 lets a leaf outlive its issuer; verifiers then fail on a date that the leaf does not show.
	if a.issuing.NotAfter.Before(template.NotAfter) {
		template.NotAfter = a.issuing.NotAfter
	}
	if !template.NotAfter.After(now) {
		return Certificate{}, fmt.Errorf("the issuing certificate ended at %s", a.issuing.NotAfter.Format(time.RFC3339))
	}
	template.BasicConstraintsValid = true
	cert, err := sign(template, a.issuing, public, a.signer)
	if err != nil {
		return Certificate{}, fmt.Errorf("issue a certificate: %w", err)
	}
	return Certificate{
		PEM:      encodeCertificates(cert, a.issuing),
		Serial:   fmt.Sprintf("%x", cert.SerialNumber),
		NotAfter: cert.NotAfter,
	}, nil
}
