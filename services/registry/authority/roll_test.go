package authority

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// trusts says whether who trusts the roots takes the first certificate of the chain.
func trusts(roots []*x509.Certificate, chain []byte, usage x509.ExtKeyUsage) error {
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	block, rest := pem.Decode(chain)
	between.AppendCertsFromPEM(rest)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func server(t *testing.T, a *Authority, dir string) []byte {
	t.Helper()
	cert, key := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	if err := a.EnsureServer(cert, key, "localhost"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAnIssuingRollOverKeepsWhatWasIssued(t *testing.T) {
	a, dir := initAuthority(t)
	r := request(t, p256(t))
	draft := a.Draft(r)
	before, err := a.Sign("d", r, draft)
	if err != nil {
		t.Fatal(err)
	}
	_, old := a.Issuing()
	id, err := RollIssuing(dir, sealed)
	if err != nil || id == old {
		t.Fatalf("%s, %v", id, err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, now := a.Issuing(); now != id || a.Draft(r).Issuer != id {
		t.Errorf("in use is %s, want %s", now, id)
	}
	again, err := a.Sign("d", r, draft)
	if err != nil || !bytes.Equal(again.DER, before.DER) {
		t.Errorf("what the older one signed is not repeated: %v", err)
	}
	clients, err := os.ReadFile(filepath.Join(dir, ClientsFile))
	if err != nil || bytes.Count(clients, []byte("BEGIN")) != 3 || !bytes.Equal(clients, a.Clients()) {
		t.Errorf("servers verify by %d certificates, %v", bytes.Count(clients, []byte("BEGIN")), err)
	}
	if err := Retire(dir, id, sealed); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the one in use was retired: %v", err)
	}
	if err := Retire(dir, old, sealed); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sign("d", r, draft); !errors.Is(err, ErrIssuerGone) {
		t.Errorf("signed by a retired key: %v", err)
	}
	if err := trusts(a.Roots(), before.PEM, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("what it signed before: %v", err)
	}
}

func TestARootRollsOverWithBothTrusted(t *testing.T) {
	a, dir := initAuthority(t)
	oldRoots, oldCert := a.Roots(), server(t, a, dir)
	oldDevice, err := a.IssueDevice("d", request(t, p256(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RollRoot(dir, "", Seal{}, sealed); err != nil {
		t.Fatal(err)
	}
	if a, err = Init(dir, "muster.test", sealed); err != nil {
		t.Fatal(err)
	}
	both := a.Roots()
	if len(both) != 2 || !both[1].Equal(oldRoots[0]) {
		t.Fatalf("%d roots", len(both))
	}
	newDevice, err := a.IssueDevice("e", request(t, p256(t)))
	if err != nil {
		t.Fatal(err)
	}
	newCert := server(t, a, dir)
	if openssl, err := exec.LookPath("openssl"); err == nil {
		// It takes the first candidate for an issuer, and turns back from no wrong one.
		write := func(name string, data []byte) string {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		chain := write("chain.pem", newCert)
		for name, roots := range map[string][]*x509.Certificate{"old": both[1:], "new": both[:1], "both": both} {
			out, err := exec.CommandContext(t.Context(), openssl, "verify", "-purpose", "sslserver", "-CAfile", write(name, encodeCertificates(roots...)), "-untrusted", chain, chain).CombinedOutput()
			if err != nil {
				t.Errorf("openssl that trusts %s: %s", name, out)
			}
		}
	}
	for name, c := range map[string]struct {
		roots []*x509.Certificate
		chain []byte
		usage x509.ExtKeyUsage
		good  bool
	}{
		"an old device, the new server":        {oldRoots, newCert, x509.ExtKeyUsageServerAuth, true},
		"a new device, the new server":         {both[:1], newCert, x509.ExtKeyUsageServerAuth, true},
		"a device that knows both":             {both, newCert, x509.ExtKeyUsageServerAuth, true},
		"the gateway, an old device":           {both, oldDevice.PEM, x509.ExtKeyUsageClientAuth, true},
		"the gateway, a new device":            {both, newDevice.PEM, x509.ExtKeyUsageClientAuth, true},
		"who knows the new root, an old chain": {both[:1], oldCert, x509.ExtKeyUsageServerAuth, false},
	} {
		if err := trusts(c.roots, c.chain, c.usage); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Retire(dir, ID(both[0]), sealed); err == nil {
		t.Error("the root in use was retired")
	}
	if err := Retire(dir, ID(both[1]), sealed); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if len(a.Roots()) != 1 || len(a.Chain()) != 1 || len(a.Issuers()) != 1 {
		t.Errorf("%d roots, a chain of %d, %d issuers", len(a.Roots()), len(a.Chain()), len(a.Issuers()))
	}
	if err := trusts(a.Roots(), oldDevice.PEM, x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("a device of the retired root is trusted")
	}
	if bytes.Equal(server(t, a, dir), newCert) {
		t.Error("the server still shows the part that the retired root signed")
	}
	if err := Retire(dir, "0123", sealed); err == nil {
		t.Error("what is unknown was retired")
	}
}

func TestARootRollsOverInCeremonies(t *testing.T) {
	dir, safe := filepath.Join(t.TempDir(), "ca"), t.TempDir()
	phrase, err := PassphraseSeal("correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	text, err := NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	safeSeal, err := ParseSeal(text) // the passphrase is slow by design: once is enough
	if err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(safe, "first.key.age"), filepath.Join(safe, "second.key.age")
	if _, err := Init(dir, "muster.test", sealed, WithRootKey(first, phrase)); err != nil {
		t.Fatal(err)
	}
	found, err := Findings(dir, time.Now())
	if err != nil || len(found) != 0 {
		t.Errorf("%q, %v", found, err)
	}
	if _, err := RollIssuing(dir, sealed); err == nil || !strings.Contains(err.Error(), "root's key") {
		t.Errorf("without the root's key: %v", err)
	}
	if _, err := RollRoot(dir, "", Seal{}, sealed, WithRootKey(second, safeSeal)); err == nil {
		t.Error("a root rolled over without the old one's key")
	}
	if _, err := RollRoot(dir, first, phrase, sealed, WithRootKey(second, safeSeal)); err != nil {
		t.Fatal(err)
	}
	if _, err := RollIssuing(dir, sealed, WithRootKey(second, safeSeal)); err != nil {
		t.Error(err)
	}
}

func TestOldPlainKeysAreSealedAndGo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	old, err := Init(dir, "muster.test") // plain
	if err != nil {
		t.Fatal(err)
	}
	// As the first version laid it out.
	_, id := old.Issuing()
	base := filepath.Join(dir, issuingBase(id))
	if err := errors.Join(os.Rename(base+plainKey, filepath.Join(dir, "issuing"+plainKey)), os.Remove(base+".pem"), os.Remove(filepath.Join(dir, ClientsFile))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Fatalf("as the first version left it: %v", err)
	}
	found, err := Findings(dir, time.Now())
	if err != nil || len(found) != 2 || !strings.Contains(strings.Join(found, " "), "not sealed") {
		t.Errorf("%q, %v", found, err)
	}
	a, err := Init(dir, "muster.test", sealed)
	if err != nil {
		t.Fatal(err)
	}
	if _, now := a.Issuing(); now != id {
		t.Errorf("another issuer, %s", now)
	}
	for name, content := range readAll(t, dir) {
		if strings.HasSuffix(name, plainKey) || strings.Contains(content, "PRIVATE KEY") {
			t.Errorf("%s stays", name)
		}
	}
	if found, err = Findings(dir, time.Now()); err != nil || len(found) != 1 || !strings.Contains(found[0], "root.key.age") {
		t.Errorf("%q, %v", found, err)
	}
	if _, err := RollIssuing(dir, sealed); err != nil {
		t.Errorf("by the sealed root key: %v", err)
	}
}

func TestTheIssuingCertificateIsRenewedInItsLastThird(t *testing.T) {
	a, dir := initAuthority(t)
	_, id := a.Issuing()
	if renewed, err := RenewIssuing(dir, time.Now(), sealed); renewed || err != nil {
		t.Errorf("at its begin: %v, %v", renewed, err)
	}
	late := a.Issuers()[0].NotAfter.Add(-issuingLife / 4)
	if found, err := Findings(dir, late); err != nil || len(found) != 2 || !strings.Contains(found[1], "roll it over") {
		t.Errorf("%q, %v", found, err)
	}
	if renewed, err := RenewIssuing(dir, late, sealed); !renewed || err != nil {
		t.Errorf("in its last third: %v, %v", renewed, err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, now := a.Issuing(); now == id {
		t.Error("it was not taken into use")
	}
	if err := os.Remove(filepath.Join(dir, RootKeyName+sealedKey)); err != nil {
		t.Fatal(err)
	}
	if renewed, err := RenewIssuing(dir, late, sealed); renewed || !errors.Is(err, ErrRootKeyAway) {
		t.Errorf("without the root's key: %v, %v", renewed, err)
	}
}

func TestAProcessThatRunsTakesARollOverUp(t *testing.T) {
	a, dir := initAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 8)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		_ = a.Follow(ctx, time.Millisecond, slog.New(slog.DiscardHandler), func() { changed <- struct{}{} })
	})
	id, err := RollIssuing(dir, sealed)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for {
		if _, now := a.Issuing(); now == id {
			break
		}
		select {
		case <-changed:
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatal("it never saw the new issuing certificate")
		}
	}
}
