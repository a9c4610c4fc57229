package series

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// The folder stands beside the repository, not in it.
func nabDir(t testing.TB) string {
	dir := "../../../../shared/data/nab"
	if _, err := os.Stat(filepath.Join(dir, "labels.json")); err != nil {
		t.Skip("SKIPPED: the labelled series are not at ../shared/data/nab beside the repository: ", err)
	}
	return dir
}

func TestOneSettingForAllLabelledSeriesScoresAboveSixty(t *testing.T) {
	table, err := NAB(nabDir(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range table.Profiles {
		r := table.Results[i]
		t.Logf("%-8s %.1f at %.3f: %d of %d windows, %d false rows", p.Name, r.Score, r.Threshold, r.Found, r.Windows, r.False)
	}
	t.Logf("split %.1f, each by the others %.1f, %.3f false rows a series-day, %d series of %d rows in %.0f days", table.Split, table.Each, table.FalseADay(), table.Series, table.Rows, table.Days)
	if s := table.Results[0].Score; s < 67 {
		t.Errorf("standard is %.1f, 67 and more are expected", s)
	}
	if s := table.Results[1].Score; s < 63 {
		t.Errorf("low_fp is %.1f, 63 and more are expected", s)
	}
	if table.Split < 60 {
		t.Errorf("split is %.1f, 60 and more are expected", table.Split)
	}
}

// pythonSays runs the scorer that stands beside the series.
func pythonSays(t *testing.T, dir, results string, more ...string) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED: python3 is not installed: ", err)
	}
	out, err := exec.CommandContext(t.Context(), python, append([]string{filepath.Join(dir, "score.py"), results}, more...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestTheScorerSaysWhatTheBenchmarksOwnSays(t *testing.T) {
	dir := nabDir(t)
	series, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	results := t.TempDir()
	for _, s := range series {
		in, err := os.Open(filepath.Join(dir, s.Name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(results, s.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := CSV(in, out, DefaultLimits(), nil); err != nil {
			t.Fatal(s.Name, err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
	}
	say := func(p Profile, r Result) string {
		return fmt.Sprintf("%s score %.1f at threshold %.6g, %d windows in %d series", p.Name, r.Score, r.Threshold, r.Windows, len(series))
	}
	// A run of score.py takes a second: the search with one profile, and with another a threshold between two scores.
	lowFP, lowFN := Profiles()[1], Profiles()[2]
	if got, want := say(lowFP, Best(series, lowFP)), pythonSays(t, dir, results, "--profile", lowFP.Name); got != want {
		t.Errorf("%s\nbut score.py: %s", got, want)
	}
	if got, want := say(lowFN, At(series, lowFN, .1234)), pythonSays(t, dir, results, "--profile", lowFN.Name, "--threshold", ".1234"); got != want {
		t.Errorf("%s\nbut score.py: %s", got, want)
	}
}

func TestASeriesTakesAtMostTwoAndAHalfKiB(t *testing.T) {
	t.Logf("a detector alone has %d bytes, a series of a bank %d", unsafe.Sizeof(Detector{}), unsafe.Sizeof(entry{}))
	if s := unsafe.Sizeof(entry{}); s > 2560 {
		t.Errorf("a series has %d bytes", s)
	}
}
