package est

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"muster.dev/proto/identity"
)

// Config is what an operator sets about the way to the registry.
type Config struct {
	URL     string        // as https://127.0.0.1:8444
	Line    string        // the product line's label; "" for none
	Dir     string        // of the identity
	Timeout time.Duration // of one request
}

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("est %q: want https://host:port", c.URL)
	}
	if c.Line != "" {
		if _, err := identity.ParseDevice(c.Line); err != nil { // of one grammar
			return fmt.Errorf("line %q: want a product line's name", c.Line)
		}
	}
	if c.Dir == "" {
		return errors.New("identity: want a directory")
	}
	if c.Timeout <= 0 {
		return fmt.Errorf("timeout %v: want more than 0s", c.Timeout)
	}
	return nil
}

// Proof is by what a device enrols, and whom it trusts: one of the first two, and one of the last two.
type Proof struct {
	Device   string // with Password: the name that the password is for
	Password string
	IDevID   *tls.Certificate // of the manufacturer

	CAFile string // root certificates in PEM
	Pin    string // SHA-256 of a root certificate
}

// Validate says what is missing.
func (p Proof) Validate() error {
	switch {
	case (p.Password == "") == (p.IDevID == nil):
		return errors.New("enrol by a one-time password, or by the manufacturer's certificate")
	case p.Password != "" && p.Device == "":
		return errors.New("device: a one-time password is for a name")
	case (p.CAFile == "") == (p.Pin == ""):
		return errors.New("say whom to trust: a file of root certificates (ca), or the fingerprint of one (pin)")
	}
	return nil
}

// answer is a certificate that leads to a root.
type answer struct {
	leaf           *x509.Certificate
	roots, between []*x509.Certificate
}

// Enrol asks for a certificate once, and puts the identity in its directory.
func Enrol(ctx context.Context, c Config, p Proof) (Identity, error) {
	return enrol(ctx, c, p, store{dir: c.Dir})
}

func enrol(ctx context.Context, c Config, p Proof, s store) (Identity, error) {
	if err := errors.Join(c.Validate(), p.Validate()); err != nil {
		return Identity{}, err
	}
	if err := s.settle(); err != nil {
		return Identity{}, err
	}
	trusted, err := p.trusted(ctx, c)
	if err != nil {
		return Identity{}, fmt.Errorf("whom to trust: %w", err)
	}
	way := &tls.Config{RootCAs: trusted}
	name := p.Device
	if p.IDevID != nil {
		way.Certificates = []tls.Certificate{*p.IDevID}
	}
	door := c.open(way)
	defer door.close()
	door.user, door.password = p.Device, p.Password
	request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	return s.obtain(ctx, door, "simpleenroll", request)
}

// trusted gives the roots to verify the server by.
func (p Proof) trusted(ctx context.Context, c Config) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if p.CAFile != "" {
		raw, err := os.ReadFile(p.CAFile)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s holds no certificate", p.CAFile)
		}
		return pool, nil
	}
	pin, err := parsePin(p.Pin)
	if err != nil {
		return nil, err
	}
	// Nothing is said on this connection, and what is heard counts by its fingerprint alone.
	door := c.open(&tls.Config{InsecureSkipVerify: true})
	defer door.close()
	roots, _, err := door.authorities(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		if sha256.Sum256(r.Raw) == pin {
			pool.AddCert(r)
			return pool, nil
		}
	}
	return nil, fmt.Errorf("none of the server's %d root certificates has the fingerprint that was given: this is another fleet's registry, or not a registry", len(roots))
}

// Renew asks once for a new certificate for a new key by the one that the device has.
func Renew(ctx context.Context, c Config) (Identity, error) { return renew(ctx, c, store{dir: c.Dir}) }

func renew(ctx context.Context, c Config, s store) (Identity, error) {
	if err := c.Validate(); err != nil {
		return Identity{}, err
	}
	current, err := s.load()
	if err != nil {
		return Identity{}, err
	}
	door := c.open(&tls.Config{RootCAs: current.Roots, Certificates: []tls.Certificate{current.Certificate}, Time: current.Now})
	defer door.close()
	leaf := current.Leaf()
	return s.obtain(ctx, door, "simplereenroll", &x509.CertificateRequest{RawSubject: leaf.RawSubject, URIs: leaf.URIs})
}

// Now is the time by which this identity verifies others: never before its own begin, so that a clock that is not set
// does not lock a device out.
func (i Identity) Now() time.Time {
	now := time.Now()
	if floor := i.Floor(); now.Before(floor) {
		return floor
	}
	return now
}

// obtain asks for a certificate for the next key, and takes both into use.
func (s store) obtain(ctx context.Context, door *session, operation string, request *x509.CertificateRequest) (Identity, error) {
	roots, between, err := door.authorities(ctx)
	if err != nil {
		return Identity{}, err
	}
	key, err := s.key()
	if err != nil {
		return Identity{}, err
	}
	// Signed without chance (RFC 6979), a request that is repeated is the same to the byte, and is known for it.
	der, err := x509.CreateCertificateRequest(nil, request, key)
	if err != nil {
		return Identity{}, fmt.Errorf("make a certificate request: %w", err)
	}
	issued, err := door.ask(ctx, operation, der)
	if err != nil {
		return Identity{}, err
	}
	a := answer{roots: roots, between: between}
	for _, c := range issued {
		if !c.IsCA {
			a.leaf = c
			break
		}
	}
	if err := a.verify(key.Public()); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", operation, err)
	}
	if err := s.install(a); err != nil {
		return Identity{}, err
	}
	return s.load()
}

// verify refuses what would not work once it is installed.
func (a answer) verify(key crypto.PublicKey) error {
	if a.leaf == nil {
		return errors.New("the answer holds no device's certificate")
	}
	if own, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(a.leaf.PublicKey) {
		return errors.New("the certificate is not for the key that was sent")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range a.roots {
		roots.AddCert(c)
	}
	for _, c := range a.between {
		between.AddCert(c)
	}
	_, err := a.leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: a.leaf.NotBefore.Add(time.Second), // the device's clock may not be set
	})
	if err != nil {
		return fmt.Errorf("the certificate does not lead to a root that the server names: %w", err)
	}
	return nil
}
