package verbs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"muster.dev/services/registry/authority"
)

// gateway is one that answers every message with the receipt, and an identity that it takes.
func gateway(t *testing.T, receipt string) (url, identity string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := authority.Init(filepath.Join(dir, "ca"), authority.DefaultTrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.EnsureServer(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), authority.LoopbackHosts...); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := authority.ParseRequest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueDevice("server-1", request)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"ca.pem": ca.CA(), "cert.pem": cert.PEM, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(receipt)) }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, dir
}

func TestWhatWasSentIsToldThoughSomeOfItWentIntoQuarantine(t *testing.T) {
	url, identity := gateway(t, `{"status":"stored","values":1,"quarantined_values":1}`)
	csv := filepath.Join(identity, "cpu.csv")
	if err := os.WriteFile(csv, []byte("timestamp,value\n2014-02-14 14:30:00,1\n2014-02-14 14:35:00,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, complaint := muster(t, "send", "--json", "--csv", csv, "--device", "server-1", "--identity", identity, "--gateway", url)
	var got sent
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %q %q", err, out, complaint)
	}
	if code != ExitFinding || got.Rows != 2 || got.Messages != 1 || got.Quarantined != 1 {
		t.Errorf("exit %d, %+v, %s", code, got, complaint)
	}
}
