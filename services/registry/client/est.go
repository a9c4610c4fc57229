package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"muster.dev/proto/pkcs7"
	"muster.dev/services/registry/wholefile"
)

const (
	// nextKeyFile holds the key of a certificate that is asked for, until that is there.
	nextKeyFile  = "key.pem.next"
	wellKnown    = "/.well-known/est/"
	maxESTAnswer = 256 << 10
)

// ESTError is what an EST server said instead of a certificate.
type ESTError struct {
	Status int
	Says   string
}

func (e *ESTError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.Status, http.StatusText(e.Status), e.Says)
}

// Renewal asks for a new certificate by the one that a device has.
type Renewal struct {
	Base    string // of the EST server, e.g. https://127.0.0.1:8444
	Dir     string // the identity
	KeepKey bool   // the new certificate is for the same key
}

// Renew has a device's certificate renewed (RFC 7030, simplereenroll) and replaces the files of its identity, each
// whole. The new key lies beside the old one before anything is asked, so whoever was interrupted, at any point, calls
// it again. What the device trusts is fetched too: so it follows a change of the fleet's root.
func Renew(ctx context.Context, r Renewal) (*x509.Certificate, error) {
	if err := settle(r.Dir); err != nil {
		return nil, err
	}
	session, current, err := openEST(r)
	if err != nil {
		return nil, err
	}
	defer session.CloseIdleConnections()
	trusted, between, err := fetchCA(ctx, session, r.Base)
	if err != nil {
		return nil, fmt.Errorf("fetch what to trust: %w", err)
	}
	keyFile := nextKeyFile
	if r.KeepKey {
		keyFile = KeyFile
	}
	key, err := ensureKeyIn(filepath.Join(r.Dir, keyFile))
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: current.RawSubject, URIs: current.URIs}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	issued, err := est(ctx, session, http.MethodPost, r.Base+wellKnown+"simplereenroll", csr)
	if err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	if len(issued) == 0 || !publicEqual(issued[0].PublicKey, key.Public()) {
		return nil, errors.New("renew: the server's certificate is not for the key that was sent")
	}
	// Between the second and the third of these the certificate is the next key's: settle makes it good.
	if err := wholefile.Write(filepath.Join(r.Dir, CAFile), trusted, 0o644); err != nil {
		return nil, err
	}
	if err := wholefile.Write(filepath.Join(r.Dir, CertFile), encodeChain(append(issued[:1:1], between...)), 0o644); err != nil {
		return nil, err
	}
	return issued[0], settle(r.Dir)
}

// settle takes the next key into use if the certificate is for it.
func settle(dir string) error {
	next := filepath.Join(dir, nextKeyFile)
	if _, err := os.Stat(next); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, CertFile), next); err != nil {
		return nil // it is for the key that is in use, or the caller will see what is wrong with it
	}
	if err := os.Rename(next, filepath.Join(dir, KeyFile)); err != nil {
		return fmt.Errorf("take the new key into use: %w", err)
	}
	return nil
}

func openEST(r Renewal) (*http.Client, *x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.Dir, CertFile), filepath.Join(r.Dir, KeyFile))
	if err != nil {
		return nil, nil, fmt.Errorf("identity in %s: %w", r.Dir, err)
	}
	ca, err := os.ReadFile(filepath.Join(r.Dir, CAFile))
	if err != nil {
		return nil, nil, fmt.Errorf("identity in %s: %w", r.Dir, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("identity in %s: %s holds no certificate", r.Dir, CAFile)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}, pair.Leaf, nil
}

// fetchCA gives the roots that the server names, in PEM, and the certificates that stand between them and a device's.
func fetchCA(ctx context.Context, session *http.Client, base string) (roots []byte, between []*x509.Certificate, err error) {
	all, err := est(ctx, session, http.MethodGet, base+wellKnown+"cacerts", nil)
	if err != nil {
		return nil, nil, err
	}
	var trusted []*x509.Certificate
	for _, c := range all {
		if bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil {
			trusted = append(trusted, c)
		} else {
			between = append(between, c)
		}
	}
	if len(trusted) == 0 {
		return nil, nil, errors.New("the server names no root")
	}
	return encodeChain(trusted), between, nil
}

// est asks one operation and reads the certificates that are its answer.
func est(ctx context.Context, session *http.Client, method, url string, der []byte) ([]*x509.Certificate, error) {
	var body io.Reader
	if der != nil {
		body = strings.NewReader(base64.StdEncoding.EncodeToString(der))
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("request to the EST server: %w", err)
	}
	if der != nil {
		req.Header.Set("Content-Type", "application/pkcs10")
	}
	res, err := session.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the EST server: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxESTAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the EST server's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, &ESTError{Status: res.StatusCode, Says: strings.TrimSpace(string(data[:min(len(data), 2000)]))}
	}
	return certificatesIn(data)
}

// certificatesIn reads a certs-only PKCS #7 message (RFC 8951 section 3.1) in base64, with or without line breaks.
func certificatesIn(text []byte) ([]*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return nil, fmt.Errorf("the EST server's answer is not base64: %w", err)
	}
	certs, err := pkcs7.Certificates(der)
	if err != nil {
		return nil, fmt.Errorf("the EST server's answer: %w", err)
	}
	return certs, nil
}

func encodeChain(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.Bytes()
}

func publicEqual(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
