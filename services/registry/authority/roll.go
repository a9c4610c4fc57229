package authority

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// RollIssuing makes a new issuing certificate under the root in use, and takes it into use. The older ones stay: what
// they signed is good until its end, and can be repeated. The root's key must be at hand.
func RollIssuing(dir string, given ...Option) (id string, err error) {
	if err := checkDirectory(dir); err != nil {
		return "", err
	}
	o := gather(dir, given)
	if err := sealOld(dir, o); err != nil {
		return "", err
	}
	if err := makeIssuing(dir, o, time.Now(), nil); err != nil {
		return "", err
	}
	return republish(dir, given)
}

// RollRoot makes a new root, whose key goes where WithRootKey says, and an issuing certificate under it, and takes both
// into use. The old root stays trusted until Retire, and vouches for the new root, so that who knows the old one alone
// goes on. For that its key must be in oldKey, sealed by old, or, for "", where a root's key lies by default.
func RollRoot(dir, oldKey string, old Seal, given ...Option) (id string, err error) {
	if err := checkDirectory(dir); err != nil {
		return "", err
	}
	o := gather(dir, given)
	if err := sealOld(dir, o); err != nil {
		return "", err
	}
	h, err := load(dir, o.seal)
	if err != nil {
		return "", err
	}
	from := gather(dir, []Option{WithSeal(o.seal), WithRootKey(oldKey, old)})
	key, err := readKey(from.rootKey, from.rootSeal)
	switch {
	case err == nil && !publicEqual(key.Public(), h.roots[0].PublicKey):
		return "", fmt.Errorf("%s is not the key of the root in use", from.rootKey+sealedKey)
	case err != nil && !o.abrupt:
		return "", fmt.Errorf("the old root's key is to vouch for the new: %w", err)
	}
	// A key at the place of the new one is the old root's: it makes room under a name that says whose it is.
	for _, ending := range []string{sealedKey, plainKey} {
		aside := filepath.Join(filepath.Dir(o.rootKey), "root-"+ID(h.roots[0])+ending)
		if err := os.Rename(o.rootKey+ending, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("move the old root's key aside: %w", err)
		}
	}
	root, rootKey, err := newRoot(h.trustDomain, o, time.Now())
	if err != nil {
		return "", err
	}
	crossed := h.crossed
	if key != nil {
		again := caTemplate("Muster root", h.trustDomain, time.Now(), time.Until(h.roots[0].NotAfter))
		again.MaxPathLen, again.SubjectKeyId = 1, root.SubjectKeyId
		again.AuthorityKeyId = h.roots[0].SubjectKeyId // or Go, seeing one name twice, leaves it out, and OpenSSL takes it for self-signed
		cert, err := signCA(again, h.roots[0], rootKey.Public(), key)
		if err != nil {
			return "", err
		}
		crossed = slices.Insert(slices.Clone(crossed), 0, cert)
	}
	if err := writeCrossed(dir, crossed); err != nil {
		return "", err
	}
	if err := writeCertificates(in(dir, RootFile), slices.Insert(slices.Clone(h.roots), 0, root)...); err != nil {
		return "", err
	}
	if err := makeIssuing(dir, o, time.Now(), rootKey); err != nil {
		return "", err
	}
	return republish(dir, given)
}

// Retire ends what is not in use any more. A root is trusted no longer, and the issuing certificates under it and their
// keys go; of an issuing certificate the key goes, and what it signed cannot be repeated. The certificates that it
// signed are good until their end: to refuse them, revoke the issuer in the registry.
func Retire(dir, id string, given ...Option) error {
	o := gather(dir, given)
	h, err := load(dir, o.seal)
	if err != nil {
		return err
	}
	if i := h.issuers[id]; i != nil {
		if i == h.current {
			return fmt.Errorf("the issuing certificate %s is in use: roll it over first", id)
		}
		return removeKey(in(dir, issuingBase(id)))
	}
	at := -1
	for n, root := range h.roots {
		if ID(root) == id {
			at = n
		}
	}
	switch {
	case at < 0:
		return fmt.Errorf("there is no root and no issuing certificate %s", id)
	case at == 0:
		return fmt.Errorf("the root %s is in use: roll it over first", id)
	}
	gone := h.roots[at]
	for _, i := range h.issuers {
		base := in(dir, issuingBase(i.id))
		if i.cert.CheckSignatureFrom(gone) == nil {
			if i == h.current {
				return fmt.Errorf("the issuing certificate in use, %s, is under the root %s: roll it over first", i.id, id)
			}
			if err := removeKey(base); err != nil {
				return err
			}
			if err := os.Remove(base + ".pem"); err != nil {
				return fmt.Errorf("retire the issuing certificate %s: %w", i.id, err)
			}
		}
	}
	left := slices.DeleteFunc(slices.Clone(h.crossed), func(c *x509.Certificate) bool { return c.CheckSignatureFrom(gone) == nil })
	if err := writeCrossed(dir, left); err != nil {
		return err
	}
	if err := writeCertificates(in(dir, RootFile), slices.Delete(slices.Clone(h.roots), at, at+1)...); err != nil {
		return err
	}
	_, err = republish(dir, given)
	return err
}

// writeCrossed replaces what older roots say of the one in use; nothing is no file.
func writeCrossed(dir string, certs []*x509.Certificate) error {
	if len(certs) > 0 {
		return writeCertificates(in(dir, crossedFile), certs...)
	}
	if err := os.Remove(in(dir, crossedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what an old root vouched for: %w", err)
	}
	return nil
}

func removeKey(base string) error {
	for _, ending := range []string{sealedKey, plainKey} {
		if err := os.Remove(base + ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a key: %w", err)
		}
	}
	return nil
}

// republish writes what servers verify devices by, and says what is in use now.
func republish(dir string, given []Option) (id string, err error) {
	a, err := Open(dir, given...)
	if err != nil {
		return "", err
	}
	_, id = a.Issuing()
	return id, a.held.Load().publish(dir)
}
