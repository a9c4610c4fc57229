package device

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"muster.dev/proto/identity"
)

// Identity is who a device is and whom it trusts.
type Identity struct {
	Device      string // from the certificate, for logs: the gateway reads it there itself
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// LoadIdentity reads ca.pem, cert.pem and key.pem from a directory that `muster device enroll` wrote.
func LoadIdentity(dir string) (Identity, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return Identity{}, fmt.Errorf("identity in %s: %w", dir, err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return Identity{}, fmt.Errorf("identity in %s: %w", dir, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return Identity{}, fmt.Errorf("identity in %s: ca.pem holds no certificate", dir)
	}
	name, err := subject(pair.Leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("identity in %s: cert.pem: %w", dir, err)
	}
	return Identity{Device: name, Certificate: pair, Roots: roots}, nil
}

// subject is the device that the certificate's SPIFFE id names, in whatever trust domain that is.
func subject(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("%d URI names, want one SPIFFE id", len(cert.URIs))
	}
	d, err := identity.ParseURL(cert.URIs[0].Host, cert.URIs[0])
	return string(d), err
}
