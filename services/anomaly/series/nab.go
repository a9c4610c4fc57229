package series

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Table is how the detector does on a folder of labelled series.
type Table struct {
	Series, Rows int
	Days         float64 // of all series together
	Profiles     []Profile
	Results      []Result // of each profile, one threshold for all series
	Split        float64  // standard: threshold chosen on a random half of the series, judged on the other; mean of 40
	Each         float64  // standard: each series judged at the threshold that is best for all others
}

// FalseADay is the standard profile's false rows a day of a series.
func (t Table) FalseADay() float64 { return float64(t.Results[0].False) / max(t.Days, 1e-9) }

// NAB runs the detector over the series of a folder, which labels.json names with their windows, and judges it.
func NAB(dir string) (Table, error) {
	series, err := Load(dir)
	if err != nil {
		return Table{}, err
	}
	return Judge(series), nil
}

// Judge makes the table of scored series.
func Judge(series []Labelled) Table {
	t := Table{Series: len(series), Profiles: Profiles()}
	for _, s := range series {
		t.Rows += len(s.At)
		if n := len(s.At); n > 0 {
			t.Days += float64(s.At[n-1]-s.At[0]) / dayMS
		}
	}
	for _, p := range t.Profiles {
		t.Results = append(t.Results, Best(series, p))
	}
	standard := t.Profiles[0]
	dice := rand.New(rand.NewPCG(1, 2)) // of the splits, not of the detector
	const splits = 40
	for range splits {
		var mine, others []Labelled
		for _, s := range series {
			if dice.IntN(2) == 0 {
				mine = append(mine, s)
			} else {
				others = append(others, s)
			}
		}
		t.Split += At(others, standard, Best(mine, standard).Threshold).Score / splits
	}
	gained := 0.
	for i, s := range series {
		others := slices.Delete(slices.Clone(series), i, i+1)
		one := At([]Labelled{s}, standard, Best(others, standard).Threshold)
		if one.Windows == 0 {
			// A series in which nothing is to be found is worth what its false rows cost.
			gained -= standard.FalseAlarm * float64(one.False)
			continue
		}
		gained += one.Score * float64(one.Windows) * (standard.Hit + standard.Miss) / 100
	}
	if n := t.Results[0].Windows; n > 0 {
		t.Each = 100 * gained / (float64(n) * (standard.Hit + standard.Miss))
	}
	return t
}

// Load reads the series that labels.json of a folder names, in order of name, and scores them.
func Load(dir string) ([]Labelled, error) {
	f, err := os.Open(filepath.Join(dir, "labels.json"))
	if err != nil {
		return nil, fmt.Errorf("read the labels: %w", err)
	}
	defer f.Close()
	var labels map[string][][2]string
	if err := json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(&labels); err != nil {
		return nil, fmt.Errorf("read the labels %s: %w", f.Name(), err)
	}
	var out []Labelled
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		one, err := loadOne(dir, name, labels[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, one)
	}
	return out, nil
}

func loadOne(dir, name string, windows [][2]string) (Labelled, error) {
	out := Labelled{Name: name}
	if !filepath.IsLocal(name) {
		return out, errors.New("the name leads out of the folder")
	}
	for _, w := range windows {
		from, err := instant(w[0])
		if err != nil {
			return out, err
		}
		to, err := instant(w[1])
		if err != nil {
			return out, err
		}
		out.Windows = append(out.Windows, [2]int64{from, to})
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return out, err
	}
	defer f.Close()
	var d Detector
	return out, readRows(f, DefaultLimits(), func(row csvRow) error {
		if row.missing {
			return nil
		}
		out.At = append(out.At, row.at)
		out.Score = append(out.Score, d.Row(row.at, row.value))
		return nil
	})
}
