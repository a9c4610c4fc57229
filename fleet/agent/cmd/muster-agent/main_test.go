package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/agent/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const largest = 10 << 20

// TestTheProgramIsSmallAndNeedsNothingBesideIt builds it as docs/agent.md says. -trimpath, which makes it a little smaller,
// is left out here: what is compiled then serves other tests too.
func TestTheProgramIsSmallAndNeedsNothingBesideIt(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; it builds the program")
	}
	targets := [][]string{{}}
	if os.Getenv("MUSTER_TORTURE") == "full" { // each compiles the standard library for another machine
		targets = append(targets, []string{"GOARCH=arm", "GOARM=6"}, []string{"GOARCH=arm64"}, []string{"GOARCH=amd64"})
	}
	for _, env := range targets {
		name := filepath.Join(t.TempDir(), "muster-agent")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", name, ".")
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS=linux"), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", env, err, out)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %d bytes", env, info.Size())
		if info.Size() >= largest {
			t.Errorf("%v: %d bytes, want less than %d", env, info.Size(), largest)
		}
		f, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%v: it has an ELF interpreter", env)
			}
		}
		f.Close()
	}
}

func noEnv(string) string { return "" }

func TestSettingsComeFromFlagsThenTheEnvironmentThenTheFile(t *testing.T) {
	dir := t.TempDir()
	conf := "# the pump's\n\nheartbeat = 5m\nbatch-age=3s\nring-bytes = 8MiB\nring-order = newest-first\ngateway = https://file:1\n"
	if err := os.WriteFile(filepath.Join(dir, dirFile), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string {
		return map[string]string{envPrefix + "GATEWAY": "https://env:1", envPrefix + "BATCH_AGE": "4s"}[name]
	}
	s, rest, err := load("run", []string{"--dir", dir, "--batch-age", "5s", "x"}, env, &bytes.Buffer{})
	if err != nil || len(rest) != 1 {
		t.Fatal(err)
	}
	if s.Heartbeat != 5*time.Minute || s.BatchAge != 5*time.Second || s.Ring.Bytes != 8<<20 || s.Ring.Order != ring.NewestFirst || s.Send.Gateway != "https://env:1" {
		t.Errorf("%+v", s)
	}
	if s.Identity != dir || s.State != filepath.Join(dir, "state") || s.socket != filepath.Join(dir, "socket") {
		t.Errorf("%q %q %q", s.Identity, s.State, s.socket)
	}
	if err := s.Config.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"heartbeat", "heart-beat = 5m", "config = x", "heartbeat = soon", "ring-bytes = 1TiB", "ring-order = random"} {
		name := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(name, []byte("# one\n"+bad+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var wrong *misuse
		if _, _, err := load("run", []string{"--config", name}, noEnv, &bytes.Buffer{}); !errors.As(err, &wrong) || !strings.Contains(err.Error(), name+":2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, _, err := load("run", []string{"--config", filepath.Join(dir, "none")}, noEnv, &bytes.Buffer{}); err == nil {
		t.Error("a file that was named and is not there was passed over")
	}
}

func TestWhatIsWrongIsSaidAndTheExitCodeShowsIt(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", exitUsage, "usage:"},
		{"fly", exitUsage, "no verb"},
		{"run --no-such-flag", exitUsage, "no-such-flag"},
		{"run extra", exitUsage, "takes no"},
		{"enrol --dir " + dir, exitUsage, "est"},
		{"enrol --est https://h:1 --device d --dir " + dir, exitUsage, "one-time password"},
		{"run --gateway x --dir " + dir, exitUsage, "gateway"},
		{"run --dir " + dir, 1, "`muster-agent enrol` gets one"},
		{"put --dir " + dir + " a 1", exitNobody, "start one with `muster-agent run`"},
		{"status --dir " + dir, exitNobody, "no agent listens"},
		{"version", 0, "muster-agent"},
		{"help", 0, "usage:"},
		{"run -h", 0, "ring-order"},
	} {
		var out, complaint bytes.Buffer
		got := code(run(t.Context(), strings.Fields(c.args), noEnv, os.Stdin, &out, &complaint), &complaint)
		if said := out.String() + complaint.String(); got != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%s: exit %d: %s", c.args, got, said)
		}
	}
}
