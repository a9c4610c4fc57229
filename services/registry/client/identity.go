package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"muster.dev/services/registry/wholefile"

	v1 "muster.dev/services/registry/api/v1"
)

// The files of a device's identity, so that `curl --cacert DIR/ca.pem --cert DIR/cert.pem --key DIR/key.pem` works.
const (
	CAFile   = "ca.pem"
	CertFile = "cert.pem"
	KeyFile  = "key.pem"
)

// Enroll enrols a device with the registry at base and writes its identity into dir. The key is made here, before
// the registry is asked, and kept: whoever repeats an Enroll whose answer was lost gets the same number and a
// fresh certificate. The request's CSR is filled in here.
func Enroll(ctx context.Context, base, token string, e v1.Enrolment, dir string) (v1.Enrolled, error) {
	c := New(base, token)
	defer c.Close()
	return c.EnrollInto(ctx, e, dir)
}

// EnrollInto is Enroll over a client's connections: for those who enrol many.
func (c *Client) EnrollInto(ctx context.Context, e v1.Enrolment, dir string) (out v1.Enrolled, err error) {
	if e.CSR, err = request(dir); err != nil {
		return out, err
	}
	if out, err = c.Enroll(ctx, e); err != nil {
		return v1.Enrolled{}, err
	}
	return out, keep(dir, out)
}

// ReplaceInto enrols a new device in an old one's place and writes its identity into dir.
func (c *Client) ReplaceInto(ctx context.Context, old string, r v1.Replacement, dir string) (out v1.Enrolled, err error) {
	if r.CSR, err = request(dir); err != nil {
		return out, err
	}
	if out, err = c.Replace(ctx, old, r); err != nil {
		return v1.Enrolled{}, err
	}
	return out, keep(dir, out)
}

// request is a certificate request by the key in dir, in PEM.
func request(dir string) (string, error) {
	key, err := ensureKey(dir)
	if err != nil {
		return "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", fmt.Errorf("make a certificate request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), nil
}

func keep(dir string, e v1.Enrolled) error {
	if err := wholefile.Write(filepath.Join(dir, CAFile), []byte(e.CA), 0o644); err != nil {
		return err
	}
	return wholefile.Write(filepath.Join(dir, CertFile), []byte(e.Certificate), 0o644)
}

// ensureKey reads the key in dir or makes one, P-256.
func ensureKey(dir string) (crypto.Signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("identity directory: %w", err)
	}
	return ensureKeyIn(filepath.Join(dir, KeyFile))
}

func ensureKeyIn(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	} else if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("device key %s is not PEM", path)
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("device key %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("device key %s of type %T cannot sign", path, key)
	}
	return signer, nil
}

func makeKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a device key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a device key: %w", err)
	}
	return key, wholefile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
