package spend

import (
	"fmt"
	"strings"
	"testing"

	"muster.dev/services/anomaly/page"
)

func TestAMeterTellsTheHourSoFarEachTenMinutes(t *testing.T) {
	m := NewMeter(DefaultSettings(), func(c int32) string { return string(rune('b' - c)) })
	var told []page.Volume
	for at := begins + 5_000; at <= begins+hour+10*60_000; at += 5_000 {
		m.Add(0, []byte("x"), 2, 0, 1<<60) // whatever a record says of its time
		m.Add(1, nil, 3, 100, 0)
		told = append(told, m.Tick(at)...)
	}
	if len(told) != 14 {
		t.Fatalf("%d volumes", len(told))
	}
	for i, v := range told {
		step := int64(i/2 + 1)
		want := page.Volume{Cohort: "a", Hour: begins, Until: begins + step*stepMS, Values: uint64(360 * step), Bytes: uint64(12_000 * step)}
		if i%2 == 1 {
			want = page.Volume{Cohort: "b", Metric: "x", Hour: begins, Until: want.Until, Values: uint64(240 * step)}
		}
		if step == 7 { // of the next hour
			want.Hour += hour
			want.Values, want.Bytes = want.Values/7, want.Bytes/7
		}
		if v != want {
			t.Errorf("%d: %+v, and not %+v", i, v, want)
		}
	}
}

func TestAMeterThatLeapsTellsTheHourItLeaves(t *testing.T) {
	m := NewMeter(DefaultSettings(), func(int32) string { return "a" })
	m.Tick(begins + 20*60_000)
	m.Add(0, nil, 7, 0, 0)
	told := m.Tick(begins + 30*hour)
	if len(told) != 1 || told[0].Hour != begins || told[0].Until != begins+hour || told[0].Values != 7 {
		t.Errorf("%+v", told)
	}
	if told = m.Tick(begins + 31*hour); len(told) != 0 {
		t.Errorf("%+v", told)
	}
}

func TestNamesBeyondTheLimitAreInTheirCohortsSumAlone(t *testing.T) {
	s := DefaultSettings()
	s.Names = 3
	m := NewMeter(s, func(int32) string { return "a" })
	for i := range 5 {
		m.Add(0, fmt.Appendf(nil, "m%d", i), 10, 0, 0)
		m.Add(0, nil, 10, 50, 0)
	}
	m.Add(0, []byte(strings.Repeat("x", page.MaxText+1)), 10, 0, 0)
	m.Add(0, []byte("m0"), -5, -5, 0)
	told := m.Tick(begins + stepMS)
	if len(told) != 4 || told[0].Metric != "" || told[0].Values != 50 || told[0].Bytes != 250 || m.Beyond() != 30 {
		t.Errorf("%+v, %d beyond", told, m.Beyond())
	}
	// A name that is not heard for a week gives its place up.
	for at := begins + hour; at <= begins+8*day; at += hour {
		m.Add(0, []byte("m1"), 1, 0, 0)
		m.Tick(at)
	}
	if len(m.counters) != 1 || m.metrics != 1 {
		t.Errorf("%+v", m.counters)
	}
	j := NewForecasts(s)
	var volumes []page.Volume
	for i := range 5 {
		volumes = append(volumes, page.Volume{Cohort: "a", Metric: fmt.Sprintf("m%d", i), Hour: begins, Values: 1})
	}
	j.Cut(begins+stepMS, volumes)
	if j.Beyond() != 2 || len(j.cohorts["a"].metrics) != 3 {
		t.Errorf("%d beyond, %+v", j.Beyond(), j.cohorts["a"].metrics)
	}
}

func TestASettingThatCannotBeIsNamed(t *testing.T) {
	if err := DefaultSettings().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, alter := range map[string]func(*Settings){
		"names": func(s *Settings) { s.Names = 0 }, "currency": func(s *Settings) { s.Currency = strings.Repeat("x", 17) },
		"per_million": func(s *Settings) { s.PerMillion = -1 }, "per_gb": func(s *Settings) { s.PerGB = 1e10 }, "rise": func(s *Settings) { s.Rise = 0 },
	} {
		s := DefaultSettings()
		alter(&s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestACohortOfManyNamesLeavesPlaceForOthers(t *testing.T) {
	m := NewMeter(DefaultSettings(), func(c int32) string { return string(rune('a' + c)) })
	j := NewForecasts(DefaultSettings())
	for i := range 30_000 {
		m.Add(0, fmt.Appendf(nil, "n%d", i), 1, 0, 0)
	}
	m.Add(0, nil, 30_000, 9, 0)
	m.Add(1, []byte("temperature"), 7, 0, 0)
	told := m.Tick(begins + stepMS)
	if len(told) != mostOfCohort+2 || told[len(told)-1].Values != 7 || told[0].Values != 30_000 || m.Beyond() != 30_000-mostOfCohort {
		t.Errorf("%d are told, %d beyond", len(told), m.Beyond())
	}
	j.Cut(begins+stepMS, told)
	more := make([]page.Volume, 0, 20_000)
	for i := range cap(more) {
		more = append(more, page.Volume{Cohort: "a", Metric: fmt.Sprintf("o%d", i), Hour: begins, Values: 1})
	}
	j.Cut(begins+2*stepMS, append(more, page.Volume{Cohort: "b", Metric: "humidity", Hour: begins, Values: 1}))
	if len(j.cohorts["a"].metrics) != mostOfCohort || len(j.cohorts["b"].metrics) != 2 {
		t.Errorf("%d and %d metrics are known", len(j.cohorts["a"].metrics), len(j.cohorts["b"].metrics))
	}
	// Names that are not heard any more make room within their cohort.
	for at := begins + hour; at <= begins+8*day; at += hour {
		m.Tick(at)
	}
	if m.Add(0, []byte("new"), 1, 0, 0); m.metricsOf(0) != 1 {
		t.Errorf("%v", m.of)
	}
}
