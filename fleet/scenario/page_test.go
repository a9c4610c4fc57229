package scenario

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"muster.dev/fleet/scenarios"
)

const guide = "../../docs/writing-a-scenario.md"

// TestThePageOnWritingOneIsTrue plays through what the page shows.
func TestThePageOnWritingOneIsTrue(t *testing.T) {
	raw, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	_, rest, _ := strings.Cut(text, "```yaml\n")
	example, rest, _ := strings.Cut(rest, "```")
	if _, err := Parse("night-shift.yaml", []byte(example)); err != nil {
		t.Errorf("the example: %v", err)
	}
	_, rest, _ = strings.Cut(rest, "```\n")
	said, _, _ := strings.Cut(rest, "```")
	_, err = Parse("night-shift.yaml", []byte(strings.Replace(strings.Replace(example, "    devices: 60\n", "", 1), "name: pumps\n", "name: pumps\n    device: 60\n", 1)))
	if err == nil || err.Error()+"\n" != said {
		t.Errorf("the example with a wrong key:\n%v\nbut the page says\n%s", err, said)
	}
	files, err := fs.Glob(scenarios.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		body, err := fs.ReadFile(scenarios.Files, file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(file, body)
		if err != nil {
			t.Fatal(err)
		}
		if row := "| [" + s.Name + "](../fleet/scenarios/" + file + ") | " + s.About + " |\n"; !strings.Contains(text, row) {
			t.Errorf("%s lacks the row %s", guide, row)
		}
	}
}
