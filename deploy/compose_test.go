package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func load(t *testing.T) *types.Project {
	t.Helper()
	opts, err := cli.NewProjectOptions([]string{"compose/compose.yaml"}, cli.WithName("muster-test"), cli.WithOsEnv)
	if err != nil {
		t.Fatal(err)
	}
	p, err := opts.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("the Compose file does not load: %v", err)
	}
	return p
}

// oneShots end by themselves: whoever needs them waits for their success instead of their health.
var oneShots = []string{"bootstrap", "principals", "migrate"}

// shellless images have nothing that a health check could run; the collector answers on 13133 for a probe
// from outside.
var shellless = []string{"otel-collector"}

func TestEveryPortIsBoundToLoopback(t *testing.T) {
	published := 0
	for name, s := range load(t).Services {
		for _, p := range s.Ports {
			published++
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q: bind it to 127.0.0.1", name, p.Published, p.HostIP)
			}
		}
	}
	if published < 5 {
		t.Errorf("%d ports published: the gateway, the registry, ClickHouse, Kafka and Grafana are to be reached", published)
	}
}

func TestEveryImageIsPinned(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:v?\d+(\.\d+)+$`)
	for name, s := range load(t).Services {
		if s.Image == "muster/services:local" {
			continue // built from this tree
		}
		if !pinned.MatchString(s.Image) {
			t.Errorf("%s runs %q: name an exact version", name, s.Image)
		}
	}
}

func TestEveryServiceSaysWhenItIsHealthy(t *testing.T) {
	for name, s := range load(t).Services {
		switch {
		case slices.Contains(oneShots, name):
			if s.Restart != "no" {
				t.Errorf("%s is a one-shot but restarts %q", name, s.Restart)
			}
		case slices.Contains(shellless, name):
		case s.HealthCheck == nil || len(s.HealthCheck.Test) == 0:
			t.Errorf("%s has no health check", name)
		}
		for dep, d := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if slices.Contains(oneShots, dep) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if d.Condition != want {
				t.Errorf("%s waits for %s to be %q, want %q", name, dep, d.Condition, want)
			}
		}
	}
}

func TestOurServicesRunAsUsersOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for name, s := range load(t).Services {
		if s.Image != "muster/services:local" {
			continue
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may write its image, keeps capabilities or may gain privileges", name)
		}
		if name == "bootstrap" {
			if s.NetworkMode != "none" {
				t.Error("bootstrap runs as root to hand out files: it has no business on a network")
			}
			continue
		}
		if s.User == "" || strings.HasPrefix(s.User, "0") || strings.HasPrefix(s.User, "root") {
			t.Errorf("%s runs as %q", name, s.User)
		}
		if other, ok := seen[s.User]; ok {
			t.Errorf("%s and %s share user %s, and so their secrets", name, other, s.User)
		}
		seen[s.User] = name
	}
}

func TestTheProjectHasNoNameOfItsOwn(t *testing.T) {
	src, err := os.ReadFile("compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^name:`).Match(src) {
		t.Error("a top-level name makes two checkouts on one machine fight over their containers")
	}
}

func TestEveryMountedFileExists(t *testing.T) {
	for name, s := range load(t).Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s mounts %v", name, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s may write %s", name, v.Source)
			}
		}
	}
}

func TestRedpandaKeepsWhatItAcknowledges(t *testing.T) {
	start, err := os.ReadFile("compose/redpanda/start.sh")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(start, []byte("--mode dev")) || bytes.Contains(start, []byte("unsafe")) {
		t.Error("a development mode skips fsync")
	}
	boot, err := os.ReadFile("compose/redpanda/bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`write_caching_default: "disabled"`, "enable_sasl: true", "group_offset_retention_sec: 2592000"} {
		if !bytes.Contains(boot, []byte(want)) {
			t.Errorf("bootstrap.yaml lacks %q", want)
		}
	}
}

func TestDashboardsAskOnlyProvisionedSources(t *testing.T) {
	files, err := filepath.Glob("compose/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			UID    string
			Panels []struct {
				Title      string
				Type       string
				Datasource struct{ UID string }
				Targets    []map[string]any
			}
		}
		if err := json.Unmarshal(src, &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if d.UID == "" || len(d.Panels) == 0 {
			t.Errorf("%s has no uid or no panels", f)
		}
		for _, p := range d.Panels {
			if p.Type == "row" || p.Type == "text" {
				continue
			}
			if p.Datasource.UID != "clickhouse" && p.Datasource.UID != "prometheus" {
				t.Errorf("%s: panel %q asks %q", f, p.Title, p.Datasource.UID)
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s: panel %q asks nothing", f, p.Title)
			}
		}
	}
}
