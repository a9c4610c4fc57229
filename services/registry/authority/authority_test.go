package authority

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func initAuthority(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := Init(dir, "muster.test", sealed)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

// sealed is a seal that the tests share: nobody else's key opens with it.
var sealed = func() Option {
	text, err := NewSeal()
	if err != nil {
		panic(err)
	}
	seal, err := ParseSeal(text)
	if err != nil {
		panic(err)
	}
	return WithSeal(seal)
}()

// issuingFiles are the names of the certificate and the key in use.
func issuingFiles(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	certs, err := readCertificates(filepath.Join(dir, IssuingFile))
	if err != nil {
		t.Fatal(err)
	}
	base := issuingBase(ID(certs[0]))
	return base + ".pem", base + sealedKey
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(data)
	}
	return files
}

func TestInitIsSafeToRepeat(t *testing.T) {
	_, dir := initAuthority(t)
	before := readAll(t, dir)
	if len(before) != 6 {
		t.Fatalf("an authority has six files, have %d", len(before))
	}
	if _, err := Init(dir, "muster.test", sealed); err != nil {
		t.Fatal(err)
	}
	for name, data := range readAll(t, dir) {
		if before[name] != data {
			t.Errorf("a second Init changed %s", name)
		}
	}
	if _, err := Init(dir, "other.test", sealed); err == nil || !strings.Contains(err.Error(), "muster.test") {
		t.Errorf("Init for another trust domain: %v", err)
	}
}

func TestInitCompletesAnInterruptedInit(t *testing.T) {
	_, whole := initAuthority(t)
	cert, key := issuingFiles(t, whole)
	for _, lost := range [][]string{
		{RootFile, IssuingFile, cert, key, ClientsFile},
		{IssuingFile, cert, key, ClientsFile},
		{IssuingFile, cert, ClientsFile},
		{IssuingFile, ClientsFile},
		{ClientsFile},
	} {
		dir := filepath.Join(t.TempDir(), "ca")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range lost {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{key, RootKeyName + sealedKey} { // CopyFS opens them to others
			if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		a, err := Init(dir, "muster.test", sealed)
		if err != nil {
			t.Errorf("without %v: %v", lost, err)
			continue
		}
		if _, err := a.IssueDevice("d1", request(t, p256(t))); err != nil {
			t.Errorf("without %v: %v", lost, err)
		}
	}
}

func TestRootKeyMayBeOffline(t *testing.T) {
	_, dir := initAuthority(t)
	if err := os.Remove(filepath.Join(dir, RootKeyName+sealedKey)); err != nil {
		t.Fatal(err)
	}
	a, err := Init(dir, "muster.test", sealed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.IssueDevice("d1", request(t, p256(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, IssuingFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, "muster.test", sealed); err == nil || !strings.Contains(err.Error(), "root's key") {
		t.Fatalf("an issuing certificate without the root's key: %v", err)
	}
}

func TestOpenRefusesWhatOthersCanRead(t *testing.T) {
	_, dir := initAuthority(t)
	_, name := issuingFiles(t, dir)
	key := filepath.Join(dir, name)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the issuing key has mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, sealed); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that the group reads: %v", err)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, sealed); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory that the group enters: %v", err)
	}
}

func TestOpenRefusesAStrangersKey(t *testing.T) {
	_, dir := initAuthority(t)
	_, other := initAuthority(t)
	_, key := issuingFiles(t, dir)
	_, otherKey := issuingFiles(t, other)
	for name, from := range map[string]string{key: otherKey, RootFile: RootFile} {
		want := map[string]string{key: "does not belong", RootFile: "not signed"}[name]
		original := readAll(t, dir)[name]
		if err := os.WriteFile(filepath.Join(dir, name), []byte(readAll(t, other)[from]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, sealed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("another authority's %s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(original), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTrustDomainMustBeAHostName(t *testing.T) {
	for _, bad := range []string{"", "Upper.test", "a/b", "a b", "-a", "a..b", strings.Repeat("a", 254)} {
		if _, err := Init(t.TempDir(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// A device's certificate and a server's, made by one authority, must carry a mutual TLS 1.3 handshake, and neither
// may stand in for the other.
func TestDeviceAndServerShakeHands(t *testing.T) {
	a, dir := initAuthority(t)
	certFile, keyFile := filepath.Join(dir, "gateway.pem"), filepath.Join(dir, "gateway.key")
	if err := a.EnsureServer(certFile, keyFile, LoopbackHosts...); err != nil {
		t.Fatal(err)
	}
	server, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key := p256(t)
	issued, err := a.IssueDevice("pump-1", request(t, key))
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	device, err := tls.X509KeyPair(issued.PEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.CA()) {
		t.Fatal("the CA is not PEM")
	}

	handshake := func(serverCert, clientCert tls.Certificate) (*x509.Certificate, error) {
		left, right := net.Pipe()
		defer left.Close()
		defer right.Close()
		deadline := time.Now().Add(time.Minute)
		left.SetDeadline(deadline)
		right.SetDeadline(deadline)
		srv := tls.Server(left, &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientCAs: roots,
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13})
		cli := tls.Client(right, &tls.Config{Certificates: []tls.Certificate{clientCert}, RootCAs: roots, ServerName: "127.0.0.1"})
		done := make(chan error, 1)
		go func() {
			err := cli.Handshake()
			if err == nil {
				_, err = cli.Read(make([]byte, 1)) // a client learns of its refusal by reading
			} else {
				right.Close()
			}
			done <- err
		}()
		err := srv.Handshake()
		if err == nil {
			_, err = srv.Write([]byte{1})
		}
		left.Close()
		if clientErr := <-done; err == nil {
			err = clientErr
		}
		if err != nil {
			return nil, err
		}
		return srv.ConnectionState().PeerCertificates[0], nil
	}
	leaf, err := handshake(server, device)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://muster.test/device/pump-1" {
		t.Errorf("identity %v", leaf.URIs)
	}
	if _, err := handshake(device, device); err == nil {
		t.Error("a device passed for a server")
	}
	if _, err := handshake(server, server); err == nil {
		t.Error("a server passed for a device")
	}
}

func TestAnAuthorityThatIsThereSaysItsTrustDomain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := Init(dir, "fleet.example"); err != nil {
		t.Fatal(err)
	}
	if a, err := Init(dir, ""); err != nil || a.TrustDomain() != "fleet.example" {
		t.Errorf("%v", err)
	}
	if a, err := Init(filepath.Join(t.TempDir(), "ca"), ""); err != nil || a.TrustDomain() != DefaultTrustDomain {
		t.Errorf("%v", err)
	}
}
