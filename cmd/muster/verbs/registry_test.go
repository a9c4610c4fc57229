package verbs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/services/registry/api"
	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/client"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/est"
	"muster.dev/services/registry/refusals"
	"muster.dev/services/registry/writer"
)

// office is a registry that a command line finds as that of a local stack.
type office struct {
	t   *testing.T
	dir string
}

func openOffice(t *testing.T) office {
	t.Helper()
	o := office{t: t, dir: t.TempDir()}
	if code, _, complaint := muster(t, "ca", "init", "--data", o.dir); code != ExitOK {
		t.Fatal(complaint)
	}
	dir, err := stack.OpenDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	options, err := dir.Authority()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := authority.Open(dir.CA(), options...)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(t.TempDir(), "server.pem"), filepath.Join(t.TempDir(), "server.key")
	if err := ca.EnsureServer(certFile, keyFile, authority.LoopbackHosts...); err != nil {
		t.Fatal(err)
	}
	broker, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", NoAuth: true, Partitions: 1, MaxMessageBytes: 8 << 20, OffsetsRetention: time.Hour, RetentionEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := eventlog.EnsureTopics(t.Context(), cl, eventlog.Topics(1, true)); err != nil {
		t.Fatal(err)
	}
	const token = "0123456789abcdef0123456789abcdef"
	log, metrics := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	w := writer.New(writer.Settings{Log: eventlog.Config{Brokers: []string{broker.Addr()}}, Logger: log, Metrics: metrics})
	attempts := refusals.New(refusals.Settings{Writer: w, Log: log, Metrics: metrics})
	operators, err := api.New(api.Settings{Config: api.Config{Listen: "127.0.0.1:0", Token: daemon.Secret(token)}, Writer: w, Authority: ca, Refusals: attempts, Log: log, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	devicesSide := est.DefaultConfig()
	devicesSide.Listen, devicesSide.CertFile, devicesSide.KeyFile = "127.0.0.1:0", certFile, keyFile
	door, err := est.New(est.Settings{Config: devicesSide, Writer: w, Authority: ca, Refusals: attempts, Log: log, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []func(context.Context) error{w.Run, attempts.Run, operators.Run, door.Run} { // the last one stops first
		ctx, cancel := context.WithCancel(context.Background())
		var room sync.WaitGroup
		room.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() { cancel(); room.Wait() })
	}
	der, _ := ca.Issuing()
	if _, err := w.Do(t.Context(), "registry", "in use", decide.DefineIssuer{Certificate: der}); err != nil {
		t.Fatal(err)
	}

	port := func(addr string) string {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	instance := fmt.Sprintf(`{"pid":1,"ports":{"registry":%s,"est":%s,"gateway":1}}`, port(operators.Addr()), port(door.Addr()))
	if err := os.MkdirAll(filepath.Join(o.dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{dir.SecretFile(stack.SecretOperator): token, filepath.Join(o.dir, "run", "stack.json"): instance} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.Create(filepath.Join(o.dir, "run", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return o
}

// run gives the exit code of a command line, and what it said.
func (o office) run(args ...string) (code int, out, said string) {
	o.t.Helper()
	return muster(o.t, append(args, "--data", o.dir)...)
}

// must runs a command line that works and whose output says what is wanted.
func (o office) must(wants string, args ...string) (out, said string) {
	o.t.Helper()
	code, out, said := o.run(args...)
	if code != ExitOK || !strings.Contains(out+said, wants) {
		o.t.Fatalf("%s: exit %d, %s%s; want %q", strings.Join(args, " "), code, out, said, wants)
	}
	return out, said
}

// refuses runs one that does not.
func (o office) refuses(want int, says string, args ...string) {
	o.t.Helper()
	if code, out, said := o.run(args...); code != want || !strings.Contains(said, says) || out != "" {
		o.t.Errorf("%s: exit %d, %q, %q; want exit %d and %q", strings.Join(args, " "), code, out, said, want, says)
	}
}

// read runs one with --json.
func read[A any](o office, args ...string) (a A) {
	o.t.Helper()
	out, _ := o.must("", append(args, "--json")...)
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&a); err != nil {
		o.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return a
}

func TestADeviceFromItsFirstDayToItsLast(t *testing.T) {
	o := openOffice(t)
	at := func(name string) string { return filepath.Join(o.dir, "identities", name) }
	o.must("enrolled boiler-7 as number 1", "device", "enroll", "boiler-7", "--cohort", "pilot", "--attribute", "site=berlin", "--interval", "30s", "--out", at("b7"))
	o.must("boiler-7", "device", "list", "--cohort", "pilot")
	first := read[v1.Device](o, "device", "show", "boiler-7")
	if first.State != v1.StateEnrolled || first.IntervalMS != 30_000 || first.Attributes["site"] != "berlin" || len(first.Certificates) != 1 {
		t.Errorf("%+v", first)
	}

	o.must("renewed boiler-7", "device", "renew", "--identity", at("b7"))
	again := read[renewed](o, "device", "renew", "--identity", at("b7"), "--keep-key")
	pair, err := tls.LoadX509KeyPair(filepath.Join(at("b7"), client.CertFile), filepath.Join(at("b7"), client.KeyFile))
	if err != nil || pair.Leaf.SerialNumber.Text(16) != again.Serial {
		t.Errorf("%v, %+v", err, again)
	}
	if d := read[v1.Device](o, "device", "show", "boiler-7"); len(d.Certificates) != 3 || d.Certificates[0].SPKI != d.Certificates[1].SPKI || d.Certificates[1].SPKI == d.Certificates[2].SPKI {
		t.Errorf("%+v", d.Certificates)
	}

	o.must("model=x", "device", "describe", "boiler-7", "model=x", "site-", "--why", "moved house")
	o.must("1 in cohort stable now", "device", "move", "boiler-7", "--cohort", "stable", "--why", "proven")
}

func TestAnEdgeGatewayIsLetSpeakForOthers(t *testing.T) {
	o := openOffice(t)
	for _, id := range []string{"edge", "d1", "d2"} {
		o.must("", "device", "enroll", id, "--cohort", "hall", "--out", filepath.Join(o.dir, "identities", id))
	}
	o.must("edge speaks for d1, d2, and all of cohort hall", "device", "act-for", "edge", "--device", "d2", "--device", "d1", "--cohort", "hall", "--why", "hall 3")
	o.must("acts for     d1, d2, and all of cohort hall", "device", "show", "edge")
	o.must("spoken for   edge", "device", "show", "d1")
	if got := read[v1.Acting](o, "device", "act-for", "edge", "--device", "d1", "--why", "d2 moved"); got.Device != "edge" || got.Cohort != "" || len(got.Devices) != 1 {
		t.Errorf("%+v", got)
	}
	o.must("edge    hall    enrolled  d1", "device", "list", "--acting")
	if all := read[[]v1.Device](o, "device", "list", "--acting"); len(all) != 1 || all[0].ActsFor == nil || len(all[0].ActsFor.Devices) != 1 {
		t.Errorf("%+v", all)
	}
	o.must("edge speaks for itself alone", "device", "act-for", "edge", "--nobody", "--why", "taken down")
	for _, args := range [][]string{{}, {"--nobody", "--cohort", "hall"}, {"--nobody", "--device", "d1"}} {
		o.refuses(ExitUsage, "or else --nobody", append([]string{"device", "act-for", "edge", "--why", "x"}, args...)...)
	}
	o.refuses(ExitFailed, "no device", "device", "act-for", "edge", "--device", "ghost", "--why", "x")
}

func TestWhatHitsManyAsksFirst(t *testing.T) {
	o := openOffice(t)
	for i := range 3 {
		o.must("", "device", "enroll", fmt.Sprintf("d%d", i), "--cohort", "pilot", "--out", filepath.Join(o.dir, "identities", fmt.Sprint(i)))
	}
	o.refuses(ExitUsage, "hits 3 devices that are not revoked: add --yes", "device", "revoke", "--cohort", "pilot", "--why", "keys shipped")
	o.refuses(ExitUsage, "hits 3 devices", "cohort", "revoke", "pilot", "--why", "keys shipped")
	issuing := read[caShown](o, "ca", "show").Issuing
	o.refuses(ExitUsage, "roll it over first", "device", "revoke", "--issuer", issuing, "--why", "stolen")
	o.refuses(ExitUsage, "muster ca show", "device", "revoke", "--issuer", "none", "--yes", "--why", "stolen")
	if left := read[[]v1.Device](o, "device", "list", "--state", "enrolled"); len(left) != 3 {
		t.Errorf("%d are left", len(left))
	}
	o.must("revoked 3 devices of cohort pilot", "device", "revoke", "--cohort", "pilot", "--yes", "--why", "keys shipped")
	o.must("revoked 0 devices", "cohort", "revoke", "pilot", "--why", "once more")
	o.must("revoked every certificate", "device", "revoke", "--issuer", issuing, "--yes", "--why", "stolen")
}

func TestIsolateRevokeReplace(t *testing.T) {
	o := openOffice(t)
	at := func(name string) string { return filepath.Join(o.dir, "identities", name) }
	o.must("", "device", "enroll", "boiler-7", "--cohort", "pilot", "--out", at("old"))
	o.must("held boiler-7 off", "device", "quarantine", "boiler-7", "--why", "odd traffic")
	o.refuses(ExitFailed, "quarantined", "device", "renew", "--identity", at("old"))
	o.must("held 1 devices", "cohort", "quarantine", "pilot", "--why", "all of them?")
	o.must("cohort pilot is held off", "device", "release", "boiler-7", "--why", "it was not it")
	o.must("let 1 devices", "cohort", "release", "pilot", "--why", "nor they")
	serial := read[v1.Device](o, "device", "show", "boiler-7").Certificates[0].Serial
	o.must("revoked certificate "+serial, "device", "revoke", "--serial", serial, "--why", "copied")
	o.must("revoked boiler-7, number 1, for good", "device", "revoke", "boiler-7", "--why", "stolen, ticket 4711")
	shown := read[identityShown](o, "device", "replace", "boiler-7", "boiler-7b", "--out", at("new"), "--why", "new mainboard")
	if shown.Replaces != "boiler-7" || shown.No != 2 {
		t.Errorf("%+v", shown)
	}
	o.must("replaced by boiler-7b", "device", "list")
	o.must("renewed boiler-7b", "device", "renew", "--identity", at("new"))
	o.refuses(ExitFailed, "revoked", "device", "renew", "--identity", at("old"))
}

func TestOperatorsHaveTokensOfTheirOwn(t *testing.T) {
	o := openOffice(t)
	file := filepath.Join(o.dir, "alice.token")
	o.must("token t-", "token", "create", "alice", "--role", "viewer", "--life", "12h", "--why", "on call", "--out", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	o.must("", "device", "list", "--token-file", file)
	o.refuses(ExitFailed, "needs the role operator, and the token of alice has viewer", "cohort", "set", "pilot", "--token-file", file, "--why", "x")
	all := read[[]v1.Token](o, "token", "list")
	if len(all) != 1 || all[0].Name != "alice" || all[0].State != "valid" {
		t.Fatalf("%+v", all)
	}
	o.must("withdrawn", "token", "withdraw", all[0].ID, "--why", "off call")
	o.refuses(ExitFailed, "Unauthorized", "device", "list", "--token-file", file)
	out, said := o.must("not shown again", "token", "create", "bob", "--role", "admin", "--why", "owner")
	if strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "muster_") || strings.Contains(said, strings.TrimSpace(out)) {
		t.Errorf("%q, %q", out, said)
	}
}

func TestWhatIsDefinedIsListed(t *testing.T) {
	o := openOffice(t)
	o.must("mon,tue,wed,thu,fri 22:00-06:00", "cohort", "set", "night", "--interval", "5m", "--sleep", "mon-fri 22:00-06:00", "--why", "dark plant")
	o.must("5m", "cohort", "set", "night", "--region", "eu", "--why", "residency") // what is not named stays
	o.must("mon,tue,wed,thu,fri", "cohort", "show", "night")
	o.must("night", "cohort", "list")
	o.refuses(ExitUsage, "--sleep", "cohort", "set", "night", "--sleep", "always", "--why", "x")
	o.must("site=berlin", "group", "set", "berlin", "site=berlin", "--why", "report")
	o.must("berlin", "group", "list")
	o.must("GROUP", "group", "remove", "berlin", "--why", "over")
	o.must("eu", "region", "set", "eu", "https://eu.example:8443", "--why", "residency")
	o.must("https://eu.example:8443", "region", "list")
	o.must("pumps", "line", "set", "pumps", "--cohort", "intake", "--profile", "pump", "--interval", "1m", "--why", "new product")
	o.must("intake", "line", "list")

	out, _ := o.must("p-", "password", "create", "--line", "pumps", "--device", "pump-1", "--life", "2d", "--why", "commissioning")
	if len(strings.TrimSpace(out)) != 32 {
		t.Errorf("the secret: %q", out)
	}
	all := read[[]v1.Password](o, "password", "list", "--state", "usable")
	if len(all) != 1 || all[0].Device != "pump-1" || time.Until(all[0].NotAfter) > 48*time.Hour {
		t.Fatalf("%+v", all)
	}
	o.must("withdrawn", "password", "withdraw", all[0].ID, "--why", "not needed")

	dir, err := stack.OpenDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	o.must("acme", "manufacturer", "trust", "acme", dir.RootCertificate(), "--why", "contract") // any authority's will do
	list := filepath.Join(o.dir, "claims.csv")
	if err := os.WriteFile(list, []byte("serial,name\nSN1,pump-1\nSN2\n# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.must("3", "claim", "add", "acme", "SN3=pump-3", "--file", list, "--line", "pumps", "--why", "delivery")
	o.must("acme-sn2", "claim", "list", "acme", "SN1", "SN2", "SN3")
	o.must("acme-sn2", "claim", "list", "acme")
	o.refuses(ExitFailed, `there is no manufacturer "nobody"`, "claim", "list", "nobody")
	o.must("1", "claim", "remove", "acme", "SN3", "--why", "returned")
	o.must("acme", "manufacturer", "list")
	o.must("enrol nobody any more", "manufacturer", "distrust", "acme", "--why", "bankrupt")
	o.refuses(ExitUsage, "want serial numbers", "claim", "add", "acme", "--line", "pumps", "--why", "x")
	o.must("rotated in time", "security")
	if _, _, said := muster(t, "security", "--data", o.dir); !strings.Contains(said, "signs of cloned identities and refused attempts are not among the findings") {
		t.Errorf("without a warehouse: %s", said)
	}
	o.must("issues", "ca", "show")
}

func TestEveryChangeSaysWhy(t *testing.T) {
	var calls [][]string
	var began bool
	for c := range all(root(World{}, &began)) {
		if c.Flags().Lookup("why") == nil {
			continue
		}
		calls = append(calls, strings.Fields(c.CommandPath()))
	}
	if len(calls) < 20 {
		t.Fatalf("only %d verbs say why", len(calls))
	}
	for _, call := range calls {
		if call[2] == "enroll" {
			continue
		}
		if code, _, said := muster(t, append(call[1:], "a", "b=c")...); code != ExitUsage {
			t.Errorf("%v: exit %d, %s", call, code, said)
		}
	}
}

func TestAnAuthorityIsMadeBeforeAnythingElse(t *testing.T) {
	dir, stick := t.TempDir(), t.TempDir()
	code, out, said := muster(t, "ca", "init", "--data", filepath.Join(dir, "fleet"), "--trust-domain", "acme.example", "--root-key", filepath.Join(stick, "root"))
	if code != ExitOK || !strings.Contains(out, "acme.example") || !strings.Contains(said, filepath.Join(stick, "root")+".key.age") || !strings.Contains(said, "keep a copy") {
		t.Fatalf("exit %d: %s%s", code, out, said)
	}
	if key, err := os.ReadFile(filepath.Join(stick, "root.key.age")); err != nil || bytes.Contains(key, []byte("PRIVATE KEY")) {
		t.Errorf("%v: %.30s", err, key)
	}
	shown := func(args ...string) (s caShown) {
		t.Helper()
		code, out, said := muster(t, append(args, "--json", "--data", filepath.Join(dir, "fleet"))...)
		if code != ExitOK {
			t.Fatalf("%v: exit %d: %s", args, code, said)
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := shown("ca", "show")
	if len(first.Roots) != 1 || len(first.Issuers) != 1 || len(first.Findings) != 0 {
		t.Errorf("%+v", first)
	}
	if again := shown("ca", "init", "--trust-domain", "acme.example", "--root-key", filepath.Join(stick, "root")); again.Issuing != first.Issuing {
		t.Error("a second init made another")
	}
	if code, _, said := muster(t, "ca", "roll", "--data", filepath.Join(dir, "fleet")); code != ExitFailed || !strings.Contains(said, "root's key") {
		t.Errorf("a roll-over without the root's key: exit %d: %s", code, said)
	}
	rolled := shown("ca", "roll", "--root-key", filepath.Join(stick, "root"))
	if rolled.Issuing == first.Issuing || len(rolled.Issuers) != 2 {
		t.Errorf("%+v", rolled)
	}
	rooted := shown("ca", "roll", "--root", "--old-root-key", filepath.Join(stick, "root"), "--root-key", filepath.Join(stick, "next"))
	if len(rooted.Roots) != 2 {
		t.Errorf("%+v", rooted.Roots)
	}
	if left := shown("ca", "retire", rooted.Roots[1].Issuer); len(left.Roots) != 1 || left.Roots[0].Issuer == first.Roots[0].Issuer {
		t.Errorf("%+v", left.Roots)
	}
	if code, _, said := muster(t, "ca", "retire", rooted.Roots[0].Issuer, "--data", filepath.Join(dir, "fleet")); code != ExitFailed || !strings.Contains(said, "in use") {
		t.Errorf("exit %d: %s", code, said)
	}
	if code, _, said := muster(t, "ca", "show", "--data", dir); code != ExitFailed || !strings.Contains(said, "ca-seal") {
		t.Errorf("where there is none: exit %d: %s", code, said)
	}
}

func TestDurationsHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "7d": 7 * 24 * time.Hour, "12h": 12 * time.Hour, "90m": 90 * time.Minute} {
		var s span
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(s), err)
		}
		var back span
		if err := back.Set(s.String()); err != nil || back != s {
			t.Errorf("%s reads back as %s: %v", text, s.String(), err)
		}
	}
	for _, bad := range []string{"", "d", "-1d", "1dd", "99999999d", "-5s", "soon"} {
		if err := new(span).Set(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
