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
	"path/filepath"
	"time"
)

// makeRoot makes the first root. A key that an interrupted call left is used.
func makeRoot(dir, trustDomain string, o options, now time.Time) (crypto.Signer, error) {
	root, key, err := newRoot(trustDomain, o, now)
	if err != nil {
		return nil, err
	}
	return key, writeCertificates(in(dir, RootFile), root)
}

func newRoot(trustDomain string, o options, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := readKey(o.rootKey, o.rootSeal)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = newKey(); err == nil {
			err = writeKey(o.rootKey, key, o.rootSeal)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the root's key: %w", err)
	}
	template := caTemplate("Muster root", trustDomain, now, rootLife)
	template.MaxPathLen = 2 // the issuing certificate, and in a roll-over the next root, which Go counts and RFC 5280 does not
	root, err := signCA(template, template, key.Public(), key)
	return root, key, err
}

// makeIssuing makes an issuing certificate under the first root and takes it into use. rootKey is nil where it has to be
// read.
func makeIssuing(dir string, o options, now time.Time, rootKey crypto.Signer) error {
	roots, err := readCertificates(in(dir, RootFile))
	if err != nil {
		return err
	}
	if rootKey == nil {
		if rootKey, err = readKey(o.rootKey, o.rootSeal); err != nil {
			return fmt.Errorf("an issuing certificate needs the root's key: %w", err)
		}
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	template := caTemplate("Muster issuing", roots[0].URIs[0].Host, now, issuingLife)
	template.MaxPathLenZero = true
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	cert, err := signCA(template, roots[0], key.Public(), rootKey)
	if err != nil {
		return err
	}
	// The name comes last that takes it into use: what an interruption leaves before that is a key nobody asks for.
	base := in(dir, issuingBase(ID(cert)))
	if err := writeKey(base, key, o.seal); err != nil {
		return err
	}
	if err := writeCertificates(base+".pem", cert); err != nil {
		return err
	}
	return writeCertificates(in(dir, IssuingFile), cert)
}

// sealOld seals the keys that an older version, or a call without a seal, left in the directory.
func sealOld(dir string, o options) error {
	if o.seal.none() {
		return nil
	}
	if err := sealPlain(in(dir, RootKeyName), o.rootKey, o.rootSeal); err != nil {
		return err
	}
	if exists(in(dir, IssuingFile)) {
		certs, err := readCertificates(in(dir, IssuingFile))
		if err != nil {
			return err
		}
		base := in(dir, issuingBase(ID(certs[0])))
		if exists(in(dir, "issuing"+plainKey)) {
			if err := writeCertificates(base+".pem", certs[0]); err != nil {
				return err
			}
			if err := sealPlain(in(dir, "issuing"), base, o.seal); err != nil {
				return err
			}
		}
	}
	plain, err := filepath.Glob(in(dir, issuingBase("*"+plainKey)))
	if err != nil {
		return fmt.Errorf("list the keys: %w", err)
	}
	for _, path := range plain {
		base := path[:len(path)-len(plainKey)]
		if err := sealPlain(base, base, o.seal); err != nil {
			return err
		}
	}
	return nil
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

// newSerial is 127 random bits, and not 0.
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

// signCA gives the template a fresh serial and signs it.
func signCA(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}
