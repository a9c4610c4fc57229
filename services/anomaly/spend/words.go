package spend

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

func (f *Forecasts) signal(at int64, name string, c *cohort) incident.Signal {
	return incident.Signal{
		Kind: event.Spend, Cause: incident.CauseVolume, Severity: event.SeverityWarning,
		Subject: event.Subject{Cohort: name, Metric: c.told}, Since: c.since, At: at,
	}
}

func (f *Forecasts) over(at int64, name string, c *cohort, why string) incident.Signal {
	s := f.signal(at, name, c)
	s.Over, s.Why = true, why
	return s
}

// money is the unit of costs.
func (s Settings) money() string {
	if s.PerMillion == 0 && s.PerGB == 0 {
		return "million values"
	}
	return s.Currency
}

// rises is the signal of a volume that has left its forecast.
func (f *Forecasts) rises(at int64, name string, c *cohort, found []hot, values, bytes verdict) incident.Signal {
	s := f.signal(at, name, c)
	remaining := left(at)
	spent := f.s.cost(c.values.month+c.values.now, c.bytes.month+c.bytes.now)
	usual := spent + float64(f.s.cost(c.values.usual(f.hour, c.known), c.bytes.usual(f.hour, c.known))*remaining)
	costs := spent + float64(f.s.cost(values.rate, bytes.rate)*remaining)

	what, unit, v, comes, is := "what it sends", "values/h", values, "comes", "is"
	switch {
	case len(found) == 1 || len(found) > 0 && c.told == found[0].name:
		what, v = found[0].name, found[0].verdict
	case len(found) > 1:
		what, v = several(found)
		comes, is = "come", "are"
	case bytes.hot && !values.hot:
		what, unit, v = "the size of what it sends", "bytes/h", bytes
	}
	times := v.rate / max(v.forecast, 1)
	if costs > 10*usual {
		s.Severity = event.SeverityCritical
	}
	s.Numbers = []event.Number{
		{Name: "forecast", Micro: micro(v.forecast), Unit: unit}, {Name: "rate", Micro: micro(v.rate), Unit: unit}, {Name: "times", Micro: micro(times)},
		{Name: "month", Micro: micro(costs), Unit: f.s.money()}, {Name: "month-usual", Micro: micro(usual), Unit: f.s.money()}, {Name: "month-so-far", Micro: micro(spent), Unit: f.s.money()},
	}
	factor := hotTimes
	if c.known < dayFrom {
		factor = wideTimes
	}
	s.Thresholds = []event.Number{{Name: "rise", Micro: micro(f.s.Rise)}, {Name: "times", Micro: micro(factor)}}
	s.Title = fmt.Sprintf("%s: %s %s %s times as much as forecast", name, what, comes, short(times))
	s.Why = fmt.Sprintf("since %s UTC %s %s %s %s, forecast %s: at this rate the month costs %s %s, at the usual one %s",
		time.UnixMilli(c.since).UTC().Format("2006-01-02 15:04"), what, is, short(v.rate), unit, short(v.forecast), short(costs), f.s.money(), short(usual))
	return s
}

// several gives the names of metrics, three at most, and how much they are and should be together.
func several(found []hot) (names string, all verdict) {
	const most = 3
	for i, h := range found {
		all.rate, all.forecast = all.rate+h.rate, all.forecast+h.forecast
		switch {
		case i == 0:
			names = h.name
		case i == len(found)-1 && len(found) <= most:
			names += " and " + h.name
		case i < most:
			names += ", " + h.name
		}
	}
	if len(found) > most {
		names += fmt.Sprintf(" and %d more", len(found)-most)
	}
	return names, all
}

// left gives the hours until the month's end.
func left(at int64) float64 {
	t := time.UnixMilli(at - 1).UTC()
	end := time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	return float64(end.UnixMilli()-at) / hourMS
}

// short writes a number with four digits.
func short(v float64) string {
	if v >= 9_999.5 && v < 1e15 {
		// Whole, with the thousands apart.
		digits := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
		var out []byte
		for i := range len(digits) {
			if i > 0 && (len(digits)-i)%3 == 0 {
				out = append(out, ',')
			}
			out = append(out, digits[i])
		}
		return string(out)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func micro(v float64) int64 { return int64(math.Round(max(-9e18, min(9e18, float64(v*1e6))))) }
