package verbs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/services/anomaly/series"
)

func TestARecordedSeriesIsScoredRowByRow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tank.csv")
	text := "date,level\n2026-01-05,1.5\n2026-01-06,\n2026-01-07,NaN\n2026-01-08,1.6\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, complaint := muster(t, "detect", "--csv", file)
	if want := "timestamp,value,score\n2026-01-05,1.5,0\n2026-01-06,,\n2026-01-07,NaN,\n2026-01-08,1.6,0\n"; code != 0 || out != want {
		t.Errorf("exit %d, %q (%s), and not %q", code, out, complaint, want)
	}
	code, out, complaint = muster(t, "detect", "--json", "--csv", file)
	want := `{"timestamp":"2026-01-05","value":1.5,"score":0}
{"timestamp":"2026-01-06","value":null,"score":null}
{"timestamp":"2026-01-07","value":null,"score":null}
{"timestamp":"2026-01-08","value":1.6,"score":0}
`
	if code != 0 || out != want {
		t.Errorf("--json: exit %d, %q (%s), and not %q", code, out, complaint, want)
	}
}

func TestASeriesThatCannotBeScoredIsToldByFileAndLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tank.csv")
	if err := os.WriteFile(file, []byte("date,level\n2026-01-05,full\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, complaint := muster(t, "detect", "--csv", file)
	if code != 2 || !strings.Contains(complaint, "tank.csv: line 2: value \"full\" is no number; leave it empty where it is missing") {
		t.Errorf("exit %d: %s", code, complaint)
	}
	if code, _, complaint := muster(t, "detect", "--csv", filepath.Join(t.TempDir(), "none.csv")); code != 2 || !strings.Contains(complaint, "none.csv") {
		t.Errorf("exit %d: %s", code, complaint)
	}
}

func TestEachNumberThatIsReadComesAsJSON(t *testing.T) {
	numbers := map[string]string{"1.50": "1.50", "-2e3": "-2e3", ".5": "0.5", "+5": "5", "1.": "1", "05": "5", "0x1p3": "8", "1e-400": "1e-400", ".1e-400": "0"}
	for text, want := range numbers {
		var out bytes.Buffer
		if err := series.CSV(strings.NewReader("timestamp,value\n2026-11-20 00:00:00,"+text+"\n"), &rowsAsJSON{out: &out}, series.DefaultLimits(), nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if line := `{"timestamp":"2026-11-20 00:00:00","value":` + want + `,"score":0}` + "\n"; out.String() != line {
			t.Errorf("%s comes as %s, want %s", text, out.String(), line)
		}
	}
}
