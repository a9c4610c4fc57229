package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/platform/warehouse"
)

// page is a page of the documents whose commands are run as they stand.
type page struct {
	file string
	// shows is what the output of a block must hold, by a piece of the block.
	shows map[string][]string
}

// The pages in the order in which they are followed. What the second needs beside the first is enrolled between them.
var pages = []page{
	{"docs/enrolment.md", map[string][]string{
		"device enroll kiln-1":            {"ca.pem", "cert.pem", "key.pem"},
		"for name in kiln-1":              {strings.Repeat(`{"status":"stored","values":1,"delivery":"at-least-once"}`, 3)},
		"device renew --identity":         {"renewed kiln-2"},
		"bin/muster manufacturer trust":   {"Acme devices", "SERIALS"},
		"/.well-known/est/simpleenroll |": nil,
	}},
	{"docs/runbooks/compromised-device.md", map[string][]string{
		"bin/muster security ":                  {"rotated in time", "the root's key is still in the data directory", "device-enrolled [boiler-7"},
		"device quarantine boiler-7":            {"held boiler-7 off"},
		"device revoke boiler-7":                {"revoked boiler-7"},
		"device replace":                        {"boiler-7b", `"status":"stored"`},
		"audit list --device boiler-7 --last 3": {"device-revoked [boiler-7] by operator: stolen from the depot, ticket 4711", "each follows the one before it"},
		"SELECT maxOrNull(got)":                 {"last_heard"},
		"device release boiler-8":               {"let boiler-8 in again", "revoked", "good"},
		"cohort quarantine pilot":               {"held", "let"},
		"manufacturer list":                     {"acme", "batch-2"},
		"ca show":                               {"issues"},
	}},
	{"docs/runbooks/audit-finding.md", map[string][]string{
		"--file .muster/registry-now.jsonl": {"records exported", "registry-now.jsonl: "},
		"--since":                           {"kept"},
	}},
	{"docs/runbooks/silent-cohort.md", map[string][]string{"cohort list": {"pilot"}}},
	{"docs/runbooks/gateway-or-region-out.md", map[string][]string{"--watermarks": nil}},
	{"docs/runbooks/update-failure.md", map[string][]string{
		"incident list --kind update-failure": {
			"─updated_failed─┬─others_failed─┬─drawn_failed─┬─drawn_others_failed─┬─health_of─",
			"│ 3 of 31        │ 1 of 199      │ 20 of 48     │ 4 of 202            │ 6 and 18  │",
		},
	}},
	{"docs/runbooks/unusual-telemetry.md", map[string][]string{"FROM samples_1m": nil}},
	{"docs/runbooks/runaway-cost.md", map[string][]string{"FROM ledger": nil}},
	{"docs/runbooks/security-sign.md", map[string][]string{"audit list --last 20": {"latest"}}},
	{"docs/mqtt.md", map[string][]string{
		"device enroll press-7":   {"ca.pem"},
		"mosquitto_pub -L mqtts:": {"stored"},
		"mosquitto_pub -V mqttv5": {"Implementation specific", `the name "Temp C"`},
	}},
	{"docs/edge.md", map[string][]string{
		"device act-for hall-3-edge": {"ca.pem"},
		"--check":                    {"configuration is valid"},
		"edge password press-1":      nil,
	}},
}

// asTheDevice is in blocks that say something as a device: on the runbook's page the same words, once isolated and once revoked.
const asTheDevice = "-d '{\"readings\""

// TestRunbooks follows the pages on a stack of its own, as somebody does who has never seen it.
func TestRunbooks(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	stacktest.Require(t, inPath("curl") && inPath("openssl") && inPath("xargs"), "curl, openssl and xargs")
	l := build(t)
	docs, err := filepath.Abs("../../docs")
	if err == nil {
		err = os.Symlink(docs, filepath.Join(l.dir, "docs"))
	}
	if err != nil {
		t.Fatal(err)
	}
	l.start(t, "--devices", "0")
	l.ready(t)
	for _, p := range pages {
		if p.file == "docs/runbooks/compromised-device.md" {
			for _, name := range []string{"boiler-7", "boiler-8"} {
				l.must(t, "device", "enroll", name, "--cohort", "pilot", "--out", ".muster/"+name)
			}
			l.must(t, "cohort", "set", "batch-2", "--why", "a place for the batch")
			l.asDevice(t, "boiler-7", `"status":"stored"`)
		}
		if p.file == "docs/runbooks/update-failure.md" {
			l.verdict(t)
		}
		if !t.Run(p.file, func(t *testing.T) { l.follow(t, p) }) {
			return
		}
	}
}

// verdict stores one about a rollout, as the detector's service does: this stack has none.
func (l *local) verdict(t *testing.T) {
	t.Helper()
	ports, err := stack.PortsAt(l.offset)
	if err != nil {
		t.Fatal(err)
	}
	w, err := warehouse.Open(stack.Store(stack.Dir(filepath.Join(l.dir, ".muster")), ports))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	row := `INSERT INTO muster.verdict_rows (n, rollout, stage, at, verdict, effect, low, high, treated, control, failed_treated, failed_control, drawn_treated, drawn_control, drawn_failed_treated, drawn_failed_control, compared_treated, compared_control, exposure_ms, why)
VALUES (1, 'fw-2', 1, now64(3), 'fail', 25, 5, 100, 31, 199, 3, 1, 48, 202, 20, 4, 6, 18, 930 * 60000, 'they never began')`
	if err := w.Conn().Exec(t.Context(), row); err != nil {
		t.Fatal(err)
	}
}

// asDevice waits until what a device gets for its message, or its client says, holds some words.
func (l *local) asDevice(t *testing.T, name, want string) {
	t.Helper()
	script := fmt.Sprintf(`curl -sS --cacert .muster/%[1]s/ca.pem --cert .muster/%[1]s/cert.pem --key .muster/%[1]s/key.pem -H 'Content-Type: application/json' `+
		`-d '{"readings":[{"ts":'$(date +%%s)'000,"metrics":{"temp_c":21.5}}]}' https://127.0.0.1:%[2]d/v1/telemetry || echo "refused, curl $?"`, name, 8443+l.offset)
	l.eventually(t, name+" is answered "+want, func() error {
		if out := l.bash(t, script); !strings.Contains(out, want) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// follow runs a page's commands.
func (l *local) follow(t *testing.T, p page) {
	raw, err := os.ReadFile(filepath.Join("../..", p.file))
	if err != nil {
		t.Fatal(err)
	}
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+)`)
	seen := map[string]bool{}
	asked := 0
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(raw), -1) {
		block := m[1]
		if strings.Contains(block, "pki --") && !inPath("pki") {
			t.Log("SKIPPED: strongSwan's pki is not here")
			continue
		}
		if strings.Contains(block, "mosquitto_pub") {
			stacktest.Require(t, inPath("mosquitto_pub"), "mosquitto_pub")
			l.known(t, ".muster/press-7")
		}
		script := port.ReplaceAllStringFunc(block, func(addr string) string {
			var n int
			if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &n); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("127.0.0.1:%d", n+l.offset)
		})
		if strings.Contains(block, asTheDevice) && strings.Contains(block, ".muster/boiler-7/") {
			// Gateways follow within two seconds: whoever reads the page takes longer, a test does not.
			asked++
			want := map[int]string{1: `"reason":"quarantined"`, 2: "refused, curl "}[asked]
			l.asDevice(t, "boiler-7", want)
			if out := l.bash(t, script); !strings.Contains(out, want) {
				t.Errorf("%s\n%s\nwant %s", block, out, want)
			}
			continue
		}
		if strings.Contains(block, "device replace") {
			cut := strings.Index(script, "curl ")
			out := l.bash(t, script[:cut])
			l.asDevice(t, "boiler-7b", `"status":"stored"`)
			out += l.bash(t, script[cut:])
			script, block = "cat <<'END'\n"+out+"\nEND", block+"\n"
		}
		if strings.Contains(block, "for name in kiln-1") {
			l.known(t, ".muster/kiln-4")
		}
		if strings.Contains(block, "SELECT device FROM audit") {
			l.eventually(t, "the audit's rows are in the warehouse", func() error {
				if out := l.must(t, "query", "-f", "TSV", "SELECT count() FROM audit WHERE type = 'device-enrolled' AND device = 'kiln-4'"); out != "1\n" {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
		}
		out := l.bash(t, script)
		for piece, wants := range p.shows {
			if !strings.Contains(block, piece) {
				continue
			}
			seen[piece] = true
			for _, want := range wants {
				if !strings.Contains(out, want) {
					t.Errorf("%s\n%s\nwant %s", block, out, want)
				}
			}
		}
	}
	for piece := range p.shows {
		if !seen[piece] {
			t.Errorf("no block of %s has %q: has the page changed?", p.file, piece)
		}
	}
	if p.file == "docs/runbooks/compromised-device.md" {
		l.afterwards(t)
	}
}

// afterwards holds the end of the runbook's story to the whole system.
func (l *local) afterwards(t *testing.T) {
	// The new key opens the gateway, the one that was out does not.
	if err := exec.CommandContext(t.Context(), "test", "-s", filepath.Join(l.dir, ".muster/boiler-8-new/cert.pem")).Run(); err != nil {
		t.Error("no certificate was written for the new key")
	}
	l.asDevice(t, "boiler-8-new", `"status":"stored"`)
	l.asDevice(t, "boiler-8", "refused, curl ")
	l.asDevice(t, "boiler-7", "refused, curl ")
	if out := l.must(t, "device", "list", "--cohort", "batch-2"); !strings.Contains(out, "kiln-4") {
		t.Errorf("the batch was not moved: %s", out)
	}
	l.eventually(t, "the warehouse knows who stands in whose place", func() error {
		out := l.must(t, "query", "-f", "TSV", "SELECT device, revoked, replaces, replaced_by FROM devices WHERE device LIKE 'boiler-7%' ORDER BY device")
		if out != "boiler-7\ttrue\t\tboiler-7b\nboiler-7b\tfalse\tboiler-7\t\n" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}
