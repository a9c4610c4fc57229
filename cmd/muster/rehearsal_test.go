package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
)

const smallest = `
scenario: smallest
about: Ten devices that send every second.
lasts: 1m
cohorts:
  - name: tiny
    devices: 10
    interval: 1s
    heartbeat: 3s
    metrics: [{name: temperature, model: {base: 21, noise: 0.5}}]
    radio: {duplicates: 5%, latency: 20ms}
`

// reported runs a simulation and reads its report.
func (l *local) reported(t *testing.T, args ...string) (r report.Report, said string) {
	t.Helper()
	out, said, code := l.muster(t.Context(), append([]string{"simulate", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("muster simulate %s: exit %d: %s%s", strings.Join(args, " "), code, out, said)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r, said
}

func unexplained(r report.Report) (n uint64) {
	for _, g := range r.Total.Gaps {
		if g.Class == report.Unexplained {
			n += g.Count
		}
	}
	return n
}

var summed = regexp.MustCompile(`sha256 of telemetry and events ([0-9a-f]{64})`)

func TestARehearsalIsReportedAndItsDataCanBeOpened(t *testing.T) {
	l := build(t)
	r, said := l.reported(t, "first-rehearsal", "--fast", "--weeks", "1", "--devices", "10", "--out", "first", "--workers", "1")
	if !r.Check.OK || r.Check.Arrived == 0 || r.Check.Stored != r.Check.Arrived || r.Mode != "fast" || len(r.Cohorts) != 3 || len(r.Total.Days) != 7 {
		t.Fatalf("%+v", r)
	}
	if n := unexplained(r); n > 0 {
		t.Errorf("%d silences are explained by nothing: %+v", n, r.Total.Gaps)
	}
	if r.Total.Heard == 0 || r.Total.Heard > r.Total.Due || r.Total.Duplicates != r.Total.Again {
		t.Errorf("%+v", r.Total)
	}
	first := summed.FindStringSubmatch(said)
	truthOf := func(dir string) []byte {
		raw, err := os.ReadFile(filepath.Join(l.dir, dir, "truth.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	_, said, code := l.muster(t.Context(), "simulate", "first-rehearsal", "--fast", "--weeks", "1", "--devices", "10", "--no-store", "--out", "again", "--workers", "3")
	if again := summed.FindStringSubmatch(said); code != 0 || len(first) == 0 || len(again) == 0 || first[1] != again[1] {
		t.Errorf("exit %d: one worker wrote %v, three wrote %v: %s", code, first, again, said)
	}
	if string(truthOf("first")) != string(truthOf("again")) {
		t.Error("one worker and three told different truths")
	}
	if _, lines, err := truth.Read(strings.NewReader(string(truthOf("first")))); err != nil || len(lines) < 10 {
		t.Errorf("the truth has %d lines, %v", len(lines), err)
	}

	// A stack begins with what was simulated, and its own fleet lives another scenario meanwhile.
	own := strings.NewReplacer("smallest", "own", "tiny", "own", "devices: 10", "devices: 3").Replace(smallest)
	if err := os.WriteFile(filepath.Join(l.dir, "own.yaml"), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	l.start(t, "--data", "first", "--scenario", "./own.yaml")
	got := strings.TrimSpace(l.must(t, "query", "--data", "first", "--format", "TSV", "SELECT count() FROM messages"))
	// Made of messages and of messages of events, all of them stored once.
	if n, err := strconv.ParseUint(got, 10, 64); err != nil || n < r.Check.Stored {
		t.Errorf("the store that was opened has %s messages, the report told of %d", got, r.Check.Stored)
	}

	// The stack that holds the simulation takes devices like any other: here by HTTPS and by MQTT, in real time.
	if err := os.WriteFile(filepath.Join(l.dir, "smallest.yaml"), []byte(smallest), 0o600); err != nil {
		t.Fatal(err)
	}
	l.must(t, "simulate", "check", "smallest.yaml")
	live, _ := l.reported(t, "./smallest.yaml", "--data", "first", "--for", "6s", "--mqtt", "0.5", "--out", "live")
	if !live.Check.OK || live.Check.Arrived < 30 || live.Mode != "real-time" || live.RealLag == nil {
		t.Errorf("%+v", live)
	}
	if live.Total.Stored != live.Check.Stored {
		t.Errorf("%d messages are counted, %d of them the simulation's: the stack's own fleet is not part of it", live.Total.Stored, live.Check.Stored)
	}
	l.eventually(t, "the devices of the stack's own scenario are heard", func() error {
		heard := strings.TrimSpace(l.must(t, "query", "--data", "first", "--format", "TSV", "SELECT uniq(device) FROM messages WHERE device LIKE 'own-%'"))
		if heard != "3" {
			return fmt.Errorf("%s of 3 devices", heard)
		}
		return nil
	})
}

func TestAScenarioThatCannotBeUsedIsRefusedWithThePlace(t *testing.T) {
	l := build(t)
	wrong := strings.Replace(smallest, "interval: 1s", "intervall: -1s", 1)
	if err := os.WriteFile(filepath.Join(l.dir, "wrong.yaml"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"simulate", "check", "wrong.yaml"}, {"simulate", "./wrong.yaml", "--fast"}, {"up", "--scenario", "./wrong.yaml"},
	} {
		out, said, code := l.muster(t.Context(), args...)
		if code != 2 || out != "" || !strings.HasPrefix(strings.TrimPrefix(said, "./"), "wrong.yaml:8:") || strings.Contains(said, "--help") || !strings.Contains(said, "intervall") {
			t.Errorf("muster %s: exit %d: %s%s", strings.Join(args, " "), code, out, said)
		}
	}
	for _, args := range [][]string{
		{"simulate", "no-such-scenario", "--fast"}, {"simulate", "--fast"}, {"simulate", "first-rehearsal", "--fast", "--for", "1m"},
		{"simulate", "first-rehearsal", "--workers", "2"}, {"simulate", "first-rehearsal", "--fast", "--scale", "0"}, {"simulate", "first-rehearsal", "--prefix", "x"},
		{"simulate", "first-rehearsal", "--fast", "--out", "."}, {"simulate", "first-rehearsal", "--fast", "--weeks", "0"},
	} {
		if _, said, code := l.muster(t.Context(), args...); code != 2 {
			t.Errorf("muster %s: exit %d, want 2: %s", strings.Join(args, " "), code, said)
		}
	}
	for _, verb := range [][]string{{"simulate", "first-rehersal", "--fast"}, {"up", "--scenario", "first_rehearsal"}} {
		if _, said, code := l.muster(t.Context(), verb...); code != 2 || !strings.Contains(said, "did you mean first-rehearsal?") {
			t.Errorf("muster %s: exit %d: %s", strings.Join(verb, " "), code, said)
		}
	}
}
