package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// promtool holds each process's metrics to what Prometheus advises, and to the page that explains them.
func (l *local) promtool(t *testing.T, ports stack.Ports) {
	stacktest.Require(t, inPath("promtool"), "promtool")
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	family := regexp.MustCompile(`(?m)^# TYPE (muster_\S+) (\S+)$`)
	for process := range ports.Ops {
		resp, err := http.Get(ports.OpsURL(process) + "/metrics")
		if err != nil {
			t.Errorf("%s: %v", process, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", process, resp.Status, err)
			continue
		}
		cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
		cmd.Stdin = bytes.NewReader(body)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: promtool check metrics: %v\n%s", process, err, out)
		}
		found := family.FindAllStringSubmatch(string(body), -1)
		if len(found) == 0 {
			t.Errorf("%s tells nothing of itself", process)
		}
		for _, m := range found {
			if !bytes.Contains(page, fmt.Appendf(nil, "| `%s` | %s |", m[1], m[2])) {
				t.Errorf("%s: docs/metrics.md does not have %s as a %s", process, m[1], m[2])
			}
		}
	}
}

// kcat reads the log as any user may: with the reader's secret, in a program that knows nothing of us.
func (l *local) kcat(t *testing.T, ports stack.Ports) {
	stacktest.Require(t, inPath("kcat") && inPath("curl"), "kcat and curl")
	secret, err := os.ReadFile(filepath.Join(l.dir, ".muster", "secrets", stack.SecretKafkaReader))
	if err != nil {
		t.Fatal(err)
	}
	read := func(topic string, format ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "kcat", append([]string{"-b", stack.Loopback(ports.Kafka), "-C", "-t", topic, "-o", "beginning", "-e", "-q",
			"-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanisms=SCRAM-SHA-256", "-X", "sasl.username=reader",
			"-X", "sasl.password=" + strings.TrimSpace(string(secret))}, format...)...)
		var complaint bytes.Buffer // what the client's library warns of is no record
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s%s", topic, err, out[:min(len(out), 2000)], complaint.String())
		}
		return string(out)
	}

	// Of telemetry, what stands beside the value says whose it is.
	l.eventually(t, "telemetry of two devices is read", func() error {
		stamped := map[string]uint32{}
		for line := range strings.Lines(read(record.TopicTelemetry, "-J")) {
			var r struct {
				Key     string
				Headers []string // names and values in turn
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if r.Key == "" {
				continue // a gateway's watermark
			}
			if len(r.Headers) < 2 || r.Headers[0] != record.HeaderDevice {
				t.Fatalf("%s: headers %q", r.Key, r.Headers)
			}
			d, err := record.ParseDevice([]byte(r.Headers[1]))
			if err != nil {
				t.Fatalf("%s: %v", r.Key, err)
			}
			stamped[r.Key] = d.No
		}
		if stamped["demo"] == 0 || stamped["sim-0001"] == 0 || stamped["demo"] == stamped["sim-0001"] {
			return fmt.Errorf("%v", stamped)
		}
		return nil
	})

	// Of an event, all: the value is a plain MsgPack map under CloudEvents headers.
	boot := time.Now().Unix()
	l.bash(t, fmt.Sprintf(`curl -sS --fail-with-body --cacert .muster/demo/ca.pem --cert .muster/demo/cert.pem --key .muster/demo/key.pem \
		-H 'Content-Type: application/json' -d '{"boot":%d,"seq":0,"fw":"2.1.0","events":[{"ts":%d000,"type":"crash","reason":"watchdog"}]}' %s/v1/events`,
		boot, boot, ports.GatewayURL()))
	var headers string
	for rest := read(record.TopicEvents, "-f", "%k|%S|%h|%s"); rest != ""; {
		parts := strings.SplitN(rest, "|", 4)
		size, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		if parts[0] == "demo" {
			headers = parts[2]
			m, err := event.DecodeMessage([]byte(parts[3][:size]))
			if err != nil || int64(m.Boot) != boot || m.Firmware != "2.1.0" || len(m.Events) != 1 || m.Events[0].Type != event.Crash || m.Events[0].Fields["reason"] != "watchdog" {
				t.Errorf("the event reads %+v, %v", m, err)
			}
		}
		rest = parts[3][size:]
	}
	for _, want := range []string{"ce_type=" + event.TypeDevice, "ce_specversion=1.0", fmt.Sprintf("ce_id=%d/0", boot), "ce_source=/muster/device/demo", "content-type=application/msgpack"} {
		if !strings.Contains(headers, want) {
			t.Errorf("the event's headers are %q, without %s", headers, want)
		}
	}
	if first, _, _ := strings.Cut(read(record.TopicRegistry, "-f", "%h\n"), "\n"); !strings.Contains(first, "ce_type=muster.") || !strings.Contains(first, "ce_specversion=1.0") {
		t.Errorf("the registry's first record has headers %q", first)
	}
}
