package est

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"muster.dev/fleet/agent/wholefile"
	"muster.dev/proto/identity"
)

// Files of an identity.
const (
	CAFile   = "ca.pem"
	CertFile = "cert.pem"
	KeyFile  = "key.pem"
	nextKey  = "key.pem.next"
)

// Identity is who a device is and whom it trusts.
type Identity struct {
	Device      string // from the certificate; who takes messages reads it there itself
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// Leaf is the device's certificate.
func (i Identity) Leaf() *x509.Certificate { return i.Certificate.Leaf }

// Due is when the certificate is to be renewed: in the last third of its life, each key at another time of that third's
// first half, so that devices that were enrolled on one day are not renewed in one hour.
func (i Identity) Due() time.Time {
	leaf := i.Leaf()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return leaf.NotBefore.Add(life/3*2 + time.Duration(share*float64(life/6)))
}

// Floor is the earliest that it can be: a clock that says less is not set.
func (i Identity) Floor() time.Time { return i.Leaf().NotBefore }

// Load reads the identity in dir, and takes a new key into use whose certificate came before the power went.
func Load(dir string) (Identity, error) { return store{dir: dir}.load() }

// store is an identity's directory. step, if not nil, is asked before each change of it.
type store struct {
	dir  string
	step func(change string) error
}

func (s store) path(name string) string { return filepath.Join(s.dir, name) }

func (s store) about(change string) error {
	if s.step == nil {
		return nil
	}
	return s.step(change)
}

func (s store) write(name string, data []byte, mode fs.FileMode) error {
	if err := s.about("write " + name); err != nil {
		return err
	}
	return wholefile.Write(s.path(name), data, mode)
}

func (s store) load() (Identity, error) {
	if err := s.settle(); err != nil {
		return Identity{}, err
	}
	pair, err := tls.LoadX509KeyPair(s.path(CertFile), s.path(KeyFile))
	if err != nil {
		return Identity{}, fmt.Errorf("identity in %s: %w", s.dir, err)
	}
	ca, err := os.ReadFile(s.path(CAFile))
	if err != nil {
		return Identity{}, fmt.Errorf("identity in %s: %w", s.dir, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return Identity{}, fmt.Errorf("identity in %s: %s holds no certificate", s.dir, CAFile)
	}
	if n := len(pair.Leaf.URIs); n != 1 {
		return Identity{}, fmt.Errorf("identity in %s: %s has %d URI names, want one SPIFFE id", s.dir, CertFile, n)
	}
	name, err := identity.ParseURL(pair.Leaf.URIs[0].Host, pair.Leaf.URIs[0])
	if err != nil {
		return Identity{}, fmt.Errorf("identity in %s: %s: %w", s.dir, CertFile, err)
	}
	return Identity{Device: string(name), Certificate: pair, Roots: roots}, nil
}

// settle takes the next key into use if the certificate is for it.
func (s store) settle() error {
	if _, err := os.Stat(s.path(nextKey)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(s.path(CertFile), s.path(nextKey)); err != nil {
		return nil // it waits for its certificate; what else may be wrong shows when the identity is read
	}
	if err := s.about("take the next key into use"); err != nil {
		return err
	}
	if err := os.Rename(s.path(nextKey), s.path(KeyFile)); err != nil {
		return fmt.Errorf("take the new key into use: %w", err)
	}
	// A power cut that takes the rename back finds the two as they were before it.
	return nil
}

// key gives the key that a certificate is to be asked for: the one that was made and never answered for, or a new one.
func (s store) key() (crypto.Signer, error) {
	raw, err := os.ReadFile(s.path(nextKey))
	if err == nil {
		if key, err := parseKey(raw); err == nil {
			return key, nil
		} // else it is no key: nobody has a certificate for it
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return key, s.write(nextKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func parseKey(raw []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a key that signs")
	}
	return signer, nil
}

// install replaces the identity by the certificate for the next key. The order is the contract: between any two of these
// steps load finds the old identity or the new one.
func (s store) install(a answer) error {
	if err := s.write(CAFile, encode(a.roots), 0o644); err != nil {
		return err
	}
	if err := s.write(CertFile, encode(append([]*x509.Certificate{a.leaf}, a.between...)), 0o644); err != nil {
		return err
	}
	return s.settle()
}

func encode(certs []*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
