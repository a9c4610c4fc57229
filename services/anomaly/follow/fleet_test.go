package follow

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/shard"
)

// fleet is a world whose folds are the real ones, with devices of one cohort and a gateway.
type fleet struct {
	*world
	devices  int
	prev     [32]byte
	chained  uint64
	builder  *batch.Builder
	pending  []*kgo.Record
	interval int64
}

func newFleet(t testing.TB, devices int, interval time.Duration) *fleet {
	t.Helper()
	f := &fleet{world: worldWithout(t), devices: devices, builder: batch.NewBuilder(), interval: interval.Milliseconds()}
	f.kinds = func(version string) map[string]*kind {
		settings := judge.DefaultSettings()
		if version != "1" {
			settings.Silence.Quiet++
		}
		return map[string]*kind{
			record.TopicTelemetry: shards(shard.DefaultSettings(), "shard-"+version),
			record.TopicIncidents: judges(settings, "judge-"+version),
		}
	}
	f.topics()
	for no := range devices {
		f.declare(event.DeviceEnrolled{Device: device(no), No: uint32(no + 1), Cohort: "pumps", Region: "eu", Interval: f.interval})
	}
	f.send()
	return f
}

func device(no int) string { return fmt.Sprintf("pump-%05d", no) }

func (f *fleet) send() {
	f.t.Helper()
	if err := f.cl.ProduceSync(f.t.Context(), f.pending...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
	f.pending = nil
}

func (f *fleet) say(topic string, part int32, key, value []byte, headers []event.Header) {
	f.pending = append(f.pending, &kgo.Record{Topic: topic, Partition: part, Timestamp: time.UnixMilli(f.at), Key: key, Value: value, Headers: toKafka(headers)})
}

func (f *fleet) declare(body event.Body) {
	f.t.Helper()
	value, headers, err := event.Registry{N: f.chained + 1, Prev: f.prev, Time: f.at, Who: "test", Why: "test", Body: body}.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	f.chained, f.prev = f.chained+1, event.Chain(value)
	f.say(record.TopicRegistry, 0, nil, value, headers)
}

// live lets time go by: the gateway marks each five seconds, and each device that speaks does in each of its intervals.
func (f *fleet) live(d time.Duration, speaks func(no int) bool) {
	f.t.Helper()
	const beat = 5_000
	for end := f.at + d.Milliseconds(); f.at < end; f.at += 1_000 {
		if f.at%beat == 0 {
			value, headers, err := event.Watermark{Gateway: "gw", Time: f.at, Region: "eu"}.Encode()
			if err != nil {
				f.t.Fatal(err)
			}
			for part := range int32(parts) {
				f.say(record.TopicTelemetry, part, nil, value, headers)
				f.say(record.TopicEvents, part, nil, value, headers)
			}
		}
		for no := range f.devices {
			if (f.at/1_000+int64(no))%(f.interval/1_000) != 0 || !speaks(no) {
				continue
			}
			f.builder.Reset()
			f.builder.SetFirmware("1.0")
			f.builder.SetFloat(f.at, "battery_v", 3.9+float64((f.at/1_000*31+int64(no)*17)%13)/100)
			value, err := f.builder.AppendTo(nil)
			if err != nil {
				f.t.Fatal(err)
			}
			key := []byte(device(no))
			f.say(record.TopicTelemetry, eventlog.PartitionOf(key, parts), key, value, nil)
		}
	}
	f.send()
}

func all(int) bool    { return true }
func few(no int) bool { return no%5 == 0 }

// incidents are those that the topic holds, in their last state.
func (f *fleet) incidents() map[string]event.Incident {
	f.t.Helper()
	out := map[string]event.Incident{}
	for i, rec := range f.whole(Place{Topic: record.TopicIncidents}) {
		in, err := event.DecodeIncident(headersOf(rec), rec.Value)
		if err != nil {
			f.t.Fatal(err)
		}
		if in.N != uint64(i+1) {
			f.t.Fatalf("record %d has the number %d", i+1, in.N)
		}
		out[in.ID] = in
	}
	return out
}

// lights go out in a part of a fleet, and on again; later all of our own side is away for ten minutes.
func (f *fleet) lights(step func()) {
	for range 6 {
		f.live(time.Minute, all)
		step()
	}
	for range 4 {
		f.live(time.Minute, few)
		step()
	}
	for range 6 {
		f.live(time.Minute, all)
		step()
	}
	f.at += 10 * time.Minute.Milliseconds()
	for range 6 {
		f.live(time.Minute, all)
		step()
	}
}

// told says whether all shards have told of the time until an instant.
func (f *fleet) told(until int64) bool {
	for part := range int32(parts) {
		pages := f.whole(Place{record.TopicCohorts, part})
		if len(pages) == 0 {
			return false
		}
		p, err := page.Decode(headersOf(pages[len(pages)-1]), pages[len(pages)-1].Value)
		if err != nil {
			f.t.Fatal(err)
		}
		if p.Until < until {
			return false
		}
	}
	return true
}

func (f *fleet) seen() {
	f.t.Helper()
	f.complete()
	silent := 0
	for _, in := range f.incidents() {
		f.t.Logf("%s %s, %s: %s, %s, %d devices, %d to %d: %s", in.ID, in.Kind, in.Cause, in.State, in.Title, in.Count, in.Since, in.ResolvedAt, in.Why)
		if in.Kind == event.SilentCohort {
			silent++
			if in.State != "resolved" {
				f.t.Errorf("the cohort's silence is %s, and its devices are back", in.State)
			}
		}
	}
	if silent != 1 {
		f.t.Errorf("%d incidents of a silent cohort, want the one", silent)
	}
}

func TestASilentCohortIsOneIncidentAndOurOwnStallIsNone(t *testing.T) {
	f := newFleet(t, 40, 10*time.Second)
	m := f.join(f.config(), "1")
	f.lights(func() {})
	f.seen()
	f.ready(m)
}

func TestTheDetectorsDieAtAnyPointAndTheirIncidentsAreThoseOfAnUndisturbedRun(t *testing.T) {
	f := newFleet(t, 40, 10*time.Second)
	var m *member
	points := CrashPoints()
	f.rng.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	died := 0
	f.lights(func() {
		if m != nil {
			dead := false
			f.until("it dies or catches up", func() error {
				select {
				case <-m.crashed:
					dead = true
				default:
				}
				if !dead && !f.told(f.at-2*time.Minute.Milliseconds()) {
					return errNotYet
				}
				return nil
			})
			if !dead {
				return
			}
			m.end()
			died++
		}
		cfg := f.config()
		cfg.SnapshotEvery = time.Minute
		if cfg.CrashAt = atWritten; died > 0 { // one death there is for certain
			cfg.CrashAt = fmt.Sprintf("%s:%d", points[died%len(points)], 1+f.rng.IntN(3))
		}
		m = f.join(cfg, "1")
	})
	m.end()
	f.join(f.config(), "1")
	f.seen()
	if died == 0 {
		t.Error("nobody has died")
	}
}

// What was open under other settings is resolved, and told anew if it goes on; the judge and the shards keep what they know.
func TestOtherSettingsGoOnWithWhatIsKnown(t *testing.T) {
	f := newFleet(t, 40, 10*time.Second)
	m := f.join(f.config(), "1")
	f.live(6*time.Minute, all)
	f.live(4*time.Minute, few)
	open := func(detector string) (found *event.Incident) {
		for _, in := range f.incidents() {
			if in.Kind == event.SilentCohort && in.State == "open" && (detector == "" || in.Detector == detector) {
				found = &in
			}
		}
		return found
	}
	f.until("the silence is told", func() error {
		if open("") == nil {
			return errNotYet
		}
		return nil
	})
	f.until("the judge is kept", func() error {
		f.live(10*time.Second, few)
		h, err := ReadHead(t.Context(), f.log, JudgePlace(parts))
		if err == nil && len(h.Snapshots) == 0 {
			err = errNotYet
		}
		return err
	})
	before := open("")
	m.end()
	f.live(2*time.Minute, few)
	m = f.join(f.config(), "2")
	f.until("what was open is resolved", func() error {
		f.live(10*time.Second, few)
		// What goes on is found anew at once, and is the same incident again: that it was resolved, its being opened again says.
		if in := f.incidents()[before.ID]; in.State != "resolved" && in.Reopened == before.Reopened || in.Revision <= before.Revision {
			return fmt.Errorf("%s is %s: %s", in.ID, in.State, in.Why)
		}
		return nil
	})
	f.live(10*time.Minute, all)
	f.until("all is told", func() error {
		if !f.told(f.at - 2*time.Minute.Milliseconds()) {
			return errNotYet
		}
		return nil
	})
	f.ready(m)
	if n := testutil.ToFloat64(m.m.restores.WithLabelValues(stageJudge, "snapshot")); n < 1 {
		t.Error("the judge began with nothing")
	}
	m.end()
	epoch := func() string {
		all := f.whole(Place{Topic: record.TopicIncidents})
		return tagOf(all[len(all)-1])
	}
	was := epoch()
	m = f.join(f.config(), "2") // within the epoch all is as ever
	f.live(6*time.Minute, all)
	f.live(4*time.Minute, few)
	f.until("the next silence is told", func() error {
		if open("") == nil {
			f.live(10*time.Second, few)
			return errNotYet
		}
		return nil
	})
	if now := epoch(); now != was {
		t.Errorf("the epoch was %s and is %s", was, now)
	}
	f.ready(m)
}
