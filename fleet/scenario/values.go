package scenario

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Share is a part of a whole, from 0 to 1: 0.05 or 5%.
type Share float64

// Rate is how much or how often, a day: 2/w, 0.5/d, 3/h.
type Rate float64

// PPM is the error of a clock's speed in parts per million: 20ppm.
type PPM float64

// Hertz is how often a second: 100Hz, 0.1Hz.
type Hertz float64

// Clocktime is a time of day, from midnight: 22:00.
type Clocktime time.Duration

const dayOf = 24 * time.Hour

// units of time, the longest first. A year is 365 days.
var units = []struct {
	name string
	d    time.Duration
}{
	{"y", 365 * dayOf}, {"w", 7 * dayOf}, {"d", dayOf}, {"h", time.Hour}, {"ms", time.Millisecond}, {"m", time.Minute}, {"s", time.Second},
}

// ParseSpan reads a length of time, as 90s, 1h30m, 2w, -3y.
func ParseSpan(s string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(s, "-")
	if rest == "0" {
		return 0, nil
	}
	total := 0.0
	last := math.Inf(1)
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if n <= 0 {
			return 0, errSpan
		}
		v, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, errSpan
		}
		rest = rest[n:]
		i := slices.IndexFunc(units, func(u struct {
			name string
			d    time.Duration
		}) bool {
			return strings.HasPrefix(rest, u.name)
		})
		if i < 0 || float64(units[i].d) >= last {
			return 0, errSpan
		}
		last = float64(units[i].d)
		total += float64(v * last)
		rest = rest[len(units[i].name):]
	}
	if math.IsInf(last, 1) {
		return 0, errSpan
	}
	if total > math.MaxInt64/2 {
		return 0, fmt.Errorf("is longer than a hundred years")
	}
	if negative {
		total = -total
	}
	return time.Duration(math.Round(total)), nil
}

var errSpan = fmt.Errorf("is no length of time: write numbers with ms, s, m, h, d, w or y, as 90s or 1h30m")

// FormatSpan writes a length of time as ParseSpan reads it.
func FormatSpan(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
	}
	sorted := slices.Clone(units)
	slices.SortFunc(sorted, func(x, y struct {
		name string
		d    time.Duration
	}) int {
		return cmp.Compare(y.d, x.d)
	})
	for _, u := range sorted {
		if n := d / u.d; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.d
		}
	}
	return b.String()
}

func parseShare(s string) (float64, error) {
	n, percent := strings.CutSuffix(s, "%")
	v, err := parseNumber(n)
	if err != nil {
		return 0, fmt.Errorf("is no share: write 0.05 or 5%%")
	}
	if percent {
		v /= 100
	}
	return v, nil
}

func parseRate(s string) (float64, error) {
	n, per, ok := strings.Cut(s, "/")
	v, err := parseNumber(strings.TrimSpace(n))
	i := slices.Index([]string{"s", "m", "h", "d", "w"}, strings.TrimSpace(per))
	if !ok || err != nil || i < 0 {
		return 0, fmt.Errorf("is no rate: write a number, / and s, m, h, d or w, as 2/w")
	}
	return v * []float64{86400, 1440, 24, 1, 1. / 7}[i], nil
}

func parseUnit(unit, example string) func(string) (float64, error) {
	return func(s string) (float64, error) {
		n, ok := strings.CutSuffix(s, unit)
		v, err := parseNumber(strings.TrimSpace(n))
		if !ok || err != nil {
			return 0, fmt.Errorf("wants a number and %s, as %s", unit, example)
		}
		return v, nil
	}
}

func parseNumber(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || strings.ContainsAny(s, "xXpP_") {
		return 0, fmt.Errorf("is no number")
	}
	return v, nil
}

func parseClocktime(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, fmt.Errorf(`is no time of day: write "22:00", in quotes`)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}
