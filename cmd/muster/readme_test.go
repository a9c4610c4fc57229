package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack/stacktest"
)

// blocks are the fenced sh blocks of the README, in order.
func blocks(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(raw), -1) {
		out = append(out, m[1])
	}
	return out
}

// readme runs the README's commands as they stand, but for the ports, in a directory that looks as a clone does
// after `make up`.
func (l *local) readme(t *testing.T) {
	stacktest.Require(t, inPath("curl"), "curl")
	all := blocks(t)
	if len(all) < 4 {
		t.Fatalf("%d blocks of commands", len(all))
	}
	docs, err := filepath.Abs("../../docs")
	if err == nil {
		err = os.Symlink(docs, filepath.Join(l.dir, "docs"))
	}
	if err != nil {
		t.Fatal(err)
	}
	l.pi(t)
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+)`)
	for _, block := range all {
		script := port.ReplaceAllStringFunc(block, func(addr string) string {
			var p int
			if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &p); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("127.0.0.1:%d", p+l.offset)
		})
		out := ""
		if cut := strings.Index(script, "bin/muster send"); cut > 0 {
			out = l.bash(t, script[:cut])
			l.known(t, ".muster/server-1")
			script = script[cut:]
		}
		out += l.bash(t, script)
		switch {
		case strings.Contains(block, "/v1/telemetry"):
			if !strings.Contains(out, `"status":"stored","values":2`) {
				t.Errorf("%s\n%s", block, out)
			}
		case strings.Contains(block, "WHERE device = 'demo'"):
			l.eventually(t, "the README's reading can be queried", func() error {
				if out := l.bash(t, script); !strings.Contains(out, "rssi_dbm") {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
		case strings.Contains(block, "bin/muster-agent put"):
			// Each put says ok once its reading is on the device's disk.
			if puts := regexp.MustCompile(`for n in ([0-9 ]+);`).FindStringSubmatch(block); strings.Count(out, "ok 1\n") != len(strings.Fields(puts[1])) {
				t.Errorf("%s\n%s", block, out)
			}
		case strings.Contains(block, "WHERE device = 'pi-1'"):
			l.eventually(t, "what the Pi read while it was unplugged can be queried", func() error {
				if out := l.bash(t, script); !strings.Contains(out, "[1,2,3,4,5,6,7,8,9]") {
					log, _ := os.ReadFile(filepath.Join(l.dir, ".muster", "pi-1", "log"))
					return fmt.Errorf("%s\n%s", out, log)
				}
				return nil
			})
		case strings.Contains(block, "send --csv"):
			if !strings.Contains(out, "in 1 messages, 0 of which were there already") || !strings.Contains(out, "in 1 messages, 1 of which were there already") {
				t.Errorf("%s\n%s", block, out)
			}
		}
	}
}

// pi puts the agent where `make agent` does, and sees to it that the one that the README starts ends with the README.
func (l *local) pi(t *testing.T) {
	stacktest.Require(t, inPath("flock"), "flock")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(l.dir, "bin", "muster-agent"), "muster.dev/fleet/agent/cmd/muster-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the agent: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		raw, err := os.ReadFile(filepath.Join(l.dir, ".muster", "pi-1", "pid"))
		if err != nil {
			return // it was never started
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(pid, syscall.SIGTERM) // fails once it has ended
		for late := time.Now().Add(patience); alive(pid); <-time.After(10 * time.Millisecond) {
			if time.Now().After(late) {
				t.Errorf("the agent, process %d, does not end", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				return
			}
		}
	})
}

func TestReadmeNamesMakeTargetsThatExist(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\bmake ([a-z0-9]+)`).FindAllStringSubmatch(string(readme), -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
			t.Errorf("the README says make %s, which the Makefile does not know", m[1])
		}
	}
}
