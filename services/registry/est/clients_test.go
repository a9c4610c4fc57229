package est

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
)

// shell runs unmodified programs in a directory of their own.
type shell struct {
	t   *testing.T
	dir string
}

func newShell(t *testing.T, s *site, programs ...string) shell {
	t.Helper()
	for _, p := range programs {
		program(t, p)
	}
	sh := shell{t, t.TempDir()}
	sh.put("ca.pem", s.ca.CA())
	return sh
}

func (sh shell) put(name string, data []byte) {
	sh.t.Helper()
	if err := os.WriteFile(filepath.Join(sh.dir, name), data, 0o600); err != nil {
		sh.t.Fatal(err)
	}
}

// try runs a command line without any shell's quoting, and gives what it printed.
func (sh shell) try(name string, args ...string) (stdout, stderr []byte, err error) {
	sh.t.Helper()
	ctx, cancel := context.WithTimeout(sh.t.Context(), patience)
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = sh.dir, &out, &complaint
	err = cmd.Run()
	return out.Bytes(), complaint.Bytes(), err
}

func (sh shell) run(name string, args ...string) []byte {
	sh.t.Helper()
	out, complaint, err := sh.try(name, args...)
	if err != nil {
		sh.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, complaint)
	}
	return out
}

// leaf reads a certificate in PEM, or the one of an EST answer.
func leaf(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no PEM: %.200s", data)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// names is who a certificate is for.
func names(t *testing.T, cert *x509.Certificate, device string) {
	t.Helper()
	if len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://muster.test/device/"+device {
		t.Errorf("the certificate is for %v", cert.URIs)
	}
}

// request makes key.pem and csr.b64 for a name with openssl.
func (sh shell) request(key, csr, name string) {
	sh.t.Helper()
	sh.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
	der := sh.run("openssl", "req", "-new", "-key", key, "-subj", "/CN="+name, "-outform", "DER")
	var wrapped bytes.Buffer // as `base64` wraps it
	for text := base64.StdEncoding.EncodeToString(der); len(text) > 0; {
		n := min(76, len(text))
		wrapped.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	sh.put(csr, wrapped.Bytes())
}

// est posts a request with curl and gives the code and the body.
func (sh shell) est(s *site, operation, csr string, more ...string) (code string, body []byte) {
	sh.t.Helper()
	out := sh.run("curl", append([]string{"-sS", "--cacert", "ca.pem", "-w", "\n%{http_code}", "-H", "Content-Type: application/pkcs10",
		"-H", "Content-Transfer-Encoding: base64", "--data-binary", "@" + csr, s.url + "/" + operation}, more...)...)
	at := bytes.LastIndexByte(out, '\n')
	return string(out[at+1:]), out[:at]
}

// keep writes the certificate of an answer as PEM, with openssl.
func (sh shell) keep(body []byte, as string) *x509.Certificate {
	sh.t.Helper()
	der, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		sh.t.Fatalf("%v: %.300s", err, body)
	}
	sh.put("answer.der", der)
	sh.run("openssl", "pkcs7", "-inform", "DER", "-in", "answer.der", "-print_certs", "-out", as)
	data, err := os.ReadFile(filepath.Join(sh.dir, as))
	if err != nil {
		sh.t.Fatal(err)
	}
	return leaf(sh.t, data)
}

func TestCurlAndOpensslEnrolByPasswordAndRenew(t *testing.T) {
	s := open(t, nil)
	sh := newShell(t, s, "curl", "openssl")
	secret := s.password("p1", "pump-1")
	sh.request("key.pem", "csr.b64", "pump-1")
	code, body := sh.est(s, "simpleenroll", "csr.b64", "-u", "pump-1:"+secret)
	if code != "200" {
		t.Fatalf("%s: %s", code, body)
	}
	first := sh.keep(body, "cert.pem")
	names(t, first, "pump-1")
	cacerts := sh.run("curl", "-sS", "--cacert", "ca.pem", s.url+"/cacerts")
	sh.keep(cacerts, "chain.pem")
	sh.run("openssl", "verify", "-purpose", "sslclient", "-CAfile", "ca.pem", "-untrusted", "chain.pem", "cert.pem")

	// The certificate alone is enough to renew it.
	sh.request("key2.pem", "csr2.b64", "pump-1")
	code, body = sh.est(s, "simplereenroll", "csr2.b64", "--cert", "cert.pem", "--key", "key.pem")
	if code != "200" {
		t.Fatalf("%s: %s", code, body)
	}
	names(t, sh.keep(body, "cert2.pem"), "pump-1")

	sh.request("key3.pem", "csr3.b64", "pump-1")
	if code, body = sh.est(s, "simpleenroll", "csr3.b64", "-u", "pump-1:"+secret); code != "401" || !strings.Contains(string(body), "one-time password is not good") {
		t.Errorf("the password again: %s: %s", code, body)
	}
	sh.request("key4.pem", "csr4.b64", "pump-2")
	if code, body = sh.est(s, "simplereenroll", "csr4.b64", "--cert", "cert2.pem", "--key", "key2.pem"); code != "403" || !strings.Contains(string(body), "subject") {
		t.Errorf("for another device: %s: %s", code, body)
	}
	s.do(decide.RevokeDevice{Device: "pump-1"})
	if code, body = sh.est(s, "simplereenroll", "csr3.b64", "--cert", "cert2.pem", "--key", "key2.pem"); code != "403" || !strings.Contains(string(body), "revoked") {
		t.Errorf("revoked: %s: %s", code, body)
	}
	s.refused(3)
	if n := len(events[event.CertificateIssued](s)); n != 2 {
		t.Errorf("%d certificates were issued", n)
	}
}

func TestOpensslsManufacturerEnrolsADevice(t *testing.T) {
	s := open(t, nil)
	sh := newShell(t, s, "curl", "openssl")
	sh.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "maker.key", "-out", "maker.pem", "-subj", "/O=Acme/CN=Acme devices", "-days", "2")
	sh.run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "idevid.key", "-out", "idevid.csr", "-subj", "/O=Acme/CN=Acme pump/serialNumber=SN-0001")
	sh.run("openssl", "x509", "-req", "-in", "idevid.csr", "-CA", "maker.pem", "-CAkey", "maker.key", "-CAcreateserial", "-days", "2", "-out", "idevid.pem")
	root, err := os.ReadFile(filepath.Join(sh.dir, "maker.pem"))
	if err != nil {
		t.Fatal(err)
	}
	sh.request("key.pem", "csr.b64", "pump-7")
	ask := func() (string, []byte) {
		return sh.est(s, "simpleenroll", "csr.b64", "--cert", "idevid.pem", "--key", "idevid.key")
	}
	if code, body := ask(); code != "403" || !strings.Contains(string(body), "no trusted manufacturer") {
		t.Errorf("before the manufacturer is trusted: %s: %s", code, body)
	}
	s.do(decide.TrustManufacturer{Name: "acme", Certificates: [][]byte{leaf(t, root).Raw}})
	if code, body := ask(); code != "403" || !strings.Contains(string(body), "SN-0001") {
		t.Errorf("before its serial is claimed: %s: %s", code, body)
	}
	s.do(decide.ClaimSerials{Manufacturer: "acme", Label: "pumps", Claims: []decide.Claim{{Serial: "SN-0001", Device: "pump-7"}}})
	code, body := ask()
	if code != "200" {
		t.Fatalf("%s: %s", code, body)
	}
	names(t, sh.keep(body, "cert.pem"), "pump-7")
	if again, repeat := ask(); again != "200" || !bytes.Equal(repeat, body) {
		t.Errorf("the same request again: %s", again)
	}
	s.refused(2)
}

func TestStrongswanFollowsARollOverOfTheRoot(t *testing.T) {
	s := open(t, nil)
	sh := newShell(t, s, "pki")
	if _, err := authority.RollRoot(filepath.Join(s.dir, "ca"), "", authority.Seal{}, s.seal); err != nil {
		t.Fatal(err)
	}
	if err := s.ca.Reload(); err != nil {
		t.Fatal(err)
	}
	// The server shows the new chain, and the client knows the old root alone.
	if err := s.ca.EnsureServer(s.est.material.certFile, s.est.material.keyFile, authority.LoopbackHosts...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.est.material.reload(); err != nil { // if it has not seen the new one by itself
		t.Fatal(err)
	}
	sh.run("pki", "--estca", "--url", strings.TrimSuffix(s.url, "/.well-known/est"), "--cacert", "ca.pem", "--caout", "got.pem", "--outform", "pem", "--force")
	if got, err := filepath.Glob(filepath.Join(sh.dir, "got*.pem")); err != nil || len(got) != 4 {
		t.Errorf("it kept %v, want both roots, the new one as the old vouches for it, and the issuing certificate", got)
	}
}

func TestStrongswanEnrolsAndRenews(t *testing.T) {
	s := open(t, nil)
	sh := newShell(t, s, "pki", "openssl")
	base := strings.TrimSuffix(s.url, "/.well-known/est")
	sh.run("pki", "--estca", "--url", base, "--cacert", "ca.pem", "--caout", "got.pem", "--outform", "pem", "--force")
	got, err := filepath.Glob(filepath.Join(sh.dir, "got*.pem"))
	if err != nil || len(got) != 2 {
		t.Errorf("it kept %v", got)
	}
	for range 20 { // it cuts answers off by chance
		sh.run("pki", "--estca", "--url", base, "--cacert", "ca.pem", "--caout", "again.pem", "--force")
	}
	secret := s.password("p1", "pump-1")
	chain := []string{"--cacert", "ca.pem"}
	for _, file := range got {
		chain = append(chain, "--cacert", filepath.Base(file))
	}
	sh.put("key.pem", sh.run("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
	sh.put("req.der", sh.run("pki", "--req", "--type", "ecdsa", "--in", "key.pem", "--dn", "CN=pump-1"))
	first := sh.run("pki", append([]string{"--est", "--url", base, "--in", "req.der", "-p", "pump-1:" + secret, "--outform", "pem"}, chain...)...)
	names(t, leaf(t, first), "pump-1")
	sh.put("cert.pem", first)

	sh.put("key2.pem", sh.run("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
	sh.put("req2.der", sh.run("pki", "--req", "--type", "ecdsa", "--in", "key2.pem", "--dn", "CN=pump-1"))
	second := sh.run("pki", append([]string{"--est", "--url", base, "--in", "req2.der", "--cert", "cert.pem", "--key", "key.pem", "--outform", "pem"}, chain...)...)
	names(t, leaf(t, second), "pump-1")
	if leaf(t, second).SerialNumber.Cmp(leaf(t, first).SerialNumber) == 0 {
		t.Error("the renewal is the same certificate")
	}

	// Refused: another name, and a password that is used up.
	sh.put("key3.pem", sh.run("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
	sh.put("req3.der", sh.run("pki", "--req", "--type", "ecdsa", "--in", "key3.pem", "--dn", "CN=pump-2"))
	if _, _, err := sh.try("pki", append([]string{"--est", "--url", base, "--in", "req3.der", "--cert", "cert.pem", "--key", "key.pem"}, chain...)...); err == nil {
		t.Error("renewed for another device")
	}
	if _, _, err := sh.try("pki", append([]string{"--est", "--url", base, "--in", "req3.der", "-p", "pump-1:" + secret}, chain...)...); err == nil {
		t.Error("enrolled by a used password")
	}
	s.refused(2)
	if n := len(events[event.CertificateIssued](s)); n != 2 {
		t.Errorf("%d certificates were issued", n)
	}
}
