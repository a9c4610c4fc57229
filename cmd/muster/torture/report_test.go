//go:build linux

package torture

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// report is what a run was and what came of it.
type report struct {
	Form         string           `json:"form"`
	Seed         uint64           `json:"seed"`
	Seconds      float64          `json:"seconds"`
	Crashes      int              `json:"crashes"`
	Faults       int              `json:"faults"`
	Copies       int64            `json:"requests"`
	Duplicates   int64            `json:"told_duplicate"`
	Cuts         int64            `json:"cut_off"`
	Unsure       int64            `json:"not_answered"`
	BlackholeRSS int64            `json:"blackhole_rss_bytes,omitempty"`
	RTO          map[string]quant `json:"rto"`
	Rebuilt      string           `json:"rebuilt,omitempty"`
	Notes        []string         `json:"notes,omitempty"`
	Verdict      *verdict         `json:"verdict"`

	began time.Time
	order []string
	rtos  map[string][]time.Duration
	died  map[string]int
}

// quant is a fault's times of recovery in seconds.
type quant struct {
	Times   int     `json:"times"`
	Crashes int     `json:"crashes"`
	P50     float64 `json:"p50_s"`
	P99     float64 `json:"p99_s"`
	Max     float64 `json:"max_s"`
}

func newReport(form string, seed uint64) *report {
	return &report{Form: form, Seed: seed, began: time.Now(), rtos: map[string][]time.Duration{}, died: map[string]int{}}
}

func (r *report) add(fault string, killed int, rto time.Duration, err error) {
	r.Faults++
	r.Crashes += killed
	r.died[fault] += killed
	r.name(fault)
	if err == nil {
		r.took(fault, rto)
	}
}

func (r *report) name(what string) {
	if !slices.Contains(r.order, what) {
		r.order = append(r.order, what)
	}
}

// took adds a time to those of its name.
func (r *report) took(what string, d time.Duration) {
	r.name(what)
	r.rtos[what] = append(r.rtos[what], d)
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// of takes the fleet's counts.
func (r *report) of(f *fleet) {
	r.Copies, r.Duplicates, r.Cuts, r.Unsure = f.copies.Load(), f.duplicates.Load(), f.cuts.Load(), f.unsure.Load()
}

// print ends the report, shows it, keeps it where that was asked for, and fails the test for what the oracle found.
func (r *report) print(t *testing.T, v *verdict) {
	t.Helper()
	table, line := r.finish(v)
	t.Logf("\n%s\n%s", table, line)
	if path := os.Getenv("MUSTER_TORTURE_REPORT"); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = file.WriteString(line + "\n")
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, f := range v.Findings {
		t.Error(f)
	}
}

func quantiles(d []time.Duration, crashes int) quant {
	q := quant{Times: len(d), Crashes: crashes}
	if len(d) > 0 {
		d = slices.Sorted(slices.Values(d))
		at := func(p float64) float64 { return d[int(p*float64(len(d)-1)+0.5)].Seconds() }
		q.P50, q.P99, q.Max = at(0.5), at(0.99), d[len(d)-1].Seconds()
	}
	return q
}

// finish takes the verdict, and gives the report as a table and as a line of JSON.
func (r *report) finish(v *verdict) (table, line string) {
	r.Seconds = time.Since(r.began).Seconds()
	r.Verdict = v
	r.RTO = map[string]quant{}
	var all []time.Duration
	for _, name := range r.order {
		all = append(all, r.rtos[name]...)
		r.RTO[name] = quantiles(r.rtos[name], r.died[name])
	}
	names := slices.Clone(r.order)
	if len(r.died) > 0 { // else the names are of one thing measured in two ways
		names = append(names, "all")
		r.RTO["all"] = quantiles(all, r.Crashes)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "form %s, seed %d, %.0f s\n", r.Form, r.Seed, r.Seconds)
	fmt.Fprintf(&out, "%d faults, %d processes killed; %d messages sent", r.Faults, r.Crashes, v.Sent)
	if r.Copies > 0 {
		fmt.Fprintf(&out, " in %d requests, %d cut off, %d without an answer, %d told as duplicates", r.Copies, r.Cuts, r.Unsure, r.Duplicates)
	}
	fmt.Fprintln(&out)
	for _, n := range r.Notes {
		fmt.Fprintln(&out, n)
	}
	fmt.Fprintf(&out, "%d accepted; %d offsets = %v; %d values\n", v.Accepted, v.Offsets, v.Outcomes, v.Values)
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "fault\ttimes\tkilled\tp50 s\tp99 s\tmax s\t")
	for _, name := range names {
		q := r.RTO[name]
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t\n", name, q.Times, q.Crashes, q.P50, q.P99, q.Max)
	}
	t.Flush()
	if r.BlackholeRSS > 0 {
		fmt.Fprintf(&out, "the sink before a silent store: at most %d MiB\n", r.BlackholeRSS>>20)
	}
	if r.Rebuilt != "" {
		fmt.Fprintf(&out, "rebuild: %s\n", r.Rebuilt)
	}
	if len(v.Findings) == 0 {
		fmt.Fprintln(&out, "nothing missing, nothing double, everything in order")
	}
	for _, f := range v.Findings {
		fmt.Fprintln(&out, "FINDING:", f)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return out.String(), err.Error()
	}
	return out.String(), string(b)
}
