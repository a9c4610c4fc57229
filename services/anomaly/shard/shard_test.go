package shard

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
)

// t0 is a full minute.
const t0 = int64(1_800_000_000_000)

// inputs is what the logs hold for one shard.
type inputs struct {
	tb          testing.TB
	part, parts int32
	topics      [topics][]Heard
	registry    []census.Record
	prev        [32]byte
	builder     *batch.Builder
	next        uint32 // device
	wrong       [topics][]arrived
}

// arrived is a record that lies in the log where it came, whatever its time is.
type arrived struct {
	at int64
	Heard
}

const markType = record.TypeWatermark

func logs(tb testing.TB, part, parts int32) *inputs {
	return &inputs{tb: tb, part: part, parts: parts, builder: batch.NewBuilder(), next: 1}
}

func (in *inputs) put(topic Topic, h Heard) {
	h.Offset = int64(len(in.topics[topic]))
	in.topics[topic] = append(in.topics[topic], h)
}

// declare writes an event to the registry's log.
func (in *inputs) declare(at int64, body event.Body) {
	in.tb.Helper()
	e := event.Registry{N: uint64(len(in.registry) + 1), Prev: in.prev, Time: max(at, 0), Who: "test", Why: "test", Body: body}
	value, headers, err := e.Encode()
	if err != nil {
		in.tb.Fatal(err)
	}
	in.prev = event.Chain(value)
	in.registry = append(in.registry, census.Record{Offset: int64(len(in.registry)), Time: at, Headers: headers, Value: value})
}

// enrol makes n devices of a cohort, all of them of the shard, and gives their ids.
func (in *inputs) enrol(at int64, cohort, region string, interval int64, n int) []string {
	in.tb.Helper()
	var ids []string
	for len(ids) < n {
		id := fmt.Sprintf("d%06d", in.next)
		if in.part >= 0 && eventlog.PartitionOf([]byte(id), in.parts) == in.part {
			ids = append(ids, id)
		}
		in.declare(at, event.DeviceEnrolled{Device: id, No: in.next, Cohort: cohort, Region: region, Interval: interval, Attributes: map[string]string{"site": "s1"}})
		in.next++
	}
	return ids
}

// mark writes a gateway's watermark on both topics.
func (in *inputs) mark(at int64, gateway, region string) {
	in.tb.Helper()
	value, _, err := event.Watermark{Gateway: gateway, Time: at, Region: region}.Encode()
	if err != nil {
		in.tb.Fatal(err)
	}
	for topic := range topics {
		in.put(topic, Heard{Time: at, Type: record.TypeWatermark, Value: value})
	}
}

// marks writes a gateway's watermarks in [from, until).
func (in *inputs) marks(from, until, beat int64, gateways ...string) {
	for at := from; at < until; at += beat {
		for _, g := range gateways {
			in.mark(at, g, "")
		}
	}
}

// reading writes a batch of one reading.
func (in *inputs) reading(at int64, id, metric string, x float64) {
	in.tb.Helper()
	in.builder.Reset()
	in.builder.SetFirmware("1.0")
	in.builder.SetFloat(at, metric, x)
	value, err := in.builder.AppendTo(nil)
	if err != nil {
		in.tb.Fatal(err)
	}
	in.put(Telemetry, Heard{Time: at, Key: []byte(id), Value: value})
}

// report writes a device event.
func (in *inputs) report(at int64, id string, e event.Device) {
	in.tb.Helper()
	e.TS = at
	m := event.Message{Firmware: "1.0", Events: []event.Device{e}}
	value, err := m.AppendTo(nil)
	if err != nil {
		in.tb.Fatal(err)
	}
	in.put(Events, Heard{Time: at, Key: []byte(id), Value: value, Type: event.TypeDevice})
}

// sorted puts both topics in order of time, as a log without trouble has it.
func (in *inputs) sorted() *inputs {
	for topic := range in.topics {
		slices.SortStableFunc(in.topics[topic], func(a, b Heard) int { return int(a.Time - b.Time) })
		in.numbered(Topic(topic))
	}
	return in
}

// arrivedAll puts those of wrong among the others, where they came.
func (in *inputs) arrivedAll() *inputs {
	for topic := range in.topics {
		all := in.wrong[topic]
		for _, h := range in.topics[topic] {
			all = append(all, arrived{h.Time, h})
		}
		slices.SortStableFunc(all, func(a, b arrived) int { return int(a.at - b.at) })
		in.topics[topic] = nil
		for _, a := range all {
			in.put(Topic(topic), a.Heard)
		}
		in.wrong[topic] = nil
	}
	return in
}

func (in *inputs) numbered(topic Topic) {
	for i := range in.topics[topic] {
		in.topics[topic][i].Offset = int64(i)
	}
}

func fresh(tb testing.TB, part, parts int32, s Settings) *State {
	tb.Helper()
	st, err := New(part, parts, s)
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

// play tells a shard the logs from its position on, as a reader does, in pieces that rng chooses (nil: all at once), and
// gives the pages. It stops when it has told as many records as most says.
func (in *inputs) play(s *State, rng *rand.Rand, most int) []*page.Page {
	telemetry, events, registry, _ := s.Position()
	at := [topics]int64{telemetry, events}
	var pages []*page.Page
	told := 0
	answer := func() {
		for s.Asks() {
			for ; registry < int64(len(in.registry)); registry++ {
				s.Registry(in.registry[registry])
			}
			s.Answer(int64(len(in.registry)))
		}
		pages = append(pages, s.Pages()...)
	}
	for told < most {
		topic, n := Telemetry, 1
		if rng != nil {
			topic, n = Topic(rng.IntN(2)), 1+rng.IntN(50)
		} else if at[Events] < at[Telemetry] {
			topic = Events
		}
		if at[topic] == int64(len(in.topics[topic])) {
			topic = 1 - topic
		}
		if at[topic] == int64(len(in.topics[topic])) {
			break
		}
		for ; n > 0 && at[topic] < int64(len(in.topics[topic])) && told < most; n-- {
			if h := in.topics[topic][at[topic]]; topic == Telemetry {
				s.Telemetry(h)
			} else {
				s.Events(h)
			}
			at[topic]++
			told++
			answer()
		}
	}
	answer()
	return pages
}

func (in *inputs) all(s *State) []*page.Page { return in.play(s, nil, math.MaxInt) }

// bytesOfPages are what the pages are on the log.
func bytesOfPages(tb testing.TB, pages []*page.Page) []byte {
	tb.Helper()
	var b bytes.Buffer
	for _, p := range pages {
		fmt.Fprintf(&b, "%+v\n", *p)
	}
	return b.Bytes()
}

// differ says where two lists of pages are not the same.
func differ(tb testing.TB, got, want []*page.Page) {
	tb.Helper()
	a, b := bytes.Split(bytesOfPages(tb, got), []byte("\n")), bytes.Split(bytesOfPages(tb, want), []byte("\n"))
	if len(a) != len(b) {
		tb.Fatalf("%d pages, %d expected", len(a)-1, len(b)-1)
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			tb.Fatalf("page %d:\n%.2000s\nexpected:\n%.2000s", i+1, a[i], b[i])
		}
	}
}

// day is a fleet of two cohorts in two regions over some minutes: readings, events, an outage, devices that come and go.
func someDay(tb testing.TB, seed uint64, minutes int) *inputs {
	rng := rand.New(rand.NewPCG(seed, 1))
	in := logs(tb, 1, 3)
	in.declare(t0-day, event.CohortDefined{Cohort: "pumps", Interval: 20_000, Region: "north"})
	in.declare(t0-day, event.SchemaDefined{Schema: 1, Metrics: []event.SchemaMetric{{Name: "temp", Kind: batch.Float}}})
	pumps := in.enrol(t0-hour, "pumps", "", 0, 20)
	valves := in.enrol(t0-hour, "valves", "south", 30_000, 10)
	end := t0 + int64(minutes)*minute
	for at := t0; at < end; at += 5_000 {
		in.mark(at, "gw-north", "north")
		if at < t0+6*minute || at >= t0+9*minute {
			in.mark(at+700, "gw-south", "south")
		}
	}
	for n, ids := range [][]string{pumps, valves} {
		for k, id := range ids {
			for at := t0 + int64(rng.IntN(20_000)); at < end; at += []int64{20_000, 30_000}[n] {
				switch {
				case rng.IntN(20) == 0: // lost
				case k%5 == 0 && at > t0+4*minute && at < t0+8*minute: // silent
				case rng.IntN(10) == 0:
					in.report(at, id, event.Device{Type: event.Heartbeat, Fields: map[string]any{"battery_mv": int64(3_000 + rng.IntN(900)), "rssi_dbm": int64(-60 - rng.IntN(60))}})
				case rng.IntN(50) == 0:
					in.report(at, id, event.Device{Type: event.Boot, Fields: map[string]any{"reason": "brown-out"}})
				default:
					in.reading(at, id, []string{"temp", "battery_pct"}[rng.IntN(2)], float64(rng.IntN(100)))
				}
			}
		}
	}
	in.roll(t0+2*minute, "pumps")
	for k, id := range pumps {
		if k%2 == 0 {
			in.report(t0+6*minute+int64(k)*1_000, id, event.Device{Type: event.OTA, Fields: map[string]any{"to": "2.0", "result": []string{"ok", "failed"}[k%4/2]}})
			in.report(t0+7*minute+int64(k)*2_000, id, event.Device{Type: event.Crash, Fields: map[string]any{"reason": "assert"}})
		}
	}
	in.declare(t0+3*minute+1, event.DeviceRevoked{No: 3})
	in.declare(t0+5*minute, event.CohortDefined{Cohort: "valves", Interval: 60_000})
	late := in.enrol(t0+2*minute+10_000, "pumps", "", 0, 3)
	for _, id := range late {
		in.reading(t0+2*minute+11_000, id, "temp", 1)
	}
	return in.sorted()
}

// roll updates each second device of a cohort that is there.
func (in *inputs) roll(at int64, cohort string) {
	in.declare(at, event.RolloutStarted{
		Rollout: "r1", Cohort: cohort, Firmware: "2.0", From: "1.0", Stages: []event.RolloutStage{{SharePPM: 500_000, SoakMS: 2 * minute}},
		Design: event.DefaultRolloutDesign(), Health: []event.RolloutHealth{{Metric: "temp", Worse: 1}},
	})
	var arms [2][]uint32
	for no := uint32(1); no < in.next; no++ {
		arms[no%2] = append(arms[no%2], no)
	}
	for stage, devices := range arms {
		in.declare(at, event.RolloutAssigned{Rollout: "r1", Stage: uint8(stage), Devices: devices})
	}
	in.declare(at+minute, event.RolloutStageStarted{Rollout: "r1", Stage: 1})
}

func TestPagesDoNotDependOnHowTheLogsAreRead(t *testing.T) {
	in := someDay(t, 1, 14)
	want := in.all(fresh(t, 1, 3, DefaultSettings()))
	var all page.Page
	for _, p := range want {
		all.Slots, all.Arms, all.Outages, all.Volumes = append(all.Slots, p.Slots...), append(all.Arms, p.Arms...), append(all.Outages, p.Outages...), append(all.Volumes, p.Volumes...)
	}
	if len(want) < 14 || len(all.Slots) == 0 || len(all.Arms) == 0 || len(all.Outages) == 0 || len(all.Volumes) == 0 {
		t.Fatalf("%d pages: %+v", len(want), all)
	}
	for seed := range uint64(20) {
		differ(t, in.play(fresh(t, 1, 3, DefaultSettings()), rand.New(rand.NewPCG(seed, 2)), math.MaxInt), want)
	}
	for i, p := range want {
		if p.N != uint64(i+1) || p.Part != 1 || i > 0 && p.From != want[i-1].Until || p.Until <= p.From || p.Until%5_000 != 0 {
			t.Errorf("page %d: %d of part %d from %d until %d", i+1, p.N, p.Part, p.From, p.Until)
		}
	}
}

func TestARestoredShardGoesOnAsTheOldOneWould(t *testing.T) {
	in := someDay(t, 2, 12)
	want := in.all(fresh(t, 1, 3, DefaultSettings()))
	records := len(in.topics[Telemetry]) + len(in.topics[Events])
	step := 7
	if testing.Short() {
		step = 101
	}
	for cut := 0; cut < records; cut += step {
		old := fresh(t, 1, 3, DefaultSettings())
		pages := in.play(old, rand.New(rand.NewPCG(uint64(cut), 3)), cut)
		var kept bytes.Buffer
		if err := old.Snapshot(&kept); err != nil {
			t.Fatal(err)
		}
		s := fresh(t, 1, 3, DefaultSettings())
		if err := s.Restore(bytes.NewReader(kept.Bytes())); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := s.Snapshot(&again); err != nil || !bytes.Equal(again.Bytes(), kept.Bytes()) {
			t.Fatalf("cut at %d: what was restored is written otherwise: %v", cut, err)
		}
		differ(t, append(pages, in.play(s, rand.New(rand.NewPCG(uint64(cut), 4)), math.MaxInt)...), want)
	}
}
