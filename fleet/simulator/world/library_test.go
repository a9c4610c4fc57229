package world_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/scenarios"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// budget is how many messages of each scenario are looked at.
const budget = 12_000

// TestWhatDevicesSaidIsWhatTheTruthSays plays lives of every scenario of the library.
func TestWhatDevicesSaidIsWhatTheTruthSays(t *testing.T) {
	seen := map[string]int{}
	files, err := fs.Glob(scenarios.Files, "*.yaml")
	if err != nil || len(files) < 19 {
		t.Fatalf("the library has %d scenarios: %v", len(files), err)
	}
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			text, err := fs.ReadFile(scenarios.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := scenario.Parse(name, text)
			if err != nil {
				t.Fatal(err)
			}
			w, err := world.New(s, s.Seed)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range w.Truth() {
				seen[l.Kind]++
				if l.Until != 0 && (l.Until <= l.At || int64(l.Until) > w.Until()) {
					t.Errorf("%+v ends before it begins, or after the world", l)
				}
			}
			for _, i := range interesting(w) {
				j := judge{t: t, w: w, d: &w.Devices()[i], first: map[key][]byte{}, booted: map[uint32]int64{}}
				j.play(w.Life(i))
				for kind, n := range j.kinds {
					seen[kind] += n
				}
				if t.Failed() {
					t.Fatalf("device %s", j.d.ID)
				}
			}
		})
	}
	for _, kind := range []string{truth.Enrolled, truth.Left, truth.NeverHeard, truth.Silent, truth.Boot, truth.Crash, truth.BootLoop, truth.Assigned,
		truth.Update, truth.Postponed, truth.Leak, truth.Drain, truth.BatteryLow, truth.ClockWrong, truth.Knocking, truth.Rollout,
		truth.Stage, truth.SiteOutage, truth.SleepPlanned, "power-loss", "radio-loss", "silence", "region-outage", "gateway-outage",
		"pipeline-stall", "cost-spike", "anomaly", "clone", "revoke", "retire", "restart", "clock-step", "enrolment-burst", "interval"} {
		if seen[kind] == 0 {
			t.Errorf("no scenario's truth has a line of kind %s", kind)
		}
	}
}

// TestAPartOfAScenarioIsAWorld plays the beginning of each, as who has little time does.
func TestAPartOfAScenarioIsAWorld(t *testing.T) {
	files, err := fs.Glob(scenarios.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(scenarios.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, lasts := range []time.Duration{time.Minute, 30 * time.Hour} {
			s := parse(t, string(text))
			s.Lasts = lasts
			w, err := world.New(s, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range w.Devices() {
				if d.Joins >= w.Until() || d.Leaves <= d.Joins {
					t.Errorf("%s: %+v", name, d)
				}
			}
			for _, l := range w.Truth() {
				if int64(l.At) >= w.Until() || int64(l.Until) > w.Until() || l.Until != 0 && l.Until <= l.At {
					t.Errorf("%s: %+v", name, l)
				}
			}
			j := judge{t: t, w: w, d: &w.Devices()[0], first: map[key][]byte{}, booted: map[uint32]int64{}}
			j.play(w.Life(0))
			for _, l := range j.facts {
				if int64(l.At) >= w.Until() || int64(l.Until) > w.Until() {
					t.Errorf("%s: %+v", name, l)
				}
			}
		}
	}
}

// interesting picks devices that something befalls first, and as many as the budget allows.
func interesting(w *world.World) (out []int) {
	s := w.Scenario()
	picked := map[int]bool{}
	left := int64(budget)
	pick := func(i int) {
		c := &s.Cohorts[w.Devices()[i].Cohort]
		if left > 0 && !picked[i] {
			picked[i] = true
			out = append(out, i)
			left -= int64(s.Lasts / c.Interval)
		}
	}
	names := map[string]int{}
	for i, d := range w.Devices() {
		names[d.ID] = i
	}
	for _, l := range w.Truth() {
		if l.Kind != truth.SiteOutage && len(l.IDs) > 0 {
			pick(names[l.IDs[0]])
		}
	}
	// What is rare and known from the first day on: devices that were never heard, and clocks that are wrong.
	var h world.Happening
	rare := map[string]bool{}
	for i, d := range w.Devices() {
		for l := w.Life(i); l.Before(d.Joins+1, &h); {
			if k := h.Truth.Kind; h.Kind == world.Fact && !rare[k] && (k == truth.NeverHeard || k == truth.ClockWrong) {
				rare[k] = true
				pick(i)
			}
		}
	}
	for i := len(w.Devices()) - 1; i >= 0; i -= 1 + len(w.Devices())/7 {
		pick(i)
	}
	for i := range w.Devices() {
		pick(i)
	}
	return out
}

type key struct {
	stream world.Stream
	boot   uint32
	seq    uint64
	clone  bool
}

// judge compares a device's words with its truth.
type judge struct {
	t      *testing.T
	w      *world.World
	d      *plan.Device
	first  map[key][]byte
	made   []world.Message // bodies left out
	facts  []truth.Line
	booted map[uint32]int64
	kinds  map[string]int
	count  truth.Count
	held   int64 // on their way at the end
	told   truth.Count
	batch  batch.Batch
	fw     []string // by made
}

func (j *judge) play(l *world.Life) {
	var h world.Happening
	last := j.d.Joins
	j.kinds = map[string]int{}
	for l.Next(&h) {
		if h.At < last || h.At >= j.w.Until() || h.Device != j.d.Index {
			j.t.Fatalf("%d after %d, until %d", h.At, last, j.w.Until())
		}
		last = h.At
		switch h.Kind {
		case world.Deliver:
			j.deliver(&h)
		case world.Lost:
			j.count.Lost++
			j.count.Made++
		case world.Held:
			j.held++
		case world.Fact:
			j.facts = append(j.facts, h.Truth)
			j.kinds[h.Truth.Kind]++
		case world.Tally:
			j.told.Add(h.Count)
		}
	}
	j.sums()
	for i := range j.facts {
		j.holds(&j.facts[i])
	}
}

func (j *judge) deliver(h *world.Happening) {
	m := &h.Message
	if m.Made > h.At {
		j.t.Fatalf("a message of %d arrives at %d", m.Made, h.At)
	}
	for _, o := range j.w.Outages() {
		of := j.w.Scenario().Cohorts[j.d.Cohort].Region
		if o.Kind != plan.SinkStalled && (o.Region == "" || o.Region == of) && o.At <= h.At && h.At < o.Until {
			j.t.Fatalf("a message arrives in an outage, at %d", h.At)
		}
	}
	k := key{m.Stream, m.Boot, m.Seq, m.Clone}
	if m.Copy != (j.first[k] != nil) || m.Copy && !bytes.Equal(j.first[k], m.Body) {
		j.t.Fatalf("boot %d seq %d: copy %v", m.Boot, m.Seq, m.Copy)
	}
	if m.Copy {
		j.count.Copies++
		return
	}
	j.first[k] = bytes.Clone(m.Body)
	fw := ""
	if m.Stream == world.Events {
		e, err := event.DecodeMessage(m.Body)
		if err != nil || e.Boot != m.Boot || e.Seq != m.Seq || len(e.Events) != m.Values {
			j.t.Fatalf("%+v: %v", m, err)
		}
		fw = e.Firmware
	} else {
		if err := j.batch.Decode(m.Body); err != nil {
			j.t.Fatal(err)
		}
		if b := &j.batch; b.Boot != m.Boot || b.Seq != m.Seq || b.Values != m.Values {
			j.t.Fatalf("%d.%d with %d values, body %d.%d with %d", m.Boot, m.Seq, m.Values, b.Boot, b.Seq, b.Values)
		}
		fw = string(j.batch.Firmware)
		switch {
		case m.Clone:
			j.count.Cloned++
		case m.Revoked:
			j.count.Refused++
		default:
			j.count.Arrived++
			j.count.Values += int64(m.Values)
			j.count.Bytes += int64(len(m.Body))
		}
	}
	if m.Clone || m.Revoked {
		return
	}
	if m.Made >= j.d.Leaves || m.Made < j.d.Joins {
		j.t.Fatalf("a message of %d from a device that is there from %d to %d", m.Made, j.d.Joins, j.d.Leaves)
	}
	m.Body = nil
	j.made = append(j.made, *m)
	j.fw = append(j.fw, fw)
}

// sums holds the day's counts to what was seen.
func (j *judge) sums() {
	if j.told.Arrived != j.count.Arrived || j.told.Lost != j.count.Lost || j.told.Copies > j.count.Copies || j.told.Cloned != j.count.Cloned ||
		j.told.Refused != j.count.Refused || j.told.Values != j.count.Values || j.told.Bytes != j.count.Bytes {
		j.t.Errorf("counted %+v, saw %+v", j.told, j.count)
	}
	if under := j.told.Made - j.told.Arrived - j.told.Lost; under != j.held {
		j.t.Errorf("made %d, arrived %d, lost %d, held %d", j.told.Made, j.told.Arrived, j.told.Lost, j.held)
	}
	if j.w.Scenario().Name != "cost-spike" && j.told.Due < j.told.Made-j.told.Made/50-10 {
		j.t.Errorf("due %d, made %d", j.told.Due, j.told.Made)
	}
}

// holds holds one line of the truth to what was said.
func (j *judge) holds(l *truth.Line) {
	during := func(from, until truth.Time, is func(i int, m *world.Message) string) {
		for i := range j.made {
			if m := &j.made[i]; int64(from) <= m.Made && m.Made < int64(until) {
				if what := is(i, m); what != "" {
					j.t.Errorf("%+v, but at %d: %s", *l, m.Made, what)
					return
				}
			}
		}
	}
	if l.Device != j.d.ID || l.Cohort != j.w.Scenario().Cohorts[j.d.Cohort].Name {
		j.t.Errorf("%+v is not about %s", *l, j.d.ID)
	}
	switch l.Kind {
	case truth.Silent:
		during(l.At, l.Until, func(_ int, m *world.Message) string {
			if l.Detail["cause"] == truth.CauseRadio && m.Backlog {
				return "" // kept, and sent when the radio was back
			}
			return "a message was made and arrived"
		})
	case truth.NeverHeard:
		during(l.At, truth.Time(j.w.Until()), func(int, *world.Message) string { return "it was heard" })
	case truth.Boot:
		boot := l.Detail["boot"].(uint32)
		during(0, l.At, func(_ int, m *world.Message) string {
			if m.Boot >= boot {
				return fmt.Sprintf("boot %d", m.Boot)
			}
			return ""
		})
		during(l.At, truth.Time(j.w.Until()), func(_ int, m *world.Message) string {
			if m.Boot < boot {
				return fmt.Sprintf("boot %d", m.Boot)
			}
			return ""
		})
	case truth.Crash:
		up := truth.Time(j.w.Until())
		for _, f := range j.facts {
			if f.Kind == truth.Boot && f.At > l.At {
				up = min(up, f.At)
			}
		}
		during(l.At, up, func(int, *world.Message) string { return "it was heard before it booted" })
	case truth.Left:
		during(l.At, truth.Time(j.w.Until()), func(int, *world.Message) string { return "it was heard" })
	case truth.Assigned:
		to := j.w.Scenario().Rollouts[l.Detail["rollout"].(int)].Firmware
		if l.Detail["arm"] == "control" {
			during(l.At, truth.Time(j.w.Until()), func(i int, _ *world.Message) string { return oneIf(j.fw[i] == to, "it runs "+to) })
		}
	case truth.Update:
		j.updated(l, during)
	}
}

func oneIf(is bool, what string) string {
	if is {
		return what
	}
	return ""
}

func (j *judge) updated(l *truth.Line, during func(truth.Time, truth.Time, func(int, *world.Message) string)) {
	to, from := l.Detail["to"].(string), l.Detail["from"].(string)
	during(0, l.At, func(i int, _ *world.Message) string { return oneIf(j.fw[i] == to, "it runs "+to) })
	end := truth.Time(j.w.Until())
	for _, f := range j.facts { // the device may go back by itself
		if f.Kind == truth.Boot && f.At > l.Until && f.Detail["reason"] == "rollback" {
			end = min(end, f.At)
		}
	}
	want := map[string]string{"ok": to, "paper": from, "failed": from, "rolled_back": from}[l.Detail["result"].(string)]
	during(l.Until, end, func(i int, _ *world.Message) string { return oneIf(j.fw[i] != want, "it runs "+j.fw[i]) })
}
