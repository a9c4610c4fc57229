package deploy

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// built are the programs that the Dockerfile puts into the image, as module folder and package.
func built(t *testing.T) map[string][2]string {
	t.Helper()
	src, err := os.ReadFile("compose/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string][2]string{"healthcheck": {"platform", "./cmd/healthcheck"}}
	for _, m := range regexp.MustCompile(`\b(ingest|registry|retention|anomaly)/(cmd/([a-z]+))`).FindAllStringSubmatch(string(src), -1) {
		programs[m[3]] = [2]string{"services/" + m[1], "./" + m[2]}
	}
	if len(programs) < 9 {
		t.Fatalf("the Dockerfile names %d programs: has its form changed?", len(programs))
	}
	return programs
}

func TestEveryProgramOfTheImageNeedsNothingBesideIt(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; it builds every program of the image")
	}
	out := t.TempDir()
	for name, at := range built(t) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(out, name), at[1])
			cmd.Dir = filepath.Join("..", at[0])
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS=linux")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			f, err := elf.Open(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, p := range f.Progs {
				if p.Type == elf.PT_INTERP {
					t.Error("it has an ELF interpreter: in an image made from scratch it does not start")
				}
			}
			if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
				t.Errorf("it loads %v (%v)", libs, err)
			}
		})
	}
}

func TestComposeStartsWhatTheImageHolds(t *testing.T) {
	programs := built(t)
	for name, s := range load(t).Services {
		if s.Image != "muster/services:local" {
			continue
		}
		if len(s.Entrypoint) != 1 || programs[strings.TrimPrefix(s.Entrypoint[0], "/")] == ([2]string{}) {
			t.Errorf("%s starts %v, which the Dockerfile does not build", name, s.Entrypoint)
		}
	}
}
