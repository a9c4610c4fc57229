package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

const (
	// MaxRequest bounds a certificate request, PEM armour included: an honest one of RSA 4096 has 1.7 KB.
	MaxRequest = 16 << 10

	minRSA = 2048
	maxRSA = 8192 // the time to verify grows with the square: more is an attack, not caution

	maxNames = 16
)

// RequestError says why a certificate request was refused.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return "certificate request refused: " + e.Reason }

// Request is a certificate request that was checked: the sender holds the private key, and the key will do.
type Request struct {
	csr  *x509.CertificateRequest
	spki [sha256.Size]byte
	hash [sha256.Size]byte
}

// SPKI is the SHA-256 of the request's public key as X.509 writes it (SubjectPublicKeyInfo): the name of the key.
func (r *Request) SPKI() [sha256.Size]byte { return r.spki }

// Hash is the SHA-256 of the request's DER: who sends the same request again is answered as before.
func (r *Request) Hash() [sha256.Size]byte { return r.hash }

// ParseRequest reads one certificate request in PEM. Every refusal is a *RequestError.
func ParseRequest(data []byte) (*Request, error) {
	if len(data) > MaxRequest {
		return nil, &RequestError{fmt.Sprintf("%d bytes, the limit is %d", len(data), MaxRequest)}
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, &RequestError{"it is not PEM"}
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, &RequestError{fmt.Sprintf("want a PEM block CERTIFICATE REQUEST, have %.40q", block.Type)}
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, &RequestError{"there is something behind the PEM block"}
	}
	return ParseRequestDER(block.Bytes)
}

// ParseRequestDER reads one certificate request in DER. Every refusal is a *RequestError.
func ParseRequestDER(der []byte) (*Request, error) {
	if len(der) > MaxRequest {
		return nil, &RequestError{fmt.Sprintf("%d bytes, the limit is %d", len(der), MaxRequest)}
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &RequestError{fmt.Sprintf("it does not parse: %.200s", err)}
	}
	// The key is judged before the signature: verifying under a hostile key can cost seconds.
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if n := len(csr.DNSNames) + len(csr.EmailAddresses) + len(csr.IPAddresses) + len(csr.URIs); n > maxNames {
		return nil, &RequestError{fmt.Sprintf("it asks for %d alternative names, the limit is %d", n, maxNames)}
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, &RequestError{"its signature is not by its own key"}
	}
	return &Request{csr: csr, spki: sha256.Sum256(csr.RawSubjectPublicKeyInfo), hash: sha256.Sum256(der)}, nil
}

func checkKey(key any) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return &RequestError{fmt.Sprintf("the curve is %s, want P-256", key.Curve.Params().Name)}
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return &RequestError{fmt.Sprintf("the RSA key has %d bits, want %d to %d", bits, minRSA, maxRSA)}
		}
	default:
		return &RequestError{"its key is none of P-256, Ed25519 and RSA"}
	}
	return nil
}
