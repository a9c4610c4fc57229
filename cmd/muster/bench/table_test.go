//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// figure is one row of the table.
type figure struct {
	Name  string  `json:"figure"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Floor is what the machine's own floor took in the same run, in the same unit; Ratio is the median of the rounds'
	// ratios. 0 is none.
	Floor float64 `json:"floor,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	// Bound is in words; Holds is empty where there is none.
	Bound string `json:"bound,omitempty"`
	Holds string `json:"holds,omitempty"`
	// Spread is the least and the greatest value of the rounds.
	Spread [2]float64 `json:"spread,omitzero"`
}

// report is what a run found.
type report struct {
	When    time.Time `json:"when"`
	Cores   int       `json:"cores"`
	Load    string    `json:"load_at_the_start"`
	Took    string    `json:"took"`
	Figures []figure  `json:"figures"`
}

func newReport() *report {
	load, _ := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(load))
	return &report{When: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Load: strings.Join(words[:min(3, len(words))], " ")}
}

func (r *report) add(f figure) *figure {
	r.Figures = append(r.Figures, f)
	return &r.Figures[len(r.Figures)-1]
}

// rounds adds the median of some rounds, and of their ratios to a floor's, which may be nil.
func (r *report) rounds(name, unit string, values, floors []float64) *figure {
	f := figure{Name: name, Unit: unit, Value: median(values), Spread: [2]float64{slices.Min(values), slices.Max(values)}}
	if floors != nil {
		var ratios []float64
		for i := range values {
			ratios = append(ratios, values[i]/floors[i])
		}
		f.Floor, f.Ratio = median(floors), median(ratios)
	}
	return r.add(f)
}

func (f *figure) holds(ok bool) {
	f.Holds = "no"
	if ok {
		f.Holds = "yes"
	}
}

// atMost and atLeast bound the value, ratioAtMost the ratio.
func (f *figure) atMost(bound float64) {
	f.Bound = "<= " + short(bound)
	f.holds(f.Value <= bound)
}

func (f *figure) atLeast(bound float64) {
	f.Bound = ">= " + short(bound)
	f.holds(f.Value >= bound)
}

func (f *figure) ratioAtMost(bound float64) {
	f.Bound = "<= " + short(bound) + " x"
	f.holds(f.Ratio <= bound)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// short writes a number with three digits that count.
func short(v float64) string {
	if v == 0 {
		return "0"
	}
	return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))), 64)
}

// print writes the table.
func (r *report) print(w io.Writer) {
	rows := [][]string{{"figure", "value", "least..most", "floor", "ratio", "bound", "holds"}}
	for _, f := range r.Figures {
		row := []string{f.Name, short(f.Value) + " " + f.Unit, "", "", "", f.Bound, f.Holds}
		if f.Spread[0] != f.Spread[1] {
			row[2] = short(f.Spread[0]) + ".." + short(f.Spread[1])
		}
		if f.Floor > 0 {
			row[3], row[4] = short(f.Floor), short(f.Ratio)
		}
		rows = append(rows, row)
	}
	rows = slices.Insert(rows, 1, slices.Repeat([]string{"-"}, len(rows[0])))
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	fmt.Fprintf(w, "\n%s, %d cores, load average at the start %s, %s\n\n", r.When.Format(time.RFC3339), r.Cores, r.Load, r.Took)
	for i, row := range rows {
		var line strings.Builder
		for k, cell := range row {
			fill := " "
			if i == 1 {
				fill = "-"
			}
			line.WriteString("| " + cell + strings.Repeat(fill, width[k]-len(cell)) + " ")
		}
		fmt.Fprintln(w, line.String()+"|")
	}
	fmt.Fprintln(w)
}

// write keeps the report as JSON in the file that MUSTER_BENCH_JSON names, if any.
func (r *report) write() error {
	path := os.Getenv("MUSTER_BENCH_JSON")
	if path == "" {
		return nil
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
