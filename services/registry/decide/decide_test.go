package decide

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

var now = time.UnixMilli(1_795_341_850_000)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// do decides a command and folds what it makes.
func do(t *testing.T, s *State, c Command) Outcome {
	t.Helper()
	out, err := Decide(s, now, c)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	for _, body := range out.Events {
		if _, err := s.Extend(time.UnixMilli(1), "test", "", body); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func refused(t *testing.T, s *State, c Command, kind RefusalKind, field string) {
	t.Helper()
	before := s.Last()
	out, err := Decide(s, now, c)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Kind != kind || refusal.Field != field || len(out.Events) > 0 || s.Last() != before {
		t.Errorf("%+v: %+v, %v; want a refusal of %s", c, out, err, field)
	}
}

func pump(id string) Enrol {
	return Enrol{Device: identity.Device(id), Cohort: "north", Profile: "pump", SPKI: event.Chain([]byte(id))}
}

func TestNumbersAreDenseAndProfilesAreMadeOnFirstUse(t *testing.T) {
	s := NewState()
	for i := range 5 {
		out := do(t, s, pump(fmt.Sprintf("d%d", i)))
		if int(out.No) != i+1 {
			t.Errorf("device %d has number %d", i, out.No)
		}
		want := 1
		if i == 0 {
			want = 2 // the profile is the first one's
		}
		if len(out.Events) != want {
			t.Errorf("device %d makes %d events", i, len(out.Events))
		}
	}
	unnamed := pump("x")
	unnamed.Profile = ""
	do(t, s, unnamed)
	if p, ok := s.ProfileNamed(DefaultProfile); !ok || p.No != 2 {
		t.Errorf("%+v, %v", p, ok)
	}
}

func TestEnrollingAgainMakesNoEvent(t *testing.T) {
	s := NewState()
	do(t, s, pump("d"))
	if out := do(t, s, pump("d")); out.No != 1 || len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	for field, change := range map[string]func(*Enrol){
		"csr": func(c *Enrol) { c.SPKI[0]++ }, "cohort": func(c *Enrol) { c.Cohort = "south" }, "profile": func(c *Enrol) { c.Profile = "x" },
		"class": func(c *Enrol) { c.Class = 1 }, "history": func(c *Enrol) { c.History = true },
		"interval": func(c *Enrol) { c.Interval = time.Minute }, "region": func(c *Enrol) { c.Region = "eu" },
	} {
		c := pump("d")
		change(&c)
		refused(t, s, c, Conflict, field)
	}
}

func TestARevokedDeviceAndItsKeyDoNotComeBack(t *testing.T) {
	s := NewState()
	do(t, s, pump("d"))
	if _, err := s.Extend(time.UnixMilli(2), "test", "", event.DeviceRevoked{No: 1}); err != nil {
		t.Fatal(err)
	}
	refused(t, s, pump("d"), Conflict, "device")
	reused := pump("d")
	reused.Device = "e"
	refused(t, s, reused, Conflict, "csr")
	if out := do(t, s, pump("f")); out.No != 2 {
		t.Errorf("number %d was used again", out.No)
	}
}

func TestMalformedEnrolmentsAreRefused(t *testing.T) {
	s := NewState()
	for field, change := range map[string]func(*Enrol){
		"device": func(c *Enrol) { c.Device = "../etc" }, "cohort": func(c *Enrol) { c.Cohort = "North" }, "profile": func(c *Enrol) { c.Profile = "1h" },
		"class": func(c *Enrol) { c.Class = 4 }, "interval": func(c *Enrol) { c.Interval = -1 }, "region": func(c *Enrol) { c.Region = "e u" },
	} {
		c := pump("d")
		change(&c)
		refused(t, s, c, Invalid, field)
	}
}

func TestProfilesAndTheirMetricsAreLimited(t *testing.T) {
	s := NewState()
	for i := range MaxProfiles {
		c := pump(fmt.Sprintf("d%d", i))
		c.Profile = fmt.Sprintf("p%d", i)
		do(t, s, c)
	}
	refused(t, s, pump("one-more"), Conflict, "profile")

	var all []Metric
	for i := range MaxMetrics {
		all = append(all, Metric{Name: fmt.Sprintf("m%d", i), Kind: batch.Float})
	}
	if out := do(t, s, AddMetrics{Profile: 1, Metrics: all}); len(out.Events) != MaxMetrics {
		t.Errorf("%d events", len(out.Events))
	}
	if out := do(t, s, AddMetrics{Profile: 1, Metrics: all}); len(out.Events) != 0 {
		t.Errorf("again: %d events", len(out.Events))
	}
	refused(t, s, AddMetrics{Profile: 1, Metrics: []Metric{{Name: "x", Kind: batch.Float}}}, Conflict, "metrics[0]")
	refused(t, s, AddMetrics{Profile: 1, Metrics: []Metric{{Name: "m0", Kind: batch.Int}}}, Conflict, "metrics[0]")
	refused(t, s, AddMetrics{Profile: 99}, NotFound, "profile")
	refused(t, s, AddMetrics{Profile: 2, Metrics: []Metric{{Name: "x`; DROP", Kind: batch.Float}}}, Invalid, "metrics[0].name")
}

func TestASchemaIsItsContent(t *testing.T) {
	s := NewState()
	ab := []Metric{{Name: "a", Kind: batch.Int, Scale: 1}, {Name: "b", Kind: batch.Text}}
	if out := do(t, s, DefineSchema{ab}); out.Schema != 1 || len(out.Events) != 1 {
		t.Errorf("%+v", out)
	}
	if out := do(t, s, DefineSchema{slices.Clone(ab)}); out.Schema != 1 || len(out.Events) != 0 {
		t.Errorf("%+v", out)
	}
	if out := do(t, s, DefineSchema{[]Metric{ab[1], ab[0]}}); out.Schema != 2 {
		t.Errorf("%+v", out)
	}
	refused(t, s, DefineSchema{}, Invalid, "metrics")
	refused(t, s, DefineSchema{make([]Metric, batch.MaxColumns+1)}, Invalid, "metrics")
	refused(t, s, DefineSchema{[]Metric{{Name: "a", Kind: batch.Bool, Scale: 1}}}, Invalid, "metrics[0].scale")
	refused(t, s, DefineSchema{[]Metric{{Name: "a", Scale: 10}}}, Invalid, "metrics[0].scale")
}

func TestGenerationsAreDense(t *testing.T) {
	s := NewState()
	for i, want := range []uint16{1, 2, 1, 3} {
		c := DefineTopic{Name: "t", ID: [16]byte{byte([]int{1, 2, 1, 3}[i])}, Partitions: 4}
		if out := do(t, s, c); out.Gen != want {
			t.Errorf("%d: %+v", i, out)
		}
	}
	refused(t, s, DefineTopic{Name: "t", Partitions: 4}, Invalid, "id")
	refused(t, s, DefineTopic{Name: "t", ID: [16]byte{9}}, Invalid, "partitions")
}

// What was decided here must fold everywhere: the log alone gives the same state.
func TestTheLogAloneGivesTheSameState(t *testing.T) {
	s, copied := NewState(), NewState()
	for _, c := range []Command{
		DefineTopic{Name: "t", ID: [16]byte{1}, Partitions: 1}, pump("a"), pump("b"), DefineSchema{[]Metric{{Name: "a"}}},
		AddMetrics{Profile: 1, Metrics: []Metric{{Name: "a", Scale: 2}}},
	} {
		out, err := Decide(s, now, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range out.Events {
			rec, err := s.Extend(time.UnixMilli(1), "test", "why", body)
			if err != nil {
				t.Fatal(err)
			}
			rec.Offset *= 2 // the ends of transactions take offsets too
			if err := copied.Apply(rec); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.Counts() != copied.Counts() || s.Last() != copied.Last() {
		t.Errorf("%+v, %+v", s.Counts(), copied.Counts())
	}
	refused(t, copied, func() Enrol { c := pump("a"); c.Device = "c"; return c }(), Conflict, "csr")
}
