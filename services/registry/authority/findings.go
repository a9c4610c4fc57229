package authority

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// ErrRootKeyAway is in the error of RenewIssuing when the root's key is not at hand, as it should be.
var ErrRootKeyAway = errors.New("the root's key is not at hand")

// RenewFrom is when a certificate is to be renewed: when a third of its life is left.
func RenewFrom(cert *x509.Certificate) time.Time {
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore) / 3)
}

// RenewIssuing rolls the issuing certificate over when a third of its life, or less, is left. With the root's key away
// it says until when somebody has to bring it.
func RenewIssuing(dir string, now time.Time, given ...Option) (renewed bool, err error) {
	certs, err := readCertificates(in(dir, IssuingFile))
	if err != nil || now.Before(RenewFrom(certs[0])) {
		return false, err
	}
	o := gather(dir, given)
	if _, err := readKey(o.rootKey, o.rootSeal); err != nil {
		return false, fmt.Errorf("the issuing certificate ends at %s and %w: bring it, and run `muster ca roll` (%w)",
			certs[0].NotAfter.Format(time.DateOnly), ErrRootKeyAway, err)
	}
	_, err = RollIssuing(dir, given...)
	return err == nil, err
}

// Findings are what Findings says of the authority's directory.
func (a *Authority) Findings(now time.Time) ([]string, error) { return Findings(a.dir, now) }

// Findings are what should not stay as it is, a sentence each, for a person. No key is opened.
func Findings(dir string, now time.Time) ([]string, error) {
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	var found []string
	roots, err := filepath.Glob(in(dir, RootKeyName+"*.key*"))
	if err != nil {
		return nil, fmt.Errorf("list the keys: %w", err)
	}
	for _, path := range roots {
		found = append(found, fmt.Sprintf("the root's key is still in the data directory: move %s to where no network reaches it; nothing needs it until the issuing certificate is rolled over", path))
	}
	plain, err := filepath.Glob(in(dir, "issuing*"+plainKey))
	if err != nil {
		return nil, fmt.Errorf("list the keys: %w", err)
	}
	for _, path := range plain {
		found = append(found, fmt.Sprintf("the issuing key %s is not sealed: the next start of the stack, or of bootstrap, seals it", path))
	}
	for _, file := range []string{IssuingFile, RootFile} {
		certs, err := readCertificates(in(dir, file))
		if err != nil {
			return nil, err
		}
		if cert := certs[0]; !now.Before(RenewFrom(cert)) {
			found = append(found, fmt.Sprintf("%s (%s) ends at %s and is in the last third of its life: roll it over", file, cert.Subject.CommonName, cert.NotAfter.Format(time.DateOnly)))
		}
	}
	return found, nil
}
