package deploy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"muster.dev/platform/daemon"
	"muster.dev/platform/principals"
	"muster.dev/services/anomaly"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/sink"
	"muster.dev/services/registry"
	"muster.dev/services/registry/bootstrap"
	"muster.dev/services/retention"
)

// valid loads a service's configuration as the service itself would, with the secrets that the bootstrap makes
// under dir.
func valid(t *testing.T, name, dir string, cfg any) {
	t.Helper()
	src, err := os.ReadFile("compose/config/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(src), "/identity", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	if err := daemon.Load(path, cfg, none); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if v, ok := cfg.(daemon.Validator); ok {
		if err := v.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryServiceTakesItsConfiguration(t *testing.T) {
	dir := t.TempDir()
	if _, err := bootstrap.Make(dir, "muster.local", bootstrap.Compose(), nil); err != nil {
		t.Fatal(err)
	}
	g, s, r, k, m := gateway.DefaultConfig(), sink.DefaultConfig(), registry.DefaultConfig(), retention.DefaultConfig(), retention.DefaultMigrationConfig()
	valid(t, "gateway", dir, &g)
	valid(t, "sink", dir, &s)
	valid(t, "registry", dir, &r)
	valid(t, "retention", dir, &k)
	valid(t, "migrate", dir, &m)
	a := anomaly.DefaultConfig()
	valid(t, "anomaly", dir, &a)
	rights := principals.DefaultConfig()
	valid(t, "principals", dir, &rights)
	if r.Topics.Partitions != 48 || r.Topics.Local {
		t.Errorf("topics are %+v: production's have 48 partitions and no bound in bytes", r.Topics)
	}
	if r.EST.Listen != "0.0.0.0:8444" || r.CASeal == "" {
		t.Errorf("the devices' side listens on %q", r.EST.Listen)
	}
	for name, log := range map[string]string{principals.Gateway: g.Log.User, principals.Sink: s.Log.User, principals.Registry: r.Log.User, principals.Anomaly: a.Log.User, principals.Admin: rights.Log.User} {
		if log != name {
			t.Errorf("%s logs in as %q", name, log)
		}
	}
}

func TestEachProcessRunsAsTheUserThatHoldsItsFiles(t *testing.T) {
	p := load(t)
	for _, h := range bootstrap.Compose() {
		s, ok := p.Services[h.Name]
		if !ok || s.User == "" {
			continue // the engines' images choose their own
		}
		uid, _, _ := strings.Cut(s.User, ":")
		if want := strconv.Itoa(h.UID); uid != want {
			t.Errorf("%s runs as %s, its files belong to %s", h.Name, uid, want)
		}
	}
}
