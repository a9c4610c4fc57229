package scenarios

import (
	"io/fs"
	"testing"

	"muster.dev/fleet/scenario"
)

func TestEveryScenarioOfTheLibraryCanBePlayed(t *testing.T) {
	files, err := fs.Glob(Files, "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(Files, name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(name, text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if s.Name+".yaml" != name {
			t.Errorf("%s calls itself %s", name, s.Name)
		}
		if s.About == "" {
			t.Errorf("%s does not say what it shows", name)
		}
	}
}
