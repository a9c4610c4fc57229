package field

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/fleet/edge"
	"muster.dev/platform/daemon"
	"muster.dev/proto/batch"
)

// The page's configuration and the page's client, as they stand but for where things are.
func TestTheEdgeOfThePage(t *testing.T) {
	t.Parallel()
	tool(t, "mosquitto_pub")
	s := open(t, "hall-3-edge", "press-1")
	s.letAct("hall-3-edge", "press-1")
	s.start()
	places := s.configure("hall-3-edge")
	cfg := edge.DefaultConfig()
	path := filepath.Join(t.TempDir(), "edge.yaml")
	text, _, ok := strings.Cut(block(t, "edge.md", "An edge beside the local stack", "sh\ncat > edge.yaml <<'END'"), "\nEND\n")
	if !ok {
		t.Fatal("the page has no configuration")
	}
	for from, to := range map[string]string{
		".muster/hall-3-edge-data": places.Data, ".muster/hall-3-edge ": places.Identity + " ", "127.0.0.1:9120": "127.0.0.1:0",
		"127.0.0.1:1883": places.MQTT.Listen, "127.0.0.1:8443": s.https,
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the page's configuration has no %q", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	write(t, path, text)
	if err := daemon.Load(path, &cfg, nil); err != nil {
		t.Fatal(err)
	}
	e := s.edge(cfg)
	script := block(t, "edge.md", "An edge beside the local stack", "console")
	script = strings.ReplaceAll(script, "-p 1883", "-p "+portOf(t, cfg.MQTT.Listen))
	for _, line := range []string{script, strings.ReplaceAll(script, `"temp_c":21.5`, `"debug_heap":7,"t":3`)} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v %s", line, err, out)
		}
	}
	eventually(t, "the edge still holds messages", e.empty)
	var got []string
	for k, value := range s.read().messages {
		if k.device != "press-1" {
			continue
		}
		var b batch.Batch
		if err := b.Decode(value); err != nil {
			t.Fatal(err)
		}
		for i := range b.Columns {
			for step := range b.Times {
				if b.Columns[i].Has(step) {
					got = append(got, string(b.Columns[i].Name)+"="+string(b.AppendValue(nil, i, step)))
				}
			}
		}
	}
	all := " " + strings.Join(got, " ") + " "
	if len(got) != 4 || strings.Count(all, " running=true ") != 2 || !strings.Contains(all, " temp_c=21.5 ") || !strings.Contains(all, " temp_c=3") {
		t.Errorf("the log has %q", got)
	}
}
