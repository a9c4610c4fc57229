package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"muster.dev/services/registry/wholefile"
)

// DefaultTrustDomain is the trust domain of a fleet that has not chosen one.
const DefaultTrustDomain = "muster.local"

const (
	rootLife    = 20 * 365 * 24 * time.Hour
	issuingLife = 5 * 365 * 24 * time.Hour
	deviceLife  = 90 * 24 * time.Hour
	serverLife  = 365 * 24 * time.Hour

	// A certificate begins a little before now: devices' clocks are slow as often as fast.
	backdate = 10 * time.Minute
)

var trustDomains = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	trustDomain string
	root        *x509.Certificate
	issuing     *x509.Certificate
	signer      crypto.Signer
	now         func() time.Time
}

// Init makes what is missing of an authority for trustDomain in dir, and opens it. It is safe to repeat: what
// exists is kept, and an interrupted Init is completed by the next. An authority made for another trust domain is
// an error, never replaced. Two concurrent calls on one directory are the caller's to prevent.
func Init(dir, trustDomain string) (*Authority, error) {
	if len(trustDomain) > 253 || !trustDomains.MatchString(trustDomain) {
		return nil, fmt.Errorf("trust domain %q is not a host name in lower case", trustDomain)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("authority directory: %w", err)
	}
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	now := time.Now()
	if _, err := os.Stat(filepath.Join(dir, RootFile)); errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(dir, trustDomain, now); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, IssuingFile)); errors.Is(err, fs.ErrNotExist) {
		if err := makeIssuing(dir, now); err != nil {
			return nil, err
		}
	}
	a, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if a.trustDomain != trustDomain {
		return nil, fmt.Errorf("the authority in %s is for trust domain %q, not %q", dir, a.trustDomain, trustDomain)
	}
	return a, nil
}

// Open opens an authority that Init made. The root's key is not needed. The trust domain is read from the
// certificates, so that it cannot differ from what they vouch for.
func Open(dir string) (*Authority, error) {
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	root, err := readCertificates(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, err
	}
	issuing, err := readCertificates(filepath.Join(dir, IssuingFile))
	if err != nil {
		return nil, err
	}
	signer, err := readKey(filepath.Join(dir, IssuingKeyFile))
	if err != nil {
		return nil, err
	}
	a := &Authority{root: root[0], issuing: issuing[0], signer: signer, now: time.Now}
	if len(a.issuing.URIs) != 1 || a.issuing.URIs[0].Scheme != "spiffe" {
		return nil, fmt.Errorf("%s names no trust domain", filepath.Join(dir, IssuingFile))
	}
	a.trustDomain = a.issuing.URIs[0].Host
	if err := a.issuing.CheckSignatureFrom(a.root); err != nil {
		return nil, fmt.Errorf("%s was not signed by %s: %w", IssuingFile, RootFile, err)
	}
	if !publicEqual(a.issuing.PublicKey, signer.Public()) {
		return nil, fmt.Errorf("%s does not belong to %s", IssuingKeyFile, IssuingFile)
	}
	return a, nil
}

// TrustDomain is the host of every identity that this authority vouches for.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// CA is the root certificate in PEM: what devices and services trust.
func (a *Authority) CA() []byte { return encodeCertificates(a.root) }

func makeRoot(dir, trustDomain string, now time.Time) error {
	key, err := ensureKey(filepath.Join(dir, RootKeyFile))
	if err != nil {
		return err
	}
	template := caTemplate("Muster root", trustDomain, now, rootLife)
	template.MaxPathLen = 1
	return signCA(filepath.Join(dir, RootFile), template, template, key.Public(), key)
}

func makeIssuing(dir string, now time.Time) error {
	roots, err := readCertificates(filepath.Join(dir, RootFile))
	if err != nil {
		return err
	}
	rootKey, err := readKey(filepath.Join(dir, RootKeyFile))
	if err != nil {
		return fmt.Errorf("an issuing certificate needs the root's key: %w", err)
	}
	key, err := ensureKey(filepath.Join(dir, IssuingKeyFile))
	if err != nil {
		return err
	}
	template := caTemplate("Muster issuing", roots[0].URIs[0].Host, now, issuingLife)
	template.MaxPathLenZero = true
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	return signCA(filepath.Join(dir, IssuingFile), template, roots[0], key.Public(), rootKey)
}

func caTemplate(name, trustDomain string, now time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{trustDomain}},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		// A stolen issuing key vouches for this fleet's devices at worst, for nobody else's.
		PermittedURIDomains:         []string{trustDomain},
		PermittedDNSDomainsCritical: true,
	}
}

func signCA(path string, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	cert, err := sign(template, parent, public, signer)
	if err != nil {
		return fmt.Errorf("sign %s: %w", path, err)
	}
	return wholefile.Write(path, encodeCertificates(cert), 0o644)
}

// sign gives the template a fresh serial of 127 random bits and signs it.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func publicEqual(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
