package device

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
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

// subject is the device that the certificate's SPIFFE id names.
func subject(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("%d URI names, want one SPIFFE id", len(cert.URIs))
	}
	u := cert.URIs[0]
	dir, name := filepath.Split(u.Path)
	if u.Scheme != "spiffe" || dir != "/device/" || name == "" {
		return "", errors.New("its URI " + redactQuery(u) + " is no device's SPIFFE id")
	}
	return name, nil
}

func redactQuery(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
