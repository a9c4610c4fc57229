package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/cmd/muster/stack/stacktest"
)

// setup is a repository as far as .ci/engine sees it, with an npm of ours or with none.
type setup struct{ dir, bin string }

func newSetup(t *testing.T) setup {
	t.Helper()
	s := setup{t.TempDir(), t.TempDir()}
	script, err := os.ReadFile("../../.ci/engine")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{".ci", "embedded/engine"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, ".ci", "engine"), script, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "embedded/engine/package-lock.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"bash", "dirname", "cksum", "find", "stat", "sort", "cat", "mv", "rm", "grep", "uname", "mkdir", "env"} {
		path, err := exec.LookPath(tool)
		stacktest.Require(t, err == nil, tool)
		if err := os.Symlink(path, filepath.Join(s.bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s setup) npm(t *testing.T, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.bin, "npm"), []byte("#!/usr/bin/env bash\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (s setup) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.bin, "bash"), append([]string{filepath.Join(s.dir, ".ci", "engine")}, args...)...)
	cmd.Env = []string{"PATH=" + s.bin}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const goodNpm = `[ "$1" = ci ]; mkdir -p node_modules/@chdb/lib; echo -n 0123456789 > node_modules/@chdb/lib/libchdb.so; echo called >> ../../calls`

func (s setup) calls() int {
	b, _ := os.ReadFile(filepath.Join(s.dir, "calls"))
	return strings.Count(string(b), "called")
}

func TestAMissingNpmIsASentence(t *testing.T) {
	for _, args := range [][]string{nil, {"--check"}} {
		out, err := newSetup(t).run(t, args...)
		if err == nil || !strings.Contains(out, "npm is not installed") || !strings.Contains(out, "apt install npm") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}

func TestACheckFetchesNothing(t *testing.T) {
	s := newSetup(t)
	s.npm(t, goodNpm)
	if out, err := s.run(t, "--check"); err != nil || out != "" || s.calls() != 0 {
		t.Errorf("before the fetch: %v, %d calls: %s", err, s.calls(), out)
	}
	if out, err := s.run(t); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(s.bin, "npm")); err != nil {
		t.Fatal(err)
	}
	if out, err := s.run(t, "--check"); err != nil || out != "" {
		t.Errorf("what is whole needs no npm: %v: %s", err, out)
	}
}

func TestAFailedFetchIsASentenceAndLeavesNothingToUse(t *testing.T) {
	s := newSetup(t)
	s.npm(t, "echo network is down >&2; exit 1")
	out, err := s.run(t)
	if err == nil || !strings.Contains(out, "network is down") || !strings.Contains(out, "run make engine again") {
		t.Errorf("%v: %s", err, out)
	}
	s.npm(t, `mkdir -p node_modules`)
	if out, err := s.run(t); err == nil || !strings.Contains(out, "no libchdb for this machine") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheEngineIsFetchedOnceAndAgainWhenItIsNotWhole(t *testing.T) {
	s := newSetup(t)
	s.npm(t, goodNpm)
	for i, before := range []func() error{
		func() error { return nil },
		func() error { return nil }, // nothing has changed: no fetch
		func() error { // cut short
			return os.Truncate(filepath.Join(s.dir, "embedded/engine/node_modules/@chdb/lib/libchdb.so"), 4)
		},
		func() error { // another version is pinned
			return os.WriteFile(filepath.Join(s.dir, "embedded/engine/package-lock.json"), []byte("{\"new\":1}"), 0o600)
		},
	} {
		if err := before(); err != nil {
			t.Fatal(err)
		}
		if out, err := s.run(t); err != nil {
			t.Fatalf("run %d: %v: %s", i, err, out)
		}
		if want := []int{1, 1, 2, 3}[i]; s.calls() != want {
			t.Errorf("after run %d npm was called %d times, want %d", i, s.calls(), want)
		}
	}
}
