package page

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// A page is read by whoever opens a stranger's bundle: it costs what its bytes are worth.
func TestAPageCannotCostMoreThanItsBytes(t *testing.T) {
	base := Page{N: 1, Until: 60_000}
	for name, change := range map[string]func(*Page){
		"devices":  func(p *Page) { p.Slots = []Slot{{Cohort: "c", At: 60_000, Expected: 2_700_000_000}} },
		"never":    func(p *Page) { p.Slots = []Slot{{Cohort: "c", At: 60_000, Expected: 1, Never: 1 << 31}} },
		"failures": func(p *Page) { p.Arms = []Arm{{Rollout: "r", FailC: 1 << 31}} },
	} {
		p := base
		change(&p)
		value, headers, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(headers, value); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Slots of nothing, a byte each.
	value, headers, err := base.Encode()
	if err != nil {
		t.Fatal(err)
	}
	page := bytes.Index(value, []byte("\xa4Page")) + 5
	bomb := slices.Concat(value[:page], []byte{value[page] + 1}, []byte("\xa5Slots\xdd\x00\x0f\x00\x00"), bytes.Repeat([]byte{0x80}, 0x0f0000), value[page+1:])
	if n := testing.AllocsPerRun(1, func() { _, err = Decode(headers, bomb) }); !errors.Is(err, ErrRefused) || n > 100 {
		t.Errorf("%v, %v allocations", err, n)
	}
	p := many(40_000, 0)
	value, headers = encode(t, p)
	if _, err := Decode(headers, value); err != nil {
		t.Errorf("a full page: %v", err)
	}
	whole := full()
	for _, arrays := range []bool{false, true} {
		value := whole.write(arrays)
		if n := containers(value); n > len(value)/leastThing {
			t.Errorf("%d containers in %d bytes", n, len(value))
		}
	}
}

// What devices name makes no room by pushing out what their cohorts are.
func TestNamesOfMetricsPushOutNoCohortsSum(t *testing.T) {
	p := &Page{N: 1, Until: 60_000}
	for c := range 20 {
		p.Volumes = append(p.Volumes, Volume{Cohort: fmt.Sprintf("cohort-%02d", c), Hour: 1, Until: 60_000, Values: 1})
		for m := range 600 {
			p.Volumes = append(p.Volumes, Volume{Cohort: fmt.Sprintf("cohort-%02d", c), Metric: fmt.Sprintf("a_metric_with_a_long_name_%d", m), Hour: 1, Until: 60_000, Values: 1})
		}
	}
	fits, sums := p.Fit(), 0
	for _, v := range fits.Volumes {
		if v.Metric == "" {
			sums++
		}
	}
	if sums != 20 || int(fits.Cut) != len(p.Volumes)-len(fits.Volumes) || !fits.fits() || p.Volumes[1].Metric == "" {
		t.Errorf("%d sums, %d of %d volumes", sums, len(fits.Volumes), len(p.Volumes))
	}
}
