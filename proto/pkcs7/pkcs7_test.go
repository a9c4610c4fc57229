package pkcs7_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"muster.dev/proto/pkcs7"
)

func certificate(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// openssl reads a message and gives the certificates in it.
func openssl(t *testing.T, der []byte) [][]byte {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must have openssl")
		}
		t.Skip("SKIPPED: needs openssl")
	}
	cmd := exec.CommandContext(t.Context(), program, "pkcs7", "-inform", "DER", "-print_certs")
	cmd.Stdin = bytes.NewReader(der)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	var found [][]byte
	for {
		var block *pem.Block
		if block, out = pem.Decode(out); block == nil {
			return found
		}
		found = append(found, block.Bytes)
	}
}

func TestOpensslReadsEveryCertificate(t *testing.T) {
	for n := range 4 {
		var want [][]byte
		for range n {
			want = append(want, certificate(t, "device"))
		}
		der, err := pkcs7.CertsOnly(want...)
		if err != nil {
			t.Fatal(err)
		}
		got := openssl(t, der)
		slices.SortFunc(want, bytes.Compare)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("of %d certificates openssl finds %d", n, len(got))
		}
	}
}

func TestTheSameCertificatesAreTheSameBytes(t *testing.T) {
	a, b := certificate(t, "a"), certificate(t, "b")
	one, err := pkcs7.CertsOnly(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := pkcs7.CertsOnly(b, a); err != nil || !bytes.Equal(one, other) {
		t.Errorf("the order shows: %v", err)
	}
	if _, err := pkcs7.CertsOnly([]byte("no certificate")); err == nil {
		t.Error("anything was taken for a certificate")
	}
}
