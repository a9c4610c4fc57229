package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"muster.dev/services/registry/wholefile"
)

// The files of an authority's directory. Beside them lie, for each issuing certificate that was ever made here,
// issuing-<id>.pem and its key.
const (
	RootFile    = "root.pem"    // the roots that are trusted, the one in use first
	IssuingFile = "issuing.pem" // the issuing certificate in use
	ClientsFile = "clients.pem" // what a server verifies devices by: the roots and the issuing certificates
	crossedFile = "crossed.pem" // the root in use, signed by older roots that are still trusted
	RootKeyName = "root"        // where the root's key lies unless it was put elsewhere, without the ending
)

// The endings of keys: sealed, and as older versions wrote them.
const (
	sealedKey = ".key.age"
	plainKey  = ".key"
)

const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
)

// ID names a certificate of the authority: the first 16 bytes of the SHA-256 of its DER, in hexadecimal.
func ID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:16])
}

func issuingBase(id string) string { return "issuing-" + id }

// checkDirectory refuses a directory that others can look into or write to.
func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("authority directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("authority directory %s is not a directory", dir)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("authority directory %s has mode %04o; others must not get in: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// checkPrivate refuses a secret that others can read or write.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("private key %s has mode %04o; only its owner may read it: chmod 600 %s", path, mode, path)
	}
	return nil
}

// readKey reads the key at base, sealed or not. Without one the error is fs.ErrNotExist.
func readKey(base string, seal Seal) (crypto.Signer, error) {
	path := base + sealedKey
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return readPlainKey(base + plainKey)
	}
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if seal.identity == nil {
		return nil, fmt.Errorf("private key %s is sealed: name the file with the seal's identity, or give its passphrase", path)
	}
	data, err := seal.open(sealed)
	if err != nil {
		return nil, fmt.Errorf("private key %s does not open with this seal: %w", path, err)
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func readPlainKey(path string) (crypto.Signer, error) {
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return ParseKey(data)
}

// writeKey puts a key at base: sealed, or plain where there is no seal.
func writeKey(base string, key crypto.Signer, seal Seal) error {
	data, err := EncodeKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	if seal.none() {
		return wholefile.Write(base+plainKey, data, 0o600)
	}
	sealed, err := seal.close(data)
	if err != nil {
		return err
	}
	return wholefile.Write(base+sealedKey, sealed, 0o600)
}

// sealPlain seals the plain key at from, if there is one, into the place at to, and removes it once the sealed one was
// read back. It is safe to repeat after a death at any point.
func sealPlain(from, to string, seal Seal) error {
	path := from + plainKey
	key, err := readPlainKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := writeKey(to, key, seal); err != nil {
		return err
	}
	// A recipient's file opens elsewhere alone: there is nothing to compare it with here.
	if seal.identity != nil {
		back, err := readKey(to, seal)
		if err != nil {
			return err
		}
		if !publicEqual(back.Public(), key.Public()) {
			return fmt.Errorf("%s holds another key than %s", to+sealedKey, path)
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the plain key: %w", err)
	}
	return nil
}

// ParseKey reads one private key in PKCS#8 PEM.
func ParseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != blockKey {
		return nil, fmt.Errorf("private key: want one PEM block %q", blockKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of type %T cannot sign", key)
	}
	return signer, nil
}

// EncodeKey writes a private key as PKCS#8 PEM.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// newKey makes a P-256 key, by which a signature is a pure function of what is signed (RFC 6979) where we ask for that.
func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// readCertificates reads the certificates of a PEM file in the order in which they stand.
func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != blockCertificate {
			return nil, fmt.Errorf("certificate %s holds a PEM block %q", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", path, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("certificate %s holds no certificate", path)
	}
	return certs, nil
}

// writeCertificates puts certificates at path, unless it holds them.
func writeCertificates(path string, certs ...*x509.Certificate) error {
	want := encodeCertificates(certs...)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	return wholefile.Write(path, want, 0o644)
}

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func in(dir, name string) string { return filepath.Join(dir, name) }
