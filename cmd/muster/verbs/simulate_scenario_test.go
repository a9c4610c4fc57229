package verbs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACheckedScenarioIsCountedInWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "one.yaml")
	for cohorts, want := range map[string]string{
		"[{name: pumps, devices: 1, interval: 1m, metrics: [{name: temp, model: {base: 20}}]}]":                                                                                        "1 cohort, 1 device, 1d",
		"[{name: pumps, devices: 1, interval: 1m, metrics: [{name: temp, model: {base: 20}}]}, {name: valves, devices: 30, interval: 1m, metrics: [{name: temp, model: {base: 20}}]}]": "2 cohorts, 31 devices, 1d",
	} {
		if err := os.WriteFile(file, []byte("scenario: one\nseed: 1\nbegins: 2026-01-05T00:00:00Z\nlasts: 1d\ncohorts: "+cohorts+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, complaint := muster(t, "simulate", "check", file)
		if code != 0 || !strings.HasSuffix(complaint, "one.yaml: "+want+"\n") {
			t.Errorf("exit %d: %s, and not %s", code, complaint, want)
		}
	}
}
