package rows

import "testing"

// A plan's columns take megabytes, and to grow them anew for each plan was a sixth of the sink's CPU.
func TestASheetKeepsItsTablesFromPlanToPlan(t *testing.T) {
	s := NewSheet(oneMetric{})
	s.Begin(Settings{Rev: 7})
	first := s.wideOf(1)
	if first == nil {
		t.Fatal("the profile has no table")
	}
	s.Clear()
	s.Begin(Settings{Rev: 7})
	if s.wideOf(1) != first {
		t.Error("the table was made anew at the same revision")
	}
	s.Begin(Settings{Rev: 8})
	if s.wideOf(1) == first {
		t.Error("the table of an older revision is used")
	}
}

type oneMetric struct{}

func (oneMetric) Profile(uint16, uint64) (Profile, bool) {
	return Profile{Name: "one", Metrics: []Metric{{Name: "temperature"}}}, true
}

func (oneMetric) Schema(uint32) ([]string, bool) { return nil, false }
